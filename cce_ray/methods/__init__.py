"""Clustering methods, one file each."""

from cce_ray.methods.base import MethodSettings, labels_of
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

__all__ = ["CCE", "METHODS", "CCEPlus", "KMeans", "MethodSettings", "Shannon", "labels_of"]
