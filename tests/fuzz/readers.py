"""Every reader of files that users give, with small valid files for it and the damage that suits them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from mutations import (
    ARCHIVE,
    GENERIC,
    TEXT,
    Mutation,
    inner,
    npy_header,
    png_header,
    yaml_bomb,
)

ROWS, SIZE = 300, 8


@dataclass(frozen=True)
class Reader:
    """One way in which a file comes into the program."""

    name: str
    suffix: str
    valid: Callable[[], list[bytes]]
    """Files that it accepts."""
    read: Callable[[Path, np.random.Generator], Any]
    """Reads the file whole; raises what the program would show."""
    special: tuple[Mutation, ...] = ()
    """Damage that suits the format, as frequent as the generic one."""
    names: str = ""
    """A regular expression of what may name the fault instead of the file: settings' keys."""
    memory: int = 512 * 2**20
    """Bytes of resident memory that reading one damaged file of a few kilobytes may take."""

    def mutant(self, number: int, seed: int) -> tuple[bytes, np.random.Generator]:
        """Damaged file `number`, always the same, and the generator to read it with."""
        random = np.random.default_rng([seed, number, *self.name.encode()])
        files = self.valid()
        data = files[random.integers(len(files))]
        kinds = self.special if self.special and random.integers(2) else GENERIC
        data = kinds[random.integers(len(kinds))](data, random)
        if random.integers(4) == 0 and data:  # twice as damaged
            data = GENERIC[random.integers(len(GENERIC))](data, random)
        return data, random


def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, SIZE)).astype(np.float32)


def classes() -> np.ndarray:
    return np.arange(ROWS) % 3


