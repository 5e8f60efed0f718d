"""The report: what it shows, that it stands alone, and that odd runs do not break it."""

import re
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cce_ray.report import ReportInput, write_report
from cce_ray.report.bars import confidence, sizes
from cce_ray.report.confusion import confusion
from cce_ray.report.curves import curves
from cce_ray.report.montage import exemplars, montage, pictures, sheet, tiles
from cce_ray.report.page import headlines
from cce_ray.report.scatter import MOST_POINTS, scatter
from cce_ray.report.style import to_png


def _history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "loss/total": 2.0 / (e + 1),
            "loss/collision": 1.0 / (e + 1),
            "clusters/used": 3.0,
            "em/iterations": 20.0,
        }
        | ({"labels/churn": 0.5} if e else {})
        for e in range(epochs)
    ]


def _probs(count: int, num_clusters: int, seed: int = 0) -> np.ndarray:
    logits = 3 * np.random.default_rng(seed).standard_normal((count, num_clusters))
    probs = np.exp(logits)
    return (probs / probs.sum(1, keepdims=True)).astype(np.float32)


def _images(positions: np.ndarray) -> np.ndarray:
    """Image number i is i everywhere."""
    return np.broadcast_to(positions.astype(np.uint8)[:, None, None, None], (len(positions), 1, 6, 5))


def _result(count: int = 120, num_clusters: int = 4, **changes: Any) -> ReportInput:
    values: dict[str, Any] = {
        "name": "a run",
        "method": "cce_plus",
        "dataset": "digits",
        "config": {
            "name": "a run",
            "method": {"name": "cce_plus", "fairness_weight": 90.0},
            "data": {"limit": None},
        },
        "probs": _probs(count, num_clusters),
        "histories": {0: _history(5), 1: _history(3)},
        "kept_seed": 0,
        "read": _images,
    }
    return ReportInput(**(values | changes))


def _labelled(result: ReportInput) -> dict[str, Any]:
    labels = np.where(np.random.default_rng(1).random(len(result.probs)) < 0.8, (result.clusters + 1) % 4, 0)
    return {
        "labels": labels,
        "class_names": ["ant", "bee", "cat", "dog"],
        "scores": {"accuracy": 0.912, "nmi": 0.5, "ari": 0.4},
        "scores_sd": {"accuracy": 0.011, "nmi": 0.1, "ari": 0.1},
    }


def _text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*</style>|<[^>]+>", " ", page, flags=re.S))


def test_a_labelled_image_run_writes_every_file_and_one_page_that_stands_alone(tmp_path: Path) -> None:
    result = _result(
        **_labelled(_result()), warnings=["seed 1: collapsed"], commands=[("Label", "cce predict out DATA")]
    )
    paths = write_report(tmp_path, result=result)
    names = {str(path.relative_to(tmp_path)) for path in paths}
    figures = {"curves", "sizes", "confidence", "confusion", "montage"}
    assert names == {"report.html"} | {f"figures/{name}.png" for name in figures}
    assert paths[0] == tmp_path / "report.html"
    for path in paths[1:]:
        assert Image.open(path).size[0] > 300
    page = paths[0].read_text(encoding="utf-8")
    assert "http://" not in page and "https://" not in page and "<script" not in page and "<link" not in page
    sources = re.findall(r'src="([^"]{22})', page)
    assert len(sources) == 4 + 2 * 4
    assert set(sources) == {"data:image/png;base64,"}
    text = _text(page)
    for shown in (
        "0.912 ± 0.011",
        "seed 1: collapsed",
        "cce predict out DATA",
        "fairness_weight 90.0",
        "→ bee",
        "2 seeds",
    ):
        assert shown in text
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "figures"}


def test_without_labels_nothing_speaks_of_classes(tmp_path: Path) -> None:
    paths = write_report(tmp_path, result=_result())
    assert "confusion.png" not in {path.name for path in paths}
    text = _text(paths[0].read_text(encoding="utf-8"))
    assert "Accuracy" not in text and "purity" not in text and "labels" not in text.lower()


