"""An experiment as a job: ray job submit --working-dir . -- python jobs/experiment.py table2 ...

Takes what `cce experiment` takes. The runs of its tables are tasks of the cluster, as many at once as fit.
What they write (--work), the results (--output) and the data (--data) must lie where every node sees them: a
job's own folder goes with the job.
"""

import sys

from cce_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "experiment")
    main()
