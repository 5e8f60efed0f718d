"""python -m cce_ray.cli: the command `cce`."""

from cce_ray.cli import main

main()
