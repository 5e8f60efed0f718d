"""An experiment as a job: ray job submit --working-dir . -- python jobs/experiment.py table2

Takes what `cce experiment` takes, and runs on the node where the job begins, whose GPU it uses.
"""

import sys

from cce_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "experiment")
    main()
