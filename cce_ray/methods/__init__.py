"""Clustering methods, one file each."""

from cce_ray.methods.base import MethodSettings, Step, labels_of
from cce_ray.methods.cce import CCE
from cce_ray.methods.cce_plus import CCEPlus
from cce_ray.methods.gmm import GMM
from cce_ray.methods.iic import IIC
from cce_ray.methods.imsat import IMSAT
from cce_ray.methods.kmeans import KMeans
from cce_ray.methods.mi import MI
from cce_ray.methods.miadm import MIADM
from cce_ray.methods.migd import MIGD
from cce_ray.methods.scan import SCAN
from cce_ray.methods.seeds_only import SeedsOnly
from cce_ray.methods.sela import SeLa
from cce_ray.methods.shannon import Shannon
from cce_ray.methods.simclr import SimCLR

METHODS: dict[str, type[MethodSettings]] = {
    "cce_plus": CCEPlus,
    "cce": CCE,
    "shannon": Shannon,
    "mi": MI,
    "migd": MIGD,
    "sela": SeLa,
    "miadm": MIADM,
    "imsat": IMSAT,
    "iic": IIC,
    "scan": SCAN,
    "seeds_only": SeedsOnly,
    "simclr": SimCLR,
    "kmeans": KMeans,
    "gmm": GMM,
}

__all__ = ["METHODS", "CCEPlus", "MethodSettings", "Step", "labels_of"]
