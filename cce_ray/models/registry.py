"""The architectures, by the name that a run gives them."""

from cce_ray.models.centroids import Centroids
from cce_ray.models.cnn import CNN
from cce_ray.models.gaussians import Gaussians
from cce_ray.models.linear import Linear
from cce_ray.models.mlp import MLP
from cce_ray.models.model_settings import ModelSettings
from cce_ray.models.resnet18 import ResNet18
from cce_ray.models.vgg4 import VGG4

MODELS: dict[str, type[ModelSettings]] = {
    "linear": Linear,
    "mlp": MLP,
    "cnn": CNN,
    "vgg4": VGG4,
    "resnet18": ResNet18,
    "centroids": Centroids,
    "gaussians": Gaussians,
}
