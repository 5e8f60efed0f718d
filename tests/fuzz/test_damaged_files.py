"""What the fuzz test has brought to light, one by one, with the right answers."""

import io
import json
import warnings
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cce_ray.config import load_config
from cce_ray.data.sources.arrays import Arrays
from cce_ray.files.records import read_record, write_json
from cce_ray.models import load_classifier, save_classifier
from cce_ray.models.linear import Linear
from cce_ray.models.weight_files import read_weights
from cce_ray.runs.seeds import SeedResult

ROWS = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
LABELS = np.arange(60) % 3


def read(path: Path, **settings: Any) -> np.ndarray:
    source = Arrays(path=path, **settings).source()
    return source.samples.read(np.arange(len(source.samples)))


def refusal(path: Path, **settings: Any) -> str:
    """What is said of a file, in memory and through the node's copy: one line that names it."""
    said = set()
    for memory in (1.0, 0.0):
        with pytest.raises(ValueError) as caught:
            read(path, memory_limit_gib=memory, **settings)
        said.add(str(caught.value))
    (text,) = said
    assert len(text.splitlines()) == 1 and str(path) in text and text.startswith("data.path: ")
    assert "pickle" not in text.lower().replace("unpickled", "")
    return text


def npy(header: str, body: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode() + b"\n"
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text + body


def header(descr: str = "'<f4'", shape: object = ROWS.shape, fortran: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def test_the_pointer_of_a_large_file_is_not_a_npy_file(tmp_path: Path) -> None:
    path = tmp_path / "pointer.npy"
    path.write_text("version 1 of a large-file pointer\noid sha256:0\n")
    assert "it is not a .npy file" in refusal(path)
    np.savez(path.with_suffix(".npz"), features=ROWS)
    with zipfile.ZipFile(path.with_suffix(".npz"), "w") as archive:
        archive.write(path, "features.npy")
    assert "it is not a .npy file" in refusal(path.with_suffix(".npz"))


@pytest.mark.parametrize("place", [90, 400, -300])
def test_damage_within_a_compressed_npz_is_refused(tmp_path: Path, place: int) -> None:
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, features=ROWS, labels=LABELS)
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    assert "cannot be read as an .npz file" in refusal(path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("descr", ["<f4", ">f4", ">f8", "<f2", ">i4", "|b1"])
@pytest.mark.parametrize("memory", [1.0, 0.0])
def test_all_sorts_of_numbers_are_read(
    tmp_path: Path, version: tuple[int, int], fortran: bool, descr: str, memory: float
) -> None:
    array = (ROWS * 9).astype(descr)
    data = npy(header(repr(descr), fortran=fortran), array.tobytes("F" if fortran else "C"), version)
    path, archived = tmp_path / "x.npy", tmp_path / "x.npz"
    path.write_bytes(data)
    with zipfile.ZipFile(archived, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", data)
    for file in (path, archived):
        np.testing.assert_array_equal(read(file, memory_limit_gib=memory), array.astype(np.float32))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (header(shape=(59, 4)), "it holds 960 bytes after its header, more than that claims"),
        (header(shape=(61, 4)), "fewer than that claims"),
        (header(shape=(10**12, 4)), "fewer than that claims"),
        (header(shape=(10**30, 4)), "fewer than that claims"),
        (header(shape=(-60, -4)), "a shape that no array has"),
        (header(shape="(True, 4)"), "a shape that no array has"),
        (header(shape="(" + "1, " * 2000 + ")"), "a shape that no array has"),
        (header(shape="(60, 4"), "cannot be read as an array"),
        (header(shape=(0, 10**18)), "after its header, more than that claims"),
        (header("'|O'"), "it holds Python objects, and nothing is ever unpickled"),
        (header("'<M8[ns]'", (30, 4)), "holds datetime64[ns], not numbers or text; convert it"),
        (header("[('a', '<f4'), ('b', '<f4')]", (30, 4)), "not numbers or text; convert it"),
        (header("'<c8'", (30, 4)), "holds complex64, not numbers or text; convert it"),
        (header("'<U0'", (60, 4)), "have no bytes"),
        (header() + " " * 20_000, "is longer than those of arrays are"),
        ("(" * 300, "cannot be read as an array"),
        ("-" * 9000 + "1", "cannot be read as an array"),
        ("\x00", "cannot be read as an array"),
    ],
)  # fmt: skip
def test_headers_that_claim_what_is_not_there_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path, archived = tmp_path / "x.npy", tmp_path / "x.npz"
    path.write_bytes(npy(text, ROWS.tobytes()))
    with zipfile.ZipFile(archived, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "features.npy")
    assert reason in refusal(path)
    assert reason.replace("an array", "an .npz file") in refusal(archived)


def test_archives_that_claim_or_inflate_too_much_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, features=ROWS)
    data = path.read_bytes()
    size = data.rindex(b"PK\x01\x02") + 24
    path.write_bytes(data[:size] + (2**32 - 2).to_bytes(4, "little") + data[size + 4 :])
    assert "it claims 4294967294 bytes" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", npy(header(), ROWS.tobytes() + bytes(2**24)))
    assert "more than that claims" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("features.npy", npy(header(), ROWS.tobytes()))
    assert "method 12" in refusal(path)
    encrypted = bytearray(data)
    encrypted[6] |= 1
    encrypted[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(encrypted)
    assert "is encrypted" in refusal(path)


def test_strange_and_repeated_names_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a\nb.npy", "\x1b[31m.npy", "x" * 1000):
            archive.writestr(name, b"")
    with pytest.raises(ValueError, match=r"^data\.key: .*a\\nb, \\x1b\[31m, x+, none of features") as caught:
        read(path)
    assert len(str(caught.value)) < 500
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for rows in (ROWS, ROWS[:30]):
            archive.writestr("features.npy", npy(header(shape=rows.shape), rows.tobytes()))
    assert "it has 2 arrays of the name 'features'" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("/etc/features.npy", npy(header(), ROWS.tobytes()))
    np.testing.assert_array_equal(read(path), ROWS)
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_missing_truth_values_are_missing_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1.5, 2.5, 3.5], "b": [True, None, False]}), path)
    with pytest.raises(ValueError, match=r"^data\.path: .*x\.parquet' has nan in row 1, column 1"):
        read(path)
    pq.write_table(pa.table({"a": [1.5, 2.5], "b": [True, False]}), path)
    np.testing.assert_array_equal(read(path), [[1.5, 1], [2.5, 0]])