def test_embeddings_get_a_map_and_a_table_with_names(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((120, 7))
    ids = [f"row-{i}" for i in range(120)]
    result = _result(read=lambda positions: vectors[positions], ids=ids, **_labelled(_result()))
    paths = write_report(tmp_path, result=result)
    names = {path.name for path in paths}
    assert "scatter.png" in names and "montage.png" not in names
    text = _text(paths[0].read_text(encoding="utf-8"))
    surest = int(np.argmax(np.where(result.clusters == 2, result.confidence, 0)))
    assert f"row-{surest}" in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    result = _result(**_labelled(_result()))
    first, second = write_report(tmp_path / "a", result=result), write_report(tmp_path / "b", result=result)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    result = _result(name=evil, ids=[evil] * 120, warnings=[evil], config={"data": {"path": evil}})
    page = write_report(tmp_path, result=result)[0].read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_no_window_system_and_no_global_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    assert write_report(tmp_path, result=_result())


def test_a_failed_write_leaves_the_earlier_report(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("earlier")
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(OSError):
        write_report(tmp_path, result=_result())
    assert (tmp_path / "report.html").read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "report.html"]


@pytest.mark.parametrize(
    "changes",
    [
        {"probs": np.array([[0.7, 0.3]], np.float32)},
        {"probs": np.full((5, 3), np.nan, np.float32)},
        {"histories": {0: []}},
        {"histories": {}},
        {"read": None},
        {"histories": {0: [{"loss/total": float("nan")}, {"loss/total": 1.0}]}},
        {"read": lambda positions: np.zeros((len(positions), 1))},
        {"probs": _probs(3, 7), "labels": np.array([0, 0, 5])},
        {  # fewer clusters than classes
            "probs": _probs(60, 3),
            "labels": np.arange(60) % 8,
            "class_names": tuple("abcdefghi"),
            "read": lambda positions: np.random.default_rng(0).normal(size=(len(positions), 4)),
        },
    ],
)
def test_odd_runs_still_get_a_report(changes: Mapping[str, Any], tmp_path: Path) -> None:
    paths = write_report(tmp_path, result=_result(**changes))
    assert paths[0].stat().st_size > 5000


def test_many_clusters_stay_readable_in_size(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 3, 48, 64), dtype=np.uint8)
    result = _result(probs=_probs(300, 130), read=lambda positions: noise[positions])
    used = int((result.sizes > 0).sum())
    found = exemplars(result)
    assert len(found) == 100 < used
    page = write_report(tmp_path, result=result)[0].read_text(encoding="utf-8")
    assert page.count('class="panel card') == 100
    assert f"{used - 100} smaller ones are not" in page
    assert len(page) < 4_000_000


def test_exemplars_are_the_extremes_of_each_cluster() -> None:
    result = _result(count=200, num_clusters=5)
    for exemplar in exemplars(result):
        members = np.flatnonzero(result.clusters == exemplar.cluster)
        order = members[np.argsort(-result.confidence[members])]
        assert exemplar.most.tolist() == order[: len(exemplar.most)].tolist()
        assert exemplar.least.tolist() == order[::-1][: len(exemplar.least)].tolist()
        assert len(exemplar.most) == len(exemplar.least) == 10
        assert not set(exemplar.most) & set(exemplar.least)


def test_small_clusters_show_each_point_once_and_empty_ones_nothing() -> None:
    probs = np.eye(4, dtype=np.float32)[[0, 0, 0, 2]]
    found = exemplars(_result(probs=probs))
    assert [exemplar.cluster for exemplar in found] == [0, 2]
    assert sorted([*found[0].most, *found[0].least]) == [0, 1, 2]
    assert found[1].most.tolist() == [3] and found[1].least.tolist() == []


