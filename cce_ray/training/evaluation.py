"""Predictions of a trained model over a set of samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from cce_ray.data import Batches, Dataset, share
from cce_ray.models import Classifier
from cce_ray.training.ranks import Ranks, share_sizes


def predict_batches(
    model: Classifier, batches: Batches, batch_size: int = 1024
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(sample indices (B,), probabilities (B, K) float32) in order, in evaluation mode, without gradient."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for indices, inputs in batches.sequential(batch_size):
                yield indices.numpy(), torch.softmax(model(inputs).float(), 1).cpu().numpy()
    finally:
        model.train(was_training)


def predict(model: Classifier, batches: Batches) -> np.ndarray:
    """Probabilities (n, K) float32 of all samples of `batches`, in their order."""
    return np.concatenate([probs for _, probs in predict_batches(model, batches)])


def evaluate(model: Classifier, dataset: Dataset, device: torch.device, ranks: Ranks) -> np.ndarray:
    """Probabilities (n, K) float32 of the evaluation samples; each rank predicts its share of them."""
    count = len(dataset.evaluation_indices)
    indices = dataset.evaluation_indices[share(count, ranks.rank, ranks.size)]
    own = np.empty((0, model.num_clusters), np.float32)
    if len(indices):
        own = predict(
            model, Batches(dataset.samples, indices, batch_size=min(1024, len(indices)), device=device)
        )
    return ranks.gather(torch.from_numpy(own), share_sizes(count, ranks.size)).numpy()