def test_pages_with_a_wrong_checksum_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"a": ROWS[:, 0], "b": ROWS[:, 1]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.index(ROWS[:, 0].tobytes()) + 3] ^= 0x40
    path.write_bytes(data)
    assert "cannot be read as Parquet" in refusal(path)


def test_rows_that_only_the_footer_claims_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": ROWS[:, 0], "b": ROWS[:, 1]}), path)
    samples = Arrays(path=path, memory_limit_gib=0.0).source().samples
    iter_batches = pq.ParquetFile.iter_batches

    def fewer(*arguments: Any, **settings: Any) -> Any:
        yield from (batch[:50] for batch in iter_batches(*arguments, **settings))

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fewer)
    for rows in (np.arange(60), np.arange(60)[::-1]):
        with pytest.raises(ValueError, match=r"^data\.path: .*x\.parquet' .*claims 60 rows and has 50"):
            samples.read(rows)


def model_refusal(path: Path, **change: Any) -> str:
    model = Linear().build((4,), 3)
    save_classifier(path, model, settings=Linear(), metadata={})
    content = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    torch.save({key: value for key, value in {**content, **change}.items() if value is not None}, path)
    with pytest.raises(ValueError) as caught:
        load_classifier(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and text.startswith(f"model: '{path}' ")
    return text


@pytest.mark.parametrize(
    "change",
    [
        {"num_clusters": 10**12},
        {"num_clusters": 4},
        {"num_clusters": "three"},
        {"input_shape": [10**12]},
        {"input_shape": [-4]},
        {"input_shape": 4},
        {"settings": "[" * 100_000},
        {"settings": "{}"},
        {"settings": '{"name": "linear", "unknown": 1}'},
        {"settings": '{"name": ["linear"]}'},
        {"metadata": "[]"},
        {"metadata": None},
        {"state": {}},
        {"state": [1, 2]},
        {"version": "one"},
        {"version": None},
    ],
    ids=str,
)
def test_models_whose_parts_do_not_fit_together_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    assert "is damaged" in model_refusal(tmp_path / "m.pt", **change)


def test_flipped_bits_in_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    weights = torch.arange(12.0).reshape(3, 4)
    torch.save({"weight": weights}, path)
    assert torch.equal(read_weights(path)["weight"], weights)
    data = bytearray(path.read_bytes())
    data[data.index(weights.numpy().tobytes()) + 2] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"^--weights: '{path}' is damaged"):
        read_weights(path)
    torch.save({"weight": weights}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(path)["weight"], weights)


LAUGHS = "a0: &a0 [1]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12))
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}\n" for k in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "its aliases (*) make more than 100000 values"),
        (MERGES, "its aliases (*) make more than 100000 values"),
        ("a: &a [*a]", "an alias (*) within its own anchor"),
        ("[" * 100_000, "not valid YAML"),
        ("- " * 100_000, "not valid YAML"),
        ("name: a\x00b", "not valid YAML"),
        ("name: \xff", "cannot be read"),
        ("name: 2020-02-31", "not valid YAML"),
        ("optimizer: {epochs: 0x" + "f" * 5000 + "}", "an integer beyond 64 bits"),
        ("optimizer: {epochs: " + "9" * 5000 + "}", "not valid YAML"),
        ("optimizer:\n\tepochs: 3", "not valid YAML"),
        ('name: "\\ud800"', "half of a surrogate pair"),
        ('name: "\\UFFFFFFFF"', "not valid YAML"),
        ('"a\\nb": 1', "has characters that no key has"),
        ("? [a]\n: 1", "not valid YAML"),
        ("name: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("name: a\nname: b", "the key 'name' occurs twice; merge the two"),
        ("1: 2", "a run file is a mapping of sections"),
    ],
)  # fmt: skip
def test_yaml_is_refused_in_one_line_with_the_file(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError) as caught:
        load_config(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and reason in said and len(said.splitlines()) == 1


def test_aliases_and_merges_of_people_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "data: {<<: &base {name: digits, num_clusters: 10}, num_clusters: 5}\n"
        "model: {name: mlp}\nruntime: {seed: &seed 7, threads: *seed}\n"
    )
    config, _ = load_config(path)
    assert (config.data.num_clusters, config.runtime.seed, config.runtime.threads) == (5, 7, 7)


RESULT = SeedResult(0, None, {"accuracy": 0.5}, 3, 0.9, None, 1.5, 200.0, None, [{"loss": float("nan")}])


@pytest.mark.parametrize(
    "change", [{"seed": "zero"}, {"scores": [1]}, {"scores": {"accuracy": "x"}}, {"history": 3}, {"loss": {}}]
)
def test_records_of_other_types_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "result.json"
    write_json(path, asdict(RESULT))
    assert str(read_record(path, SeedResult)) == str(RESULT)
    for text in (json.dumps({**asdict(RESULT), **change}), "[" * 100_000):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"^{path}: damaged, or of another version; delete it"):
            read_record(path, SeedResult)
