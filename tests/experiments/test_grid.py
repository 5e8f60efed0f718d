"""Grids of runs: what is finished is not run again, nothing is mixed, nothing is left out silently."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cce_ray.config import RunConfig
from cce_ray.experiments.experiment import Options, page
from cce_ray.experiments.grid import cell as cells
from cce_ray.experiments.grid import cell_run
from cce_ray.experiments.grid.cell import Cell, CellResult, found_by_search
from cce_ray.experiments.grid.grid import Column, Grid, Quick, Results, Row
from cce_ray.experiments.grid.page import Findings, notes
from cce_ray.experiments.paper.published import paper_tables, published
from cce_ray.experiments.provenance import facts
from cce_ray.runs import Listener

TINY = {
    "model": "linear",
    "optimizer.epochs": 1,
    "optimizer.batch_size": 100,
    "method.augmentation_weight": 0.0,
    "runtime.threads": 1,
}


def cell(row: str, column: str) -> Cell | str:
    if row == "miadm":
        return "it cannot do this"
    if row == "sela":
        return Cell("digits", {**TINY, "optimizer.batch_size": 5000})
    return Cell("digits", {} if row == "kmeans" else TINY)


GRID = Grid(
    title="A grid",
    text="What it shows.",
    rows={
        "kmeans": Row("k-means", {"method": "kmeans"}),
        "cce_plus": Row("CCE+", {"method": "cce_plus"}),
        "sela": Row("broken"),
        "miadm": Row("MIADM"),
    },
    columns={
        "mnist": Column("Digits", lambda options: {"data": "digits", "data.limit": 300}),
        "stl10": Column("Absent", needs=["nothing.npz"]),
    },
    cell=cell,
    seeds=2,
    paper=published("table2"),
)
ONE = replace(GRID, rows={"cce_plus": GRID.rows["cce_plus"]}, columns={"mnist": GRID.columns["mnist"]})


class Told(Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seeds: list[int] = []
        self.stop_at: int | None = None

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")

    def seed(self, seed: int, number: int, count: int) -> None:
        if seed == self.stop_at:
            raise KeyboardInterrupt
        self.seeds.append(seed)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configurations that were really run."""
    configs: list[RunConfig] = []
    run_training = cell_run.run_training

    def counting(config: RunConfig, **options: Any) -> Any:
        configs.append(config)
        return run_training(config, **options)

    monkeypatch.setattr(cell_run, "run_training", counting)
    return configs


def test_a_page_has_every_number_and_every_reason(tmp_path: Path) -> None:
    told, options = Told(), Options(tmp_path, tmp_path / "work")
    outcome = GRID.run(options, told)
    report = {"facts": facts(), "seconds": 1.0, **outcome.data}
    text = page("table2", outcome, report, options, "table2.png")

    done = {(one["row"], one["column"]): one for one in outcome.data["cells"]}
    assert len(done) == 8
    for row in ("kmeans", "cce_plus"):
        one = done[row, "mnist"]
        assert one["status"] == "done" and len(one["per_seed"]["accuracy"]) == 2
        mean, sd = np.mean(one["per_seed"]["accuracy"]), np.std(one["per_seed"]["accuracy"], ddof=1)
        assert (one["mean"]["accuracy"], one["sd"]["accuracy"]) == pytest.approx((mean, sd))
        assert f"| {100 * mean:.2f} ± {100 * sd:.1f} |" in text
        assert one["config"]["data.limit"] == 300 and not one["config"]["tracking.enabled"]
    paper = paper_tables()["table2"]
    assert f"| k-means | {text_of(done['kmeans', 'mnist'])} | 47.62 ± 2.1 |" in text
    assert "| 58.40 ± 3.2 |" in text and paper["cce_plus"][3] == [58.4, 3.2]
    assert "| MIADM | not run | 50.61 ± 1.3 | absent | 88.64 ± 7.1 |" in text
    assert "- Absent: skipped, nothing.npz is not in the data folder." in text
    assert "- MIADM on Digits: not run, it cannot do this" in text
    assert "- broken on Digits: not run, optimizer.batch_size: 5000 is more than the 300" in text
    assert f"warning: Absent: skipped, nothing.npz is not in {tmp_path}" in told.lines
    assert "cce train digits --set method=cce_plus --set data=digits --set data.limit=300" in text
    assert str(tmp_path) not in text + json.dumps(outcome.data)


def text_of(one: dict[str, Any]) -> str:
    return f"{100 * one['mean']['accuracy']:.2f} ± {100 * one['sd']['accuracy']:.1f}"


def test_finished_cells_are_not_run_again(tmp_path: Path, trained: list[RunConfig]) -> None:
    options = Options(tmp_path, tmp_path / "work")
    first = ONE.run(options, Told())
    again = ONE.run(options, Told())
    assert len(trained) == 1
    assert again == first


