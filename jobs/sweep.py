"""A search as a job: ray job submit --working-dir . -- python jobs/sweep.py search_spaces/digits.yaml

Takes what `cce tune` takes, and runs on the cluster that the job was submitted to.
"""

import sys

from cce_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "tune")
    main()
