"""The trials of a study as a table: CSV for programs, a page for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from cce_ray.report import Table, render_search
from cce_ray.tuning.finals import Finalist
from cce_ray.tuning.objectives import OBJECTIVES
from cce_ray.tuning.records import TrialRecord, best_first
from cce_ray.tuning.study import Study

SHOWN = ("accuracy", "nmi", "ari", "generalization", "silhouette", "stability", "mutual_information", "loss")


def leaderboard(study: Study, ranking: Sequence[Finalist]) -> list[dict[str, Any]]:
    """One row a trial: finalists by the last round's verdict, then the others by their value."""
    places = {one.record.number: one for one in ranking}
    others = [record for record in ordered(study.records) if record.number not in places]
    rows = []
    for rank, record in enumerate([one.record for one in ranking] + others, start=1):
        rows.append(row(rank, record, places.get(record.number), list(study.search.settings.space)))
    return rows


def ordered(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Done trials best first (those trained to the end before others), then the rest."""
    done = best_first(records)
    ended = [record for record in done if record.state == "finished"]
    return (
        ended
        + [record for record in done if record.state != "finished"]
        + [record for record in records if record not in done]
    )


def row(rank: int, record: TrialRecord, final: Finalist | None, keys: Sequence[str]) -> dict[str, Any]:
    """A trial's cells; means over fresh seeds stand in final/*."""
    cells: dict[str, Any] = {
        "rank": rank,
        "trial": record.number,
        "state": record.state,
        "value": record.value,
        "epochs": record.epochs,
        "seconds": round(record.seconds, 2),
    }
    cells |= {key: record.sample.get(key) for key in keys}
    cells |= {name: record.criteria.get(name) for name in SHOWN if name in record.criteria}
    cells["used"] = record.criteria.get("used")
    cells |= {f"scaled/{name}": score for name, score in record.scores.items()}
    if final is not None:
        for part, one in final.outcomes.items():
            place = f"{part}/" if len(final.outcomes) > 1 else ""
            spread = one.spread()
            for name in (name for name in SHOWN if name in one.mean):
                cells[f"final/{place}{name}"] = one.mean[name]
                if name in spread:
                    cells[f"final_sd/{place}{name}"] = spread[name]
    return cells | {"reason": record.reason, "run_id": record.run_id}


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """All columns of all rows."""
    columns = list(dict.fromkeys(name for one in rows for name in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_html(
    study: Study,
    rows: Sequence[Mapping[str, Any]],
    ranking: Sequence[Finalist],
    plots: Mapping[str, bytes],
    best: str,
    command: str,
) -> str:
    """The page: finalists, all trials, plots, the champion's run file."""
    objective = study.search.settings.objective
    done = sum(record.done for record in study.records)
    lead = (
        f"{done} trials, objective {objective}: {OBJECTIVES[objective].meaning}. Finalists were trained "
        f"again with {study.search.settings.final.seeds} fresh seeds; their means stand in final/*."
    )
    tables = [("All trials", table(rows, [name for name in columns(rows) if not name.startswith("final")]))]
    if ranking:
        tables.insert(0, ("Last round", _final_table(rows[: len(ranking)])))
    return render_search(f"{study.name}: search", lead, tables, plots, best, command)


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of all rows, but for the tracker's ids."""
    return [name for name in dict.fromkeys(name for one in rows for name in one) if name != "run_id"]


def _final_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Mean ± sd of every criterion over the fresh seeds."""
    names = [name for name in columns(rows) if name.startswith("final/")]
    found = []
    for one in rows:
        cells: list[tuple[str, Any]] = [("rank", one["rank"]), ("trial", one["trial"])]
        for name in names:
            spread = one.get(f"final_sd/{name.removeprefix('final/')}")
            text = shown(one.get(name)) + (f" ± {spread:.4f}" if spread is not None else "")
            cells.append((name.removeprefix("final/"), text))
        found.append(cells)
    return Table(["rank", "trial", *(name.removeprefix("final/") for name in names)], found, champion=True)


def table(rows: Sequence[Mapping[str, Any]], names: list[str]) -> Table:
    """Some columns of the rows."""
    return Table(names, [[(name, shown(one.get(name))) for name in names] for one in rows], champion=True)


def shown(value: Any) -> str:
    """A cell's text."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
