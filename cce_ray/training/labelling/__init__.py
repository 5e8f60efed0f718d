"""Pseudo-labels for the batches of a training: who estimates them, and over which samples."""

from cce_ray.training.labelling.batch_probs import BatchProbs, Labelled
from cce_ray.training.labelling.choice import make_labeller
from cce_ray.training.labelling.dataset import DatasetLabels
from cce_ray.training.labelling.given import GivenLabels
from cce_ray.training.labelling.helper import HelperLabeller
from cce_ray.training.labelling.inline import InlineLabeller
from cce_ray.training.labelling.labeller import Labeller
from cce_ray.training.labelling.shared import SharedLabeller

__all__ = [
    "BatchProbs",
    "DatasetLabels",
    "GivenLabels",
    "HelperLabeller",
    "InlineLabeller",
    "Labelled",
    "Labeller",
    "SharedLabeller",
    "make_labeller",
]
