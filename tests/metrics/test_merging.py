"""Over-clustering followed by merging."""

import numpy as np
import pytest

from cce_ray.metrics import merge_clusters


def test_the_halves_of_blobs_are_put_together() -> None:
    random = np.random.default_rng(0)
    blobs = np.repeat(np.arange(3), 200)
    values = 20.0 * np.eye(3)[blobs] + random.normal(size=(600, 3))
    halves = 2 * blobs + (random.random(600) < 0.3)
    found = merge_clusters(values, np.array([7, 3, 9, 1, 5, 4])[halves], 3)
    pairs = {(int(blob), int(cluster)) for blob, cluster in zip(blobs, found, strict=True)}
    assert len(pairs) == 3 and {cluster for _, cluster in pairs} == {0, 1, 2}


def test_as_many_as_there_are_stay_as_they_are_but_for_their_names() -> None:
    clusters = np.array([4, 4, 0, 2, 0])
    found = merge_clusters(np.eye(5), clusters, 3)
    assert len({(int(a), int(b)) for a, b in zip(clusters, found, strict=True)}) == 3


def test_too_few_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="2 of them cannot be merged to 3"):
        merge_clusters(np.eye(4), np.array([0, 1, 1, 0]), 3)
