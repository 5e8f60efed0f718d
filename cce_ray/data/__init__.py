"""Sources of data and the way from them to the device.

``DATASETS[name]`` is a settings class; ``load_dataset(settings)`` a ``Dataset``. ``Batches`` brings it to the
device, ``augment`` disturbs it there, ``normalization`` gives the statistics the model starts with.
"""

from typing import TYPE_CHECKING

from cce_ray.data.augmentation import AugmentationSettings
from cce_ray.data.data_settings import DataSettings
from cce_ray.data.dataset import Dataset, Source
from cce_ray.data.loading import load_dataset
from cce_ray.data.normalization import normalization
from cce_ray.data.sources.arrays import Arrays
from cce_ray.data.sources.cifar10 import CIFAR10
from cce_ray.data.sources.cifar100_20 import CIFAR100Coarse
from cce_ray.data.sources.digits import Digits
from cce_ray.data.sources.folder import Folder
from cce_ray.data.sources.mnist import MNIST
from cce_ray.data.sources.stl10 import STL10
from cce_ray.data.storage.samples import Samples
from cce_ray.lazy import lazy

if TYPE_CHECKING:
    from cce_ray.data.device.augmenting import augment
    from cce_ray.data.device.batches import Batches, share, smallest_batch, to_device
    from cce_ray.data.device.keyed_random import keyed_uniforms
    from cce_ray.data.device.tensors import as_tensor
    from cce_ray.data.sources.arrays import names_in
    from cce_ray.data.sources.torchvision_sets import data_root
    from cce_ray.data.storage.image_listing import list_images
    from cce_ray.data.storage.node_copy import remove_unused_copies
    from cce_ray.data.storage.sample_ids import SampleIds, shown
    from cce_ray.data.storage.shards import is_shard
else:
    # These need torch, which a reader of configurations should not wait for.
    __getattr__ = lazy(
        __name__,
        {
            "device.augmenting": ["augment"],
            "device.batches": ["Batches", "share", "smallest_batch", "to_device"],
            "device.keyed_random": ["keyed_uniforms"],
            "device.tensors": ["as_tensor"],
            "sources.arrays": ["names_in"],
            "sources.torchvision_sets": ["data_root"],
            "storage.image_listing": ["list_images"],
            "storage.node_copy": ["remove_unused_copies"],
            "storage.sample_ids": ["SampleIds", "shown"],
            "storage.shards": ["is_shard"],
        },
    )

DATASETS: dict[str, type[DataSettings]] = {
    "digits": Digits,
    "mnist": MNIST,
    "cifar10": CIFAR10,
    "cifar100_20": CIFAR100Coarse,
    "stl10": STL10,
    "folder": Folder,
    "arrays": Arrays,
}

__all__ = [
    "DATASETS",
    "Arrays",
    "AugmentationSettings",
    "Batches",
    "DataSettings",
    "Dataset",
    "Digits",
    "SampleIds",
    "Samples",
    "Source",
    "as_tensor",
    "augment",
    "data_root",
    "is_shard",
    "keyed_uniforms",
    "list_images",
    "load_dataset",
    "names_in",
    "normalization",
    "remove_unused_copies",
    "share",
    "shown",
    "smallest_batch",
    "to_device",
]
