"""The statistics in front of the model."""

from pathlib import Path

import numpy as np
import pytest

from cce_ray.data import Digits, load_dataset, normalization
from cce_ray.data import normalization as function
from cce_ray.data.normalization import CHUNK_BYTES
from cce_ray.data.sources.arrays import Arrays

RANDOM = np.random.default_rng(0)


def embeddings(
    tmp_path: Path, features: np.ndarray, **values: object
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    np.save(tmp_path / "x.npy", features)
    settings = Arrays(path=tmp_path / "x.npy", num_clusters=2, **values)  # type: ignore[arg-type]
    dataset = load_dataset(settings)
    shift, scale = normalization(dataset, settings)
    return shift, scale, (dataset.samples.read(np.arange(len(features))) - shift) * scale


def test_embeddings_become_z_scores_of_the_given_mean_norm(tmp_path: Path) -> None:
    features = RANDOM.normal(loc=[5, -1000, 0], scale=[0.1, 3, 1e4], size=(500, 3)).astype(np.float32)
    shift, scale, normalised = embeddings(tmp_path, features, norm=7)
    assert shift.dtype == scale.dtype == np.float32 and shift.shape == scale.shape == (3,)
    assert np.allclose(normalised.mean(axis=0), 0, atol=1e-3)
    assert np.allclose(normalised.std(axis=0), 7 / np.sqrt(3), rtol=1e-3)
    assert np.isclose(np.sqrt(np.square(normalised).sum(axis=1).mean()), 7, rtol=1e-3)


def test_constant_dimensions_vanish_instead_of_being_blown_up(tmp_path: Path) -> None:
    features = RANDOM.normal(size=(100, 3))
    features[:, 1] = 0.1  # Not a float32: rounding alone must not count as variation.
    features[:, 2] = 0
    _, scale, normalised = embeddings(tmp_path, features)
    assert scale[0] > 0 and scale[1] == scale[2] == 0
    assert (normalised[:, 1:] == 0).all()


def test_without_standardisation_embeddings_pass_unchanged(tmp_path: Path) -> None:
    features = RANDOM.normal(size=(100, 3)).astype(np.float32)
    _, _, normalised = embeddings(tmp_path, features, standardize=False)
    assert np.array_equal(normalised, features)


def test_many_chunks_on_disk_give_the_moments_of_the_whole(tmp_path: Path) -> None:
    features = RANDOM.normal(loc=100, size=(CHUNK_BYTES // 8 // 1000 * 2 + 17, 1000)).astype(np.float16)
    shift, scale, _ = embeddings(tmp_path, features, memory_limit_gib=0)
    exact = features.astype(np.float64)
    assert np.allclose(shift, exact.mean(axis=0), rtol=1e-6)
    assert np.allclose(scale, 10 / np.sqrt(1000) / exact.std(axis=0), rtol=1e-5)


def test_only_training_samples_count() -> None:
    settings = Digits(split=0.5)
    dataset = load_dataset(settings)
    shift, _ = function(dataset, settings)
    images = dataset.samples.array
    assert images is not None
    assert np.isclose(shift.item(), images[dataset.train_indices].mean(), rtol=1e-6)
    assert not np.isclose(shift.item(), images.mean(), rtol=1e-4)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_images_are_normalised_by_channel(tmp_path: Path, kind: str) -> None:
    images = RANDOM.integers(0, 256, size=(50, 6, 6, 3)).astype(np.uint8)
    images[..., 1] = 51
    np.save(tmp_path / "x.npy", images if kind == "uint8" else (images / 255).astype(np.float32))
    settings = Arrays(path=tmp_path / "x.npy", num_clusters=2)
    shift, scale = normalization(load_dataset(settings), settings)
    assert shift.shape == scale.shape == (3, 1, 1)
    assert np.allclose(shift[:, 0, 0], (images / 255).mean(axis=(0, 1, 2)), rtol=1e-5)
    assert np.isclose(scale[0, 0, 0], 1 / (images[..., 0] / 255).std(), rtol=1e-5)
    assert np.isclose(shift[1, 0, 0], 0.2, rtol=1e-5) and np.isfinite(scale[1, 0, 0])
