"""The data that experiments make: corrupted and softened labels."""

import numpy as np
import pytest

from cce_ray.experiments.paper.figure2 import corrupted, softened


def test_corruption_replaces_the_wanted_share_by_labels_at_random() -> None:
    labels = np.repeat(np.arange(10), 2000)
    changed = corrupted(labels, 10, 0.4, seed=0)
    assert (changed != labels).mean() == pytest.approx(0.4 * 0.9, abs=0.01)  # one in ten draws the old label
    assert (corrupted(labels, 10, 0.0, seed=0) == labels).all()
    assert (corrupted(labels, 10, 0.4, seed=1) != changed).any()


def test_targets_mix_the_label_with_the_uniform_distribution() -> None:
    targets = softened(np.array([2, 0]), 0.6, 4)
    np.testing.assert_allclose(targets, [[0.15, 0.15, 0.55, 0.15], [0.55, 0.15, 0.15, 0.15]], atol=1e-6)
