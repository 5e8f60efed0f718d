"""A whole run: data, seeds, evaluation, tracking, report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from cce_ray.atomic import replacing, write_text
from cce_ray.config import RunConfig, flatten
from cce_ray.data import Dataset
from cce_ray.runs.artifacts import write_artifacts
from cce_ray.runs.folder import CONFIG_FILE, locked, open_folder, read_record, write_json
from cce_ray.runs.listener import Listener
from cce_ray.runs.seeds import MODEL_FILE, RESULT_FILE, SeedResult, representative, train_seed
from cce_ray.tracking import Status, TrackedRun, Tracker, make_tracker
from cce_ray.tracking.environment import device_name, environment_tags, git_commit
from cce_ray.training import LocalContext

SUMMARY_FILE = "summary.json"


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


@dataclass
class Session:
    """What the seeds of one run share."""

    config: RunConfig
    dataset: Dataset
    folder: Path
    tracker: Tracker
    listener: Listener
    resume: bool


def run_training(
    config: RunConfig, *, seeds: int = 1, resume: bool = False, listener: Listener | None = None
) -> RunSummary:
    """Run `config` with `seeds` consecutive seeds and keep everything under its output folder.

    With `resume` finished seeds are kept, the interrupted one goes on from its checkpoint (bit for bit on the
    CPU), the missing ones are run. Raises ValueError, before anything is written, when the configuration does
    not fit the data, the folder or the tracker.
    """
    listener = listener or Listener()
    config.runtime.torch_device()
    folder, config, resumed = open_folder(config, resume)
    dataset = config.data.load()
    check_fits(config, dataset)
    for note in dataset.notes:
        listener.warn(note)
    with locked(folder, resumed=resumed):
        tracker = make_tracker(config.tracking, folder)
        write_text(folder / CONFIG_FILE, config.to_yaml())  # from here on it is a run
        session = Session(config, dataset, folder, tracker, listener, resumed)
        listener.note(
            f"{config.method.name} on {dataset.name}: {len(dataset.train_indices)} samples, "
            f"{dataset.num_clusters} clusters -> {folder}"
        )
        return run_seeds(session, range(config.runtime.seed, config.runtime.seed + seeds))


def check_fits(config: RunConfig, dataset: Dataset) -> None:
    """ValueError if the run cannot work on these data, before anything is written."""
    size = len(dataset.train_indices)
    if dataset.num_clusters > size:
        raise ValueError(
            f"data.num_clusters: {dataset.num_clusters} clusters for {size} training samples; use fewer"
        )
    if config.method.required_model is None and config.optimizer.batch_size > size:
        raise ValueError(
            f"optimizer.batch_size: {config.optimizer.batch_size} is more than the {size} training samples; "
            f"set optimizer.batch_size={size} or less"
        )
    # Building the model tells whether it can take samples of this shape.
    config.model.build(dataset.samples.shape, dataset.num_clusters)


def run_seeds(session: Session, seeds: range) -> RunSummary:
    """Run or load every seed, keep the representative one, write artifacts and report, close the tracker."""
    results: list[SeedResult] = []
    folders = [session.folder / f"seed_{seed}" for seed in seeds]
    finished = finished_summary(session, folders)
    if finished:
        session.listener.note("this run is finished already; nothing is left to do")
        return finished
    with parent_run(session, len(seeds)) as parent:
        for number, (seed, folder) in enumerate(zip(seeds, folders, strict=True)):
            session.listener.seed(seed, number + 1, len(seeds))
            kept = read_record(folder / RESULT_FILE, SeedResult) if session.resume else None
            results.append(kept or run_seed(session, seed, folder, parent))
            if results[-1].warning:
                session.listener.warn(f"seed {seed}: {results[-1].warning}")
        best = representative(results, folders)
        with replacing(session.folder / MODEL_FILE) as temporary:
            shutil.copyfile(folders[best] / MODEL_FILE, temporary)
        summary = summarize(session, results, best, parent)
        # One seed: its own run carries the artifacts; several: the run above them does.
        with closing_run(session, results[best], parent) as run:
            write_artifacts(session.config, session.dataset, session.folder, summary, results, best, run)
        write_json(session.folder / SUMMARY_FILE, summary.to_dict())  # last: nothing is left to do
    return summary


def finished_summary(session: Session, folders: list[Path]) -> RunSummary | None:
    """The summary of a resumed run that had ended with just these seeds."""
    if not (session.resume and all((folder / RESULT_FILE).exists() for folder in folders)):
        return None
    summary = read_record(session.folder / SUMMARY_FILE, RunSummary)
    return summary if summary and summary.seeds == len(folders) else None


def run_seed(session: Session, seed: int, folder: Path, parent: TrackedRun | None) -> SeedResult:
    """Train one seed in its folder, tracked as a run of its own."""
    runtime = session.config.runtime.model_copy(update={"seed": seed})
    config = session.config.model_copy(update={"runtime": runtime})
    folder.mkdir(parents=True, exist_ok=True)
    run_file = folder / "run_id.txt"
    name = f"{config.name}-seed{seed}" if parent else config.name
    run = session.tracker.start_run(
        name,
        params=flatten(config.to_dict()),
        tags=run_tags(config, session.dataset),
        parent_id=parent.id if parent else None,
        run_id=run_file.read_text().strip() if session.resume and run_file.exists() else None,
    )
    if run.id:
        write_text(run_file, run.id)

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        run.log_metrics(metrics, step=epoch)
        session.listener.epoch(epoch, metrics)

    with finishing(run):
        context = LocalContext(
            device=config.runtime.torch_device(),
            folder=folder,
            resume=session.resume,
            on_epoch=on_epoch,
            on_step=session.listener.step,
        )
        result = train_seed(config, session.dataset, folder, context, run.id)
        run.log_metrics(final_metrics(result), step=config.optimizer.epochs)
    return result


def run_tags(config: RunConfig, dataset: Dataset) -> dict[str, str]:
    """Tags of a tracked run: where it came from and what it is about."""
    about = {"method": config.method.name, "dataset": dataset.name, "threads": str(config.runtime.threads)}
    return environment_tags(config.runtime.torch_device().type) | about


def final_metrics(result: SeedResult) -> dict[str, float]:
    """The evaluation of a seed, as metrics of its last step."""
    return {
        **{f"score/{name}": value for name, value in result.scores.items()},
        "score/clusters_used": float(result.clusters_used),
        "score/confidence": result.confidence,
        "time/seconds": result.seconds,
        "throughput/training_samples_per_second": result.samples_per_second,
    }


@contextmanager
def finishing(run: TrackedRun) -> Iterator[TrackedRun]:
    """Close a tracked run with the status its end deserves."""
    status: Status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run.finish(status)


@contextmanager
def parent_run(session: Session, count: int) -> Iterator[TrackedRun | None]:
    """The run above several seeds, None for one seed."""
    if count == 1:
        yield None
        return
    run_file = session.folder / "run_id.txt"
    run = session.tracker.start_run(
        f"{session.config.name}-{count}-seeds",
        params=flatten(session.config.to_dict()),
        tags=run_tags(session.config, session.dataset),
        run_id=run_file.read_text().strip() if session.resume and run_file.exists() else None,
    )
    if run.id:
        write_text(run_file, run.id)
    with finishing(run):
        yield run


@contextmanager
def closing_run(session: Session, best: SeedResult, parent: TrackedRun | None) -> Iterator[TrackedRun]:
    """The run that carries the artifacts: the one above the seeds, else the only seed's, opened again."""
    if parent:
        yield parent
        return
    with finishing(session.tracker.start_run(session.config.name, run_id=best.run_id)) as run:
        yield run


def summarize(
    session: Session, results: list[SeedResult], best: int, parent: TrackedRun | None
) -> RunSummary:
    """Means and standard deviations over the seeds, and where everything lies."""
    names = list(results[0].scores)
    values = {name: [result.scores[name] for result in results] for name in names}
    folder, config = session.folder, session.config
    return RunSummary(
        name=config.name,
        run_ids=[result.run_id for result in results if result.run_id],
        method=config.method.name,
        dataset=session.dataset.name,
        num_clusters=session.dataset.num_clusters,
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
        tracking_uri=session.tracker.location,
        ui_command=session.tracker.ui,
        ui_page=session.tracker.page,
        device=device_name(config.runtime.torch_device()),
        threads=config.runtime.threads,
        commit=git_commit(),
    )