def test_pictures_belong_to_their_positions_and_are_read_in_order() -> None:
    asked: list[list[int]] = []

    def read(positions: np.ndarray) -> np.ndarray:
        asked.append(positions.tolist())
        return _images(positions)

    result = _result(read=read)
    found = exemplars(result)
    for exemplar, (most, least) in zip(found, pictures(result, found), strict=True):
        assert most[:, 0, 0, 0].tolist() == exemplar.most.tolist()
        assert least[:, 0, 0, 2].tolist() == exemplar.least.tolist()
    assert len(asked) == 1 and asked[0] == sorted(asked[0])


def test_floats_grey_and_large_images_become_small_rgb() -> None:
    floats = _result(read=lambda positions: np.full((len(positions), 1, 4, 4), 0.5))
    grey = tiles(floats, np.arange(3), 4)
    assert grey is not None and grey.shape == (3, 4, 4, 3) and grey.dtype == np.uint8 and (grey == 128).all()
    large = _result(read=lambda positions: np.full((len(positions), 3, 300, 150), 7, np.uint8))
    small = tiles(large, np.arange(2), 4)
    assert small is not None and small.shape == (2, 64, 32, 3) and (small == 7).all()


def test_a_sheet_keeps_every_image_and_leaves_the_rest_white() -> None:
    images = np.zeros((3, 2, 2, 3), np.uint8)
    paper = sheet(images, columns=2, rows=2)
    assert paper.shape == (5, 5, 3)
    assert (paper[:2, :2] == 0).all() and (paper[3:, :2] == 0).all() and (paper[3:, 3:] == 255).all()
    assert (paper[2] == 255).all()


def test_curves_leave_out_panels_without_data() -> None:
    figure = curves({0: _history(4)}, 0)
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Loss", "Clusters in use", "Share of labels that changed", "EM iterations per batch"]
    churn = figure.axes[2].lines[0]
    assert list(churn.get_xdata()) == [2, 3, 4]
    assert curves({0: []}, 0) is None


def test_a_loss_of_one_part_is_drawn_once_and_other_seeds_behind() -> None:
    history = [{"loss/total": 1.0, "loss/collision": 1.0}, {"loss/total": 0.5, "loss/collision": 0.5}]
    figure = curves({0: history, 1: history}, 0)
    assert figure is not None
    assert len(figure.axes[0].lines) == 2


def test_confusion_puts_the_matched_clusters_on_the_diagonal() -> None:
    result = _result(**_labelled(_result()))
    figure = confusion(result)
    assert figure is not None
    shares = figure.axes[0].images[0].get_array()
    assert (np.argmax(shares, 1) == np.arange(4)).all()
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["3", "0", "1", "2"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["ant", "bee", "cat", "dog"]
    assert result.class_of is not None and result.class_of.tolist() == [1, 2, 3, 0]
    assert confusion(_result()) is None


def test_bars_hold_every_point() -> None:
    result = _result(**_labelled(_result()))
    bars = sizes(result).axes[0].patches
    assert [bar.get_height() for bar in bars] == result.sizes.tolist()
    stacked = confidence(result).axes[0].patches
    assert sum(bar.get_height() for bar in stacked) == len(result.probs)


def test_the_map_shows_a_few_thousand_points_of_embeddings_only() -> None:
    vectors = np.random.default_rng(0).standard_normal((MOST_POINTS + 500, 3))
    result = _result(probs=_probs(len(vectors), 4), read=lambda positions: vectors[positions])
    figure = scatter(result)
    assert figure is not None
    assert len(figure.axes[0].collections[0].get_offsets()) == MOST_POINTS
    assert scatter(_result()) is None


def test_headlines_give_a_spread_only_for_several_seeds() -> None:
    several = headlines(_result(**_labelled(_result())))
    assert several[0] == ("0.912", "± 0.011", "Accuracy")
    one = headlines(_result(histories={0: _history(2)}, **_labelled(_result())))
    assert one[0] == ("0.912", "", "Accuracy")


def test_montage_shows_a_row_per_cluster() -> None:
    result = _result()
    found = exemplars(result)
    figure = montage(found, pictures(result, found))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["0", "1", "2", "3"]
    assert Image.open(BytesIO(to_png(figure))).size[0] > 1000
