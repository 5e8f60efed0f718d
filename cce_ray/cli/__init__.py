"""The command line: parse, call, print. People read stderr, programs stdout."""

from cce_ray.cli.entry import main

__all__ = ["main"]
