"""Self-labelled clustering with collision cross-entropy, from one command to a Ray cluster.

Importing the package loads neither torch, ray nor mlflow; import what you need from its rooms, for example
``from cce_ray.pseudo_labels import estimate_pseudo_labels``.
"""

from cce_ray.version import __version__

__all__ = ["__version__"]
