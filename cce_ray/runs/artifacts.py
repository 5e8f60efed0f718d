"""What a finished run leaves for people: clusters.csv, the report, and the artifacts of its tracked run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cce_ray.config import RunConfig
from cce_ray.data import Batches, Dataset
from cce_ray.models import load_classifier
from cce_ray.report import ReportInput, write_report
from cce_ray.runs.folder import CONFIG_FILE
from cce_ray.runs.prediction import write_predictions
from cce_ray.runs.seeds import SeedResult
from cce_ray.runs.summary import RunSummary
from cce_ray.tracking import TrackedRun
from cce_ray.training import predict
from cce_ray.version import __version__

EXAMPLES = 4
"""Samples in the logged model's input example."""


def write_artifacts(
    config: RunConfig,
    dataset: Dataset,
    folder: Path,
    summary: RunSummary,
    results: Sequence[SeedResult],
    kept: int,
    run: TrackedRun,
) -> None:
    """Label every sample with the kept model, write clusters.csv and the report, hand them to the tracker."""
    device = config.runtime.torch_device()
    model, _ = load_classifier(summary.model, device=device)
    everything = np.arange(len(dataset.samples))
    batches = Batches(dataset.samples, everything, batch_size=min(1024, len(everything)), device=device)
    clusters = Path(summary.clusters)
    write_predictions(model, batches, dataset.ids, clusters)
    evaluated = Batches(
        dataset.samples,
        dataset.evaluation_indices,
        batch_size=min(1024, len(dataset.evaluation_indices)),
        device=device,
    )
    files = write_report(
        folder, result=_report_input(config, dataset, summary, results, kept, predict(model, evaluated))
    )
    run.log_artifacts([folder / CONFIG_FILE, clusters, *files])
    if len(results) > 1:
        # By the number of seeds: a resumption with more of them adds its means to the run that it continues.
        run.log_metrics(_seed_metrics(summary), step=len(results))
    run.log_model(
        Path(summary.model),
        input_example=input_example(dataset, everything[:EXAMPLES]),
        num_clusters=dataset.num_clusters,
        step=config.optimizer.epochs,
    )


def input_example(dataset: Dataset, rows: np.ndarray) -> np.ndarray | pd.DataFrame:
    """Samples `rows` as the logged model takes them: a table where the features are columns with names."""
    example = dataset.samples.read(rows)
    columns = dataset.reading.get("columns")
    return pd.DataFrame(example, columns=list(columns)) if columns else example


def _seed_metrics(summary: RunSummary) -> dict[str, float]:
    """Means and standard deviations over the seeds, as metrics of the run above them."""
    return {
        **{f"score/{name}": value for name, value in summary.scores.items()},
        **{f"score_sd/{name}": value for name, value in summary.scores_sd.items()},
        "score/clusters_used": float(summary.clusters_used),
        "time/seconds": summary.seconds,
    }


def _report_input(
    config: RunConfig,
    dataset: Dataset,
    summary: RunSummary,
    results: Sequence[SeedResult],
    kept: int,
    probs: np.ndarray,
) -> ReportInput:
    """The report's view of the run."""
    rows = dataset.evaluation_indices
    commands = [("Label new data", label_command(summary)), ("See the runs in MLflow", ui_command(summary))]
    return ReportInput(
        name=config.name,
        method=config.method.name,
        dataset=dataset.name,
        config=config.to_dict(),
        probs=probs,
        histories={result.seed: result.history for result in results},
        kept_seed=results[kept].seed,
        read=lambda positions: dataset.samples.read(rows[positions]),
        ids=[dataset.ids[int(row)] for row in rows],
        labels=None if dataset.labels is None else dataset.labels[rows],
        class_names=dataset.class_names,
        scores=summary.scores,
        scores_sd=summary.scores_sd if len(results) > 1 else {},
        facts=facts(config, dataset, summary),
        warnings=[f"seed {result.seed}: {result.warning}" for result in results if result.warning],
        notes=dataset.notes,
        commands=[(what, command) for what, command in commands if command],
    )


def facts(config: RunConfig, dataset: Dataset, summary: RunSummary) -> dict[str, str]:
    """Figures for the head of the report."""
    where = (
        summary.device if config.runtime.torch_device().type == "cuda" else f"{summary.threads} CPU threads"
    )
    return {
        "Samples": f"{len(dataset.train_indices):,}",
        "Seeds": str(summary.seeds),
        "Seconds a seed": f"{summary.seconds:.1f}",
        "Samples per second": f"{summary.samples_per_second:,.0f}",
        "Device": where,
        "Version": __version__,
    }


def label_command(summary: RunSummary) -> str:
    """The command that labels new data with the kept model."""
    return f"{launcher()}cce predict {shlex.quote(short(Path(summary.output_dir)))} DATA -o labels.csv"


def ui_command(summary: RunSummary) -> str | None:
    """The command or address that shows the tracked runs; None without tracking."""
    command = summary.ui_command
    return f"{launcher()}{command}" if command and not command.startswith("http") else command


def launcher() -> str:
    """What a person must type before `cce` or `mlflow` if this process was started by `uv run`."""
    uv = os.environ.get("UV")
    return f"{shlex.quote(short(Path(uv)))} run " if uv else ""


def short(path: Path) -> str:
    """The path, relative to the working directory if it lies below it."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
