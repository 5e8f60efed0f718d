"""Clustering methods, one file each."""

from cce_ray.methods.base import MethodSettings
from cce_ray.methods.cce import CCE
from cce_ray.methods.cce_plus import CCEPlus
from cce_ray.methods.kmeans import KMeans
from cce_ray.methods.shannon import Shannon

METHODS: dict[str, type[MethodSettings]] = {
    "cce_plus": CCEPlus,
    "cce": CCE,
    "shannon": Shannon,
    "kmeans": KMeans,
}

__all__ = ["CCE", "METHODS", "CCEPlus", "KMeans", "MethodSettings", "Shannon"]
