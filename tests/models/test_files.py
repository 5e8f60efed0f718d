"""Model files: whole or not at all, and nothing in them is trusted."""

import io
import pickle
from pathlib import Path

import pytest
import torch

from cce_ray.models import load_classifier, save_classifier
from cce_ray.models.linear import Linear

MODEL = Linear().build((4,), 3)


def save(path: Path, **metadata: object) -> None:
    save_classifier(path, MODEL, settings=Linear(), metadata=metadata)


def refused(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_classifier(path)
    told = str(caught.value)
    assert "\n" not in told and str(path) in told and "; " in told
    return told


def test_a_failed_save_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.pt"
    save(path, score=1)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(path, score=2)
    assert load_classifier(path)[1] == {"score": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["m.pt"]


def test_metadata_that_cannot_travel_fails_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save(tmp_path / "m.pt", tensor=torch.ones(1))
    assert list(tmp_path.iterdir()) == []


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    assert "is not a file" in refused(tmp_path / "missing.pt")
    assert "is not a file" in refused(tmp_path)
    foreign = tmp_path / "foreign.pt"
    for content in (b"", b"text", b"\x00" * 500):
        foreign.write_bytes(content)
        assert "damaged or not a model of cce_ray" in refused(foreign)
    torch.save({"weights": torch.ones(2)}, foreign)
    assert "is not a model of cce_ray" in refused(foreign)
    torch.save([1, 2], foreign)
    assert "is not a model of cce_ray" in refused(foreign)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "m.pt"
    save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    assert "damaged or not a model" in refused(path)


def test_flipped_bits_in_the_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    save(path)
    content = bytearray(path.read_bytes())
    (weights,) = [tensor for name, tensor in MODEL.state_dict().items() if name.endswith("head.weight")]
    place = content.index(weights.numpy().tobytes())
    content[place + 2] ^= 0x40
    path.write_bytes(content)
    assert "checksum" in refused(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (mark,)

    plain, zipped = tmp_path / "plain.pt", tmp_path / "zipped.pt"
    plain.write_bytes(pickle.dumps(Malicious()))
    torch.save({"format": "cce_ray.model", "state": Malicious()}, zipped)
    for path in (plain, zipped):
        assert "damaged or not a model" in refused(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 99}, "newer cce_ray"),
        ({"settings": '{"name": "transformer"}'}, "unknown here; known: linear"),
    ],
)
def test_files_of_another_version_are_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    path = tmp_path / "m.pt"
    save(path)
    content = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    torch.save({**content, **change}, path)
    assert told in refused(path)


def test_a_model_can_be_overwritten_and_moved(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", run=1)
    save(tmp_path / "a.pt", run=2)
    moved = (tmp_path / "a.pt").rename(tmp_path / "b.pt")
    model, metadata = load_classifier(str(moved))
    inputs = torch.rand(3, 4)
    assert metadata == {"run": 2} and torch.equal(model(inputs), MODEL(inputs))