def test_another_configuration_or_number_of_seeds_runs_in_a_folder_of_its_own(
    tmp_path: Path, trained: list[RunConfig]
) -> None:
    options = Options(tmp_path, tmp_path / "work")
    first = ONE.run(options, Told())
    place = tmp_path / "work" / "cce_plus-mnist-2-seeds"
    kept = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    other = replace(ONE, rows={"cce_plus": Row("CCE+", {"method.fairness_weight": 7})})
    other.run(options, Told())
    ONE.run(replace(options, seeds=1), Told())
    assert [config.method.fairness_weight for config in trained] == [53, 7, 53]
    folders = {Path(config.output_dir).name for config in trained}
    assert folders == {"cce_plus-mnist-2-seeds", "cce_plus-mnist-2-seeds-2", "cce_plus-mnist-1-seed"}
    assert kept == {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    assert ONE.run(options, Told()) == first and len(other.run(options, Told()).tables) == 2
    assert len(trained) == 3


def test_an_interrupted_cell_goes_on(tmp_path: Path, trained: list[RunConfig]) -> None:
    options, told = Options(tmp_path, tmp_path / "work"), Told()
    told.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        ONE.run(options, told)
    result = tmp_path / "work" / "cce_plus-mnist-2-seeds" / "seed_0" / "result.json"
    before = result.stat().st_mtime_ns
    [one] = ONE.run(options, Told()).data["cells"]
    assert one["seeds"] == 2 and result.stat().st_mtime_ns == before
    assert [config.output_dir for config in trained] == [str(result.parents[1])] * 2


def test_a_record_that_cannot_be_read_is_left_alone(tmp_path: Path, trained: list[RunConfig]) -> None:
    options = Options(tmp_path, tmp_path / "work", seeds=1)
    ONE.run(options, Told())
    summary = tmp_path / "work" / "cce_plus-mnist-1-seed" / "summary.json"
    summary.write_text("{")
    ONE.run(options, Told())
    assert len(trained) == 2 and summary.read_text() == "{"
    assert (tmp_path / "work" / "cce_plus-mnist-1-seed-2" / "summary.json").exists()


def test_a_place_that_another_process_holds_is_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*arguments: Any, **options: Any) -> Any:
        raise ValueError("output_dir: another process is writing there; wait for it to end")

    monkeypatch.setattr(cell_run, "run_training", held)
    with pytest.raises(ValueError, match="another process"):
        ONE.run(Options(tmp_path, tmp_path / "work"), Told())


def test_quick_scores_measures_and_pictures(tmp_path: Path) -> None:
    seen: list[Results] = []

    def picture(results: Results) -> bytes:
        seen.append(results)
        return b"png"

    grid = replace(
        GRID,
        quick=Quick(seeds=1, rows=["kmeans"], columns=["mnist"], changes={"data.limit": 200}),
        scores={"accuracy": "Accuracy", "half": "Half"},
        measure=lambda config, folder: {"half": 0.5 * (folder / "result.json").exists()},
        picture=picture,
        paper=None,
    )
    outcome = grid.run(Options(tmp_path, tmp_path / "work", quick=True), Told())
    [one] = outcome.data["cells"]
    assert (
        one["config"]["data.limit"] == 200 and one["per_seed"]["half"] == [0.5] and one["sd"]["half"] is None
    )
    assert [table.title for table in outcome.tables] == ["Accuracy, %", "Half, %", "Seconds a seed"]
    assert outcome.tables[1].rows == [["k-means", "50.00"]]
    assert outcome.picture == b"png" and list(seen[0]) == [("kmeans", "mnist")]
    assert "`data.limit=200`" in outcome.text


def test_settings_that_were_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "SEARCHED", tmp_path)
    assert found_by_search("table2", "sela", "mnist") == (
        "its settings were not searched: there is no table2/sela-mnist.yaml"
    )
    (tmp_path / "table2").mkdir()
    file = tmp_path / "table2" / "0.1_sela-mnist.yaml"
    file.write_text("optimizer: {epochs: 3}\n")
    assert found_by_search("table2", "0.1/sela", "mnist") == Cell(str(file))


def test_a_collapse_stands_on_the_page_without_its_advice() -> None:
    warned = CellResult("a", "b", "done", warnings=("seed 3: only 2 of 10 clusters are in use; try more",))
    found = Findings({"a": "A"}, {"b": "B"}, {("a", "b"): warned}, {})
    assert notes(found) == ["A on B: seed 3: only 2 of 10 clusters are in use"]


class TestPaper:
    def test_means_with_spreads(self) -> None:
        look_up = published("table6")
        assert look_up("cce", "cifar10") == {"accuracy": (73.51, 6.4)}
        assert look_up("nobody", "cifar10") == look_up("cce", "digits") == {}

    def test_several_scores(self) -> None:
        look_up = published("table4", scores=("accuracy", "nmi", "ari"))
        assert look_up("scan", "stl10") == {
            "accuracy": (75.5, None),
            "nmi": (65.4, None),
            "ari": (59.0, None),
        }

    def test_parts_of_a_table(self) -> None:
        look_up = published("table5_pretrained", columns=("stl10", "cifar10"))
        assert look_up("0.05/imsat", "cifar10") == {"accuracy": (85.2, None)}
        assert look_up("0.5/imsat", "cifar10") == {}

    def test_the_numbers_have_a_source(self) -> None:
        assert "2303.07321" in paper_tables()["source"]
