"""The solvers, by name."""

from cce_ray.pseudo_labels.solvers.driver import Solver
from cce_ray.pseudo_labels.solvers.em import EM
from cce_ray.pseudo_labels.solvers.em_accelerated import EMAccelerated
from cce_ray.pseudo_labels.solvers.exact import Exact
from cce_ray.pseudo_labels.solvers.mirror import Mirror
from cce_ray.pseudo_labels.solvers.pgd import PGD

SOLVERS: dict[str, type[Solver]] = {
    "em": EM,
    "em_accelerated": EMAccelerated,
    "exact": Exact,
    "pgd": PGD,
    "mirror": Mirror,
}
