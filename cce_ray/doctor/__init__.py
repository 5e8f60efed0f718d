"""`cce doctor`: what is wrong, or worth knowing, before a run: versions, machine, Ray, MLflow, data.

Nothing is started and nothing is left behind. Every check stands for itself: one that fails on a broken
installation is a finding, and the others go on.
"""

from cce_ray.doctor.check import Check
from cce_ray.doctor.examination import doctor, run_checks

__all__ = ["Check", "doctor", "run_checks"]
