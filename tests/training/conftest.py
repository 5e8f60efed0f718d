"""Small real runs: digits with the networks that take a second."""

from pathlib import Path

import pytest

from cce_ray.config import RunConfig, load_config

FAST = ["runtime.threads=1", "optimizer.epochs=4", "optimizer.batch_size=300", "tracking.enabled=false"]


@pytest.fixture
def digits_config() -> RunConfig:
    """Four epochs of a small convolutional network with the augmented view."""
    overrides = [
        *FAST,
        "data=digits",
        "data.limit=900",
        "model=cnn",
        "model.widths=[8, 8, 16]",
        "method.augmentation_weight=1",
        "method.fairness_weight=30",
        "pseudo_labels.max_iterations=10",
        "optimizer.learning_rate=0.005",
        "optimizer.schedule=cosine",
        "optimizer.warmup=0.2",
    ]
    return load_config(None, overrides)[0].resolved()


@pytest.fixture
def checkpoint_folder(tmp_path: Path) -> Path:
    """An empty folder for one run's checkpoints."""
    folder = tmp_path / "seed_0"
    folder.mkdir()
    return folder