def saved(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def npy_files() -> list[bytes]:
    images = np.random.default_rng(0).integers(0, 255, (20, 6, 6, 3)).astype(np.uint8)
    arrays = [rows(), rows().astype(">f8"), np.asfortranarray(rows()), rows().astype(np.float16), images]
    # Values of Fortran order and of others alike; an array of one byte each besides.
    return [
        saved(lambda file, array=array: np.save(file, array)) for array in [*arrays, images[:, 0, :, 0] > 9]
    ]


def npz_files(save: Callable[..., None]) -> list[bytes]:
    return [
        saved(lambda file: save(file, features=rows(), labels=classes())),
        saved(lambda file: save(file, x=rows().astype(np.float64), other=np.arange(4), y=classes())),
    ]


def read_arrays(path: Path, random: np.random.Generator, **settings: Any) -> None:
    """As training does: in order, or at random through the node's copy."""
    from cce_ray.data.sources.arrays import Arrays

    settings.setdefault("memory_limit_gib", float(random.choice((1.0, 0.0))))
    source = Arrays(path=path, **settings).source()
    order = np.arange(len(source.samples))
    source.samples.read(order)
    source.samples.read(random.permutation(order[:100_000]))


def parquet_files() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(rows().reshape(-1))
    offsets = np.arange(0, ROWS * SIZE + 1, SIZE, dtype=np.int32)
    fixed = pa.FixedSizeListArray.from_arrays(flat, SIZE)
    words = pa.array(np.array(["cat", "dog", "cow"])[classes()]).dictionary_encode()
    tables = [
        ({"embedding": pa.ListArray.from_arrays(offsets, flat), "label": classes()}, "snappy"),
        ({"embedding": fixed, "label": words}, "zstd"),
        ({f"f{k}": rows()[:, k] for k in range(SIZE)} | {"label": words, "id": np.arange(ROWS)}, "snappy"),
        ({"f0": np.round(rows()[:, 0]), "f1": classes(), "f2": classes() > 1}, "gzip"),
    ]
    return [
        saved(
            lambda file, table=table, codec=codec: pq.write_table(
                pa.table(table),
                file,
                compression=codec,
                row_group_size=128,
                write_page_checksum=codec == "zstd",
            )
        )
        for table, codec in tables
    ]


def model_file(settings: Any, shape: tuple[int, ...]) -> bytes:
    import tempfile

    from cce_ray.models import save_classifier

    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        save_classifier(
            file.name, settings.build(shape, 3), settings=settings, metadata={"classes": ["a", "b"]}
        )
        return Path(file.name).read_bytes()


def model_files() -> list[bytes]:
    from cce_ray.models.cnn import CNN
    from cce_ray.models.linear import Linear

    return [model_file(Linear(), (4,)), model_file(CNN(), (1, 8, 8))]


def read_model(path: Path, random: np.random.Generator) -> None:
    from cce_ray.models import load_classifier

    load_classifier(path)


def state_files() -> list[bytes]:
    import torch

    state = {"module.weight": torch.arange(12.0).reshape(3, 4), "bias": torch.zeros(3)}
    wrapped = {"epoch": 3, "state_dict": state}
    return [
        saved(lambda file: torch.save(state, file)),
        saved(lambda file: torch.save(wrapped, file, _use_new_zipfile_serialization=False)),
    ]


def read_state(path: Path, random: np.random.Generator) -> None:
    from cce_ray.models.weight_files import read_weights

    for tensor in read_weights(path).values():
        tensor.sum()


def safetensors_files() -> list[bytes]:
    import torch
    from safetensors.torch import save

    return [save({"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.zeros(3)})]


def backbone_files() -> list[bytes]:
    import torch

    from cce_ray.models.mlp import MLP

    backbone = MLP().build((4,), 3).backbone
    return [model_file(MLP(), (4,)), saved(lambda file: torch.save(backbone.state_dict(), file))]


def read_backbone(path: Path, random: np.random.Generator) -> None:
    from cce_ray.models.mlp import MLP

    MLP(weights=path).build((4,), 3)


def checkpoint_files() -> list[bytes]:
    import torch

    content = {"format": "cce_ray.checkpoint/2", "weights": {"a": torch.ones(4)}, "position": [1, 2, 3]}
    return [saved(lambda file: torch.save(content, file))]


def read_checkpoint(path: Path, random: np.random.Generator) -> None:
    from cce_ray.training.checkpoints import load_checkpoint

    load_checkpoint(path)


RUN = """\
# a run
name: mine
data:
  name: digits
  num_clusters: 10
  split: 0.25
model: {name: mlp}
method:
  name: cce
  fairness_weight: 100.0
optimizer:
  epochs: 20
  learning_rate: 1.0e-3
  batch_size: 250
runtime: {seed: 3}
"""
MERGED = """\
name: merged
optimizer: &optimizer {epochs: 2, batch_size: 100}
data: {<<: {name: digits, num_clusters: 10}, num_clusters: 5}
runtime: {seed: &seed 7, threads: *seed}
"""


def run_files() -> list[bytes]:
    from cce_ray.config import RunConfig

    return [RUN.encode(), MERGED.encode(), RunConfig().resolved().to_yaml().encode()]


def read_run(path: Path, random: np.random.Generator) -> None:
    from cce_ray.config import load_config

    load_config(path)


def space_files() -> list[bytes]:
    return [(Path(__file__).parents[2] / "search_spaces" / f"{name}.yaml").read_bytes() for name in SPACES]


SPACES = ("digits", "mnist")


def read_space(path: Path, random: np.random.Generator) -> None:
    from cce_ray.tuning.search_settings import load_search

    load_search(str(path))


def label_files() -> list[bytes]:
    numbers = "label\n" + "\n".join(map(str, classes())) + "\n"
    texts = "\n".join(np.array(["cat", "dog", "cow"])[classes()])
    return [numbers.encode(), texts.encode(), ("\ufeff" + numbers.replace("\n", "\r\n")).encode()]


def table_files() -> list[bytes]:
    lines = [f'{row},"a, {row}",{label}' for row, label in enumerate(classes())]
    return [("id,text,label\n" + "\n".join(lines)).encode(), *label_files()]


def read_label_file(path: Path, random: np.random.Generator) -> None:
    features = path.with_name("rows.npy")
    if not features.exists():
        np.save(features, rows())
    column = "label" if path.read_bytes().startswith(b"id,") else None
    read_arrays(features, random, labels_path=path, label_key=column)


def label_arrays() -> list[bytes]:
    arrays = [classes(), classes().astype(">i2"), np.array(["cat", "dog", "cow"])[classes()], classes() * 1.0]
    return [saved(lambda file, array=array: np.save(file, array)) for array in arrays]


def supervision_files() -> list[bytes]:
    lines = [f"{row},{row % 3}" for row in range(0, 60, 2)]
    return [("id,label\n" + "\n".join(lines) + "\n").encode()]


def read_supervision(path: Path, random: np.random.Generator) -> None:
    from cce_ray.data import load_dataset
    from cce_ray.data.sources.arrays import Arrays
    from cce_ray.training.supervising import told_in

    features = path.with_name("rows.npy")
    if not features.exists():
        np.save(features, rows())
    told_in(path, load_dataset(Arrays(path=features, num_clusters=3)))


def record_files() -> list[bytes]:
    import json
    from dataclasses import asdict

    from cce_ray.runs.seeds import SeedResult

    history = [{"loss": 0.5, "epoch": 1.0}, {"loss": 0.25, "epoch": 2.0}]
    result = SeedResult(0, None, {"accuracy": 0.5}, 3, 0.9, 0.25, 1.5, 200.0, None, history)
    return [json.dumps(asdict(result), indent=1).encode()]


def read_json(path: Path, random: np.random.Generator) -> None:
    from cce_ray.files.records import read_record
    from cce_ray.runs.seeds import SeedResult

    record = read_record(path, SeedResult)
    if record is not None:  # what `--resume` does with it
        sum(record.scores.values())
        f"{record.seed:d} {record.seconds:.1f} {record.confidence:.3f}"
        [line.get("loss") for line in record.history]


def image_files(kind: str) -> Callable[[], list[bytes]]:
    def files() -> list[bytes]:
        from PIL import Image

        noise = np.random.default_rng(0).integers(0, 256, (24, 24, 4)).astype(np.uint8)
        smooth = np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None] * 10, (24, 24, 3))
        images = [Image.fromarray(noise[..., :3]), Image.fromarray(np.ascontiguousarray(smooth))]
        options: list[dict[str, Any]] = [{}]
        if kind in ("PNG", "TIFF"):
            images += [Image.fromarray(noise), Image.fromarray(noise[..., 0].astype(np.uint16) * 200)]
        if kind == "PNG":
            images.append(Image.fromarray(noise[..., 0] % 16).convert("P"))
        if kind == "TIFF":
            options += [{"compression": name} for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
        if kind == "JPEG":
            exif = Image.Exif()
            exif[0x0112] = 6
            options += [{"progressive": True}, {"exif": exif}]
        if kind == "GIF":
            options.append({"save_all": True, "append_images": [images[1]]})
        made = []
        for image in images:
            for option in options:
                if option.get("compression") != "jpeg" or image.mode == "RGB":
                    made.append(saved(lambda file, i=image, o=option: i.save(file, kind, **o)))
        return made

    return files


def read_image(path: Path, random: np.random.Generator) -> None:
    """Beside an image that is whole; half the time skipping is not allowed."""
    from PIL import Image

    from cce_ray.data.sources.folder import Folder

    whole = path.with_name("whole.png")
    if not whole.exists():
        Image.new("RGB", (24, 24), "red").save(whole)
    allowed = str(random.choice(("skip", "refuse")))
    channels = str(random.choice(("rgb", "grey")))
    settings: Any = {"image_size": 16, "on_unreadable": allowed, "channels": channels}
    source = Folder(path=path.parent, memory_limit_gib=float(random.integers(2)), **settings).source()
    source.samples.read(np.arange(len(source.samples)))
    if any("\n" in note for note in source.notes):
        raise AssertionError(f"a note that is not one line: {source.notes!r}")
    if path.name not in list(source.ids or ()) and not any(path.name in note for note in source.notes):
        raise AssertionError(f"an image that is skipped and not named: {source.notes!r}")


PICTURE = 2**30
"""A picture may claim as many pixels as Pillow decodes, 179 million: 0.7 GB in RGBA."""
DATA = r"data\.(path|key|label_key|channels|labels_path): "
SUPERVISION = r"supervision\.labels_path: "
NPY = (npy_header,)
NPZ = (*ARCHIVE, inner((npy_header,), "."), inner(GENERIC))
TORCH = (*ARCHIVE, inner(GENERIC, "data.pkl"), inner(GENERIC, "data.pkl"), inner(GENERIC))

READERS = {
    reader.name: reader
    for reader in (
        Reader("npy", ".npy", npy_files, read_arrays, (npy_header,)),
        Reader("npz stored", ".npz", lambda: npz_files(np.savez), read_arrays, NPZ, DATA),
        Reader("npz deflated", ".npz", lambda: npz_files(np.savez_compressed), read_arrays, NPZ, DATA),
        Reader("parquet", ".parquet", parquet_files, read_arrays, (), DATA),
        Reader("model pt", ".pt", model_files, read_model, TORCH),
        Reader("checkpoint pt", ".pt", checkpoint_files, read_checkpoint, TORCH),
        Reader("weights pth", ".pth", lambda: state_files()[:1], read_state, TORCH),
        Reader("weights pth, old", ".pth", lambda: state_files()[1:], read_state),
        Reader("model.weights", ".pt", backbone_files, read_backbone, TORCH),
        Reader("run yaml", ".yaml", run_files, read_run, (*TEXT, yaml_bomb), r".+: "),
        Reader("space yaml", ".yaml", space_files, read_space, (*TEXT, yaml_bomb), r".+: "),
        Reader("labels csv", ".csv", table_files, read_label_file, TEXT, DATA),
        Reader("labels txt", ".txt", label_files, read_label_file, TEXT, DATA),
        Reader("labels npy", ".npy", label_arrays, read_label_file, NPY, DATA),
        Reader(
            "supervision csv",
            ".csv",
            supervision_files,
            read_supervision,
            TEXT,
            r"supervision\.labels_path: ",
        ),
        Reader("record json", ".json", record_files, read_json, TEXT),
        Reader("png", ".png", image_files("PNG"), read_image, (png_header,), memory=PICTURE),
        Reader("jpg", ".jpg", image_files("JPEG"), read_image, memory=PICTURE),
        Reader("gif", ".gif", image_files("GIF"), read_image, memory=PICTURE),
        Reader("tif", ".tif", image_files("TIFF"), read_image, memory=PICTURE),
        Reader("bmp", ".bmp", image_files("BMP"), read_image, memory=PICTURE),
        Reader("webp", ".webp", image_files("WEBP"), read_image, memory=PICTURE),
        Reader("avif", ".avif", image_files("AVIF"), read_image, memory=PICTURE),
    )
}
if find_spec("safetensors"):
    READERS["weights safetensors"] = Reader(
        "weights safetensors", ".safetensors", safetensors_files, read_state
    )
