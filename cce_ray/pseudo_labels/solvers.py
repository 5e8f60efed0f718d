"""The solvers, by name."""

from cce_ray.pseudo_labels.driver import Solver
from cce_ray.pseudo_labels.em import EM
from cce_ray.pseudo_labels.em_accelerated import EMAccelerated
from cce_ray.pseudo_labels.exact import Exact
from cce_ray.pseudo_labels.mirror import Mirror
from cce_ray.pseudo_labels.pgd import PGD

SOLVERS: dict[str, type[Solver]] = {
    "em": EM,
    "em_accelerated": EMAccelerated,
    "exact": Exact,
    "pgd": PGD,
    "mirror": Mirror,
}
