"""Two processes of a node stream data larger than they may hold, from one copy on the disk."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

WORKERS = 2
ALLOWED_MIB = 100
DATA_MIB = 208

WORKER = """
import json, sys, threading, time
import pyarrow, pyarrow.parquet, torch
from cce_ray.data import DATASETS, Batches, load_dataset

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

table = pyarrow.table({"x": [[1.0, 2.0]]})  # What Arrow takes for itself is no data.
pyarrow.parquet.write_table(table, sys.argv[3])
pyarrow.parquet.ParquetFile(sys.argv[3]).read()
peak = base = anonymous()
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()

values = json.loads(sys.argv[1])
data = load_dataset(DATASETS[values["name"]](**values, num_clusters=2, memory_limit_gib=0))
batches = Batches(data.samples, data.train_indices, batch_size=int(sys.argv[2]), device="cpu")
total = sum(float(inputs.flatten(1)[:, 0].double().sum()) for _, inputs in batches.epoch(0))
print(peak - base, total, flush=True)
sys.stdin.read()  # The data stay open until the other one is done as well.
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's /proc"),
]


def npy(folder: Path) -> tuple[dict[str, Any], int]:
    np.save(folder / "x.npy", np.random.default_rng(0).random((DATA_MIB * 2**11, 128), np.float32))
    return {"name": "arrays", "path": str(folder / "x.npy")}, 1000


def parquet(folder: Path) -> tuple[dict[str, Any], int]:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    values = np.random.default_rng(0).random(DATA_MIB * 2**18, np.float32)
    table = pa.table({"features": pa.FixedSizeListArray.from_arrays(values, 128)})
    pq.write_table(table, folder / "x.parquet")  # One row group, as most writers make it.
    return {"name": "arrays", "path": str(folder / "x.parquet")}, 1000


def parquet_shards(folder: Path) -> tuple[dict[str, Any], int]:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    generator = np.random.default_rng(0)
    for number in range(8):
        values = generator.random(DATA_MIB * 2**15, np.float32)
        table = pa.table({"features": pa.FixedSizeListArray.from_arrays(values, 128)})
        pq.write_table(table, folder / f"{number}.parquet")
    return {"name": "arrays", "path": str(folder)}, 1000


def photos(folder: Path) -> tuple[dict[str, Any], int]:
    side = 256
    for row in range(DATA_MIB * 2**20 // (3 * side**2)):
        Image.new("RGB", (side, side), (row % 256, 0, 0)).save(folder / f"{row}.jpg")
    return {"name": "folder", "path": str(folder)}, 20


@pytest.mark.parametrize(
    ("make", "copy_mib"),
    [
        (npy, 0),
        (parquet, DATA_MIB),
        pytest.param(parquet_shards, DATA_MIB, marks=pytest.mark.nightly),
        (photos, 0),
    ],
)
def test_workers_hold_no_data_and_share_one_copy(
    tmp_path: Path, make: Callable[[Path], tuple[dict[str, Any], int]], copy_mib: int
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "scratch").mkdir()
    values, batch_size = make(tmp_path / "set")
    command = [sys.executable, "-c", WORKER, json.dumps(values), str(batch_size)]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch"), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [*command, str(tmp_path / f"{rank}.parquet")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORKERS)
    ]
    try:
        told = [[float(word) for word in worker.stdout.readline().split()] for worker in workers]  # type: ignore[union-attr]
        on_disk = sum(path.stat().st_size for path in (tmp_path / "scratch").glob("cce_ray_*/*")) / 2**20
        for worker in workers:
            worker.communicate()
    finally:
        for worker in workers:
            worker.kill()
    print([f"{grown:.0f} MiB" for grown, _ in told], f"{on_disk:.1f} MiB on disk")  # noqa: T201
    assert max(grown for grown, _ in told) < ALLOWED_MIB
    assert len({total for _, total in told}) == 1, "both have read the same"
    assert abs(on_disk - copy_mib) < 1
    assert list((tmp_path / "scratch").glob("cce_ray_*/*")) == []
