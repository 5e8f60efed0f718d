"""Pre-training without labels, and what starts from it."""

from pathlib import Path

import pytest
import torch

from cce_ray.config import load_config
from cce_ray.data import load_dataset
from cce_ray.models import load_classifier, save_classifier
from cce_ray.runs import embed_file, run_training

BASE = ["data=digits", "data.limit=300", "model=cnn", "tracking.enabled=false", "runtime.threads=1"]
BASE += ["optimizer.batch_size=150", "optimizer.epochs=2"]


@pytest.fixture(scope="module")
def pretext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretext") / "run"
    config, _ = load_config(None, [*BASE, "method=simclr", f"output_dir={folder}"])
    return Path(run_training(config).model)


def test_a_run_starts_from_the_backbone_of_another(pretext: Path, tmp_path: Path) -> None:
    config, _ = load_config(None, [*BASE, f"model.weights={pretext}", f"output_dir={tmp_path / 'run'}"])
    trained, _ = load_classifier(pretext)
    fresh = config.model.build((1, 8, 8), 10)
    for key, tensor in trained.backbone.state_dict().items():
        assert torch.equal(fresh.backbone.state_dict()[key], tensor), key
    summary = run_training(config)
    pretext.rename(tmp_path / "moved.pt")  # the trained model does not ask for it again
    try:
        load_classifier(Path(summary.model))
    finally:
        (tmp_path / "moved.pt").rename(pretext)


def test_its_features_are_those_before_the_head(pretext: Path, tmp_path: Path) -> None:
    embed_file("digits", tmp_path / "features.parquet", backbone=str(pretext))
    settings = ["data=arrays", f"data.path={tmp_path / 'features.parquet'}"]
    dataset = load_dataset(load_config(None, settings)[0].data)
    width = load_classifier(pretext)[0].head.weight.shape[1]
    assert dataset.samples.shape == (width,) and len(dataset.samples) == 1797
    assert dataset.num_clusters == 10


def test_neighbours_are_sought_in_them(pretext: Path, tmp_path: Path) -> None:
    embed_file("digits", tmp_path / "features.parquet", backbone=str(pretext))
    scan = ["method=scan", f"method.embedding={tmp_path / 'features.parquet'}", "data.limit=1797"]
    config, _ = load_config(None, [*BASE, *scan, f"output_dir={tmp_path / 'run'}"])
    assert run_training(config).clusters_used > 1
    few, _ = load_config(None, [*BASE, *scan, "data.limit=300", f"output_dir={tmp_path / 'few'}"])
    with pytest.raises(ValueError, match=r"^method.embedding: .* one row for each of the 300 samples"):
        run_training(few)
    lost = ["method=scan", "method.embedding=gone.npy", f"output_dir={tmp_path / 'few'}"]
    with pytest.raises(ValueError, match=r"^method.embedding: '.*gone.npy' is not a file; set method\.embed"):
        run_training(load_config(None, [*BASE, *lost])[0])
    assert not (tmp_path / "few").exists()


def test_weights_that_do_not_fit_are_one_line(pretext: Path, tmp_path: Path) -> None:
    def build(*overrides: str) -> None:
        load_config(None, [*BASE, *overrides])[0].model.build((1, 8, 8), 10)

    with pytest.raises(ValueError, match=r"^model.weights: '.*gone.pt' is not a file"):
        build(f"model.weights={tmp_path / 'gone.pt'}")
    (tmp_path / "text.pt").write_text("no tensors")
    with pytest.raises(ValueError, match=r"^model.weights: '.*text.pt': it is cut short or of another kind"):
        build(f"model.weights={tmp_path / 'text.pt'}")
    with pytest.raises(ValueError, match=r"^model.weights: this model has no backbone"):
        build("model=linear", f"model.weights={pretext}")
    config, _ = load_config(None, ["model=cnn"])
    wide = config.model.build((3, 8, 8), 10)
    save_classifier(tmp_path / "wide.pt", wide, settings=config.model, metadata={})
    with pytest.raises(
        ValueError, match=r"^model.weights: \S+ is \(32, 3, 3, 3\) in .*\(32, 1, 3, 3\) in this"
    ):
        build(f"model.weights={tmp_path / 'wide.pt'}")
