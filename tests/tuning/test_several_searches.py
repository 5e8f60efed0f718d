"""Several data sets in one command: in turn, with a transfer table, or jointly."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.datasets import make_blobs

from cce_ray.tuning import Options, Search, load_search, run_search
from cce_ray.tuning.joint import check_joint
from cce_ray.tuning.records import read_trials

KNOBS = {
    "method.fairness_weight": {"low": 1.0, "high": 100.0, "log": True},
    "optimizer.learning_rate": {"low": 0.1, "high": 10.0, "log": True},
}


def make(folder: Path, name: str, spread: float, **changes: object) -> Search:
    points, classes, *_ = make_blobs(400, 6, centers=4, cluster_std=spread, random_state=1)
    np.savez(folder / f"{name}.npz", features=points.astype(np.float32), labels=classes)
    values = {
        "run": "features",
        "set": {"data.path": str(folder / f"{name}.npz"), "optimizer.epochs": 6, "optimizer.batch_size": 100},
        "space": KNOBS,
        "start": [{"method.fairness_weight": 20, "optimizer.learning_rate": 2}],
        "trials": 3,
        "objective": "accuracy",
        "scheduler": {"grace_epochs": 2, "reduction_factor": 3},
        "final": {"top": 2, "seeds": 2},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return load_search(str(path), [f"output_dir={folder / 'out'}"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": {**KNOBS, "optimizer.weight_decay": {"low": 0, "high": 0.1}}}, "optimizer.weight_decay"),
        ({"objective": "nmi"}, "objective"),
    ],
)
def test_searches_that_cannot_be_joined_are_told(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    one, two = make(tmp_path, "one", 1.0), make(tmp_path, "two", 2.0, **change)
    with pytest.raises(ValueError, match=words):
        check_joint([one, two])
    with pytest.raises(ValueError, match="two or more"):
        check_joint([one])


@pytest.mark.ray
@pytest.mark.nightly
def test_two_searches_share_the_machine_and_try_their_finalists_on_each_other(tmp_path: Path) -> None:
    searches = [make(tmp_path, "one", 1.0), make(tmp_path, "two", 3.0)]
    summaries = run_search(searches)
    assert [summary.name for summary in summaries] == ["one", "two"]
    for name in ("one", "two"):
        assert len(read_trials(tmp_path / "out" / name)) == 3
    with (tmp_path / "out" / "transfer.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["found on"] for row in rows} == {"one", "two"}
    assert all(0 < float(row[f"accuracy on {name}"]) <= 1 for row in rows for name in ("one", "two"))


@pytest.mark.ray
@pytest.mark.nightly
def test_a_joint_search_scores_a_sample_by_all_data_sets(tmp_path: Path) -> None:
    searches = [make(tmp_path, "one", 1.0), make(tmp_path, "two", 3.0)]
    (summary,) = run_search(searches, Options(joint=True))
    folder = tmp_path / "out"
    scales = json.loads((folder / "scales.json").read_text())
    assert set(scales) == {"one", "two"}
    records = read_trials(folder)
    assert len(records) == 3
    for record in records:
        assert record.value == pytest.approx(np.mean(list(record.scores.values())))
    assert {"one/accuracy", "two/accuracy"} <= set(summary.final)
    assert (folder / "best.yaml").exists()
    assert (folder / "best-two.yaml").exists()
    (again,) = run_search(searches, Options(joint=True, resume=True))
    assert again.final == summary.final
    other = [searches[0], make(tmp_path, "two", 3.0, final={"top": 1, "seeds": 2})]
    with pytest.raises(ValueError, match=r"joint\.two\.search\.final\.top: 1, but "):
        run_search(other, Options(joint=True, resume=True))
