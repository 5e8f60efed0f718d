"""What a run ended with: means over its seeds, and where everything lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from cce_ray.config import RunConfig
from cce_ray.data import Dataset
from cce_ray.runs.seeds import MODEL_FILE, SeedResult
from cce_ray.tracking import TrackedRun, Tracker, device_name, git_commit


@dataclass(frozen=True)
class RunSummary:
    """What a run ended with; `to_dict` is the JSON object of `cce train --json`."""

    name: str
    run_ids: list[str]
    """Tracker ids of the seeds' runs, in order; empty without tracking."""
    method: str
    dataset: str
    num_clusters: int
    seeds: int
    scores: dict[str, float]
    """Means over the seeds of accuracy, nmi and ari; empty without labels."""
    scores_sd: dict[str, float]
    """Their standard deviations (n - 1); 0 for one seed."""
    scores_per_seed: dict[str, list[float]]
    clusters_used: int
    """By the model that was kept."""
    seconds: float
    """Mean over the seeds: training and evaluation, without start-up and report."""
    samples_per_second: float
    model: str
    """Path of the kept model: the representative seed's."""
    output_dir: str
    clusters: str
    report: str
    parent_run_id: str | None = None
    """Tracker id of the run above the seeds' runs, when there are several."""
    tracking_uri: str | None = None
    ui_command: str | None = None
    ui_page: str | None = None
    """Address of the runs in the UI that the command starts."""
    device: str = "cpu"
    threads: int = 1
    commit: str | None = None
    """Of this package's checkout; None when it is installed from a wheel."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def summarize(
    config: RunConfig,
    dataset: Dataset,
    folder: Path,
    tracker: Tracker,
    results: Sequence[SeedResult],
    best: int,
    parent: TrackedRun | None,
) -> RunSummary:
    """Means and standard deviations over the seeds, and where everything lies."""
    names = list(results[0].scores)
    values = {name: [result.scores[name] for result in results] for name in names}
    return RunSummary(
        name=config.name,
        run_ids=[result.run_id for result in results if result.run_id],
        method=config.method.name,
        dataset=dataset.name,
        num_clusters=dataset.num_clusters,
        seeds=len(results),
        scores={name: fmean(values[name]) for name in names},
        scores_sd={name: stdev(values[name]) if len(results) > 1 else 0.0 for name in names},
        scores_per_seed=values,
        clusters_used=results[best].clusters_used,
        seconds=fmean(result.seconds for result in results),
        samples_per_second=fmean(result.samples_per_second for result in results),
        model=str(folder / MODEL_FILE),
        output_dir=str(folder),
        clusters=str(folder / "clusters.csv"),
        report=str(folder / "report.html"),
        parent_run_id=parent.id if parent else None,
        tracking_uri=tracker.location,
        ui_command=tracker.ui,
        ui_page=tracker.page,
        device=device_name(config.runtime.torch_device()),
        threads=config.runtime.threads,
        commit=git_commit(),
    )
