"""A run as a job: ray job submit --working-dir . -- python jobs/train.py digits --workers 2

Takes what `cce train` takes, and runs on the cluster that the job was submitted to.
"""

import sys

from cce_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
