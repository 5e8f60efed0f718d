"""A whole run: data, seeds, evaluation, tracking, report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cce_ray.config import RunConfig
from cce_ray.data import Dataset, load_dataset
from cce_ray.files import read_record, replacing, write_json, write_text
from cce_ray.runs.artifacts import write_artifacts
from cce_ray.runs.folder import CONFIG_FILE, locked, open_folder
from cce_ray.runs.listener import Listener
from cce_ray.runs.seeds import (
    MODEL_FILE,
    RESULT_FILE,
    InProcess,
    SeedJob,
    SeedResult,
    SeedRunner,
    representative,
)
from cce_ray.runs.summary import RunSummary, summarize
from cce_ray.runs.tracked import finishing, tracked_run
from cce_ray.tracking import TrackedRun, Tracker, make_tracker
from cce_ray.training import given_rows, known_labels

SUMMARY_FILE = "summary.json"


@dataclass
class Session:
    """What the seeds of one run share."""

    config: RunConfig
    dataset: Dataset
    folder: Path
    tracker: Tracker
    listener: Listener
    resume: bool
    runner: SeedRunner


def run_training(
    config: RunConfig,
    *,
    seeds: int = 1,
    resume: bool = False,
    listener: Listener | None = None,
    runner: SeedRunner | None = None,
) -> RunSummary:
    """Run `config` with `seeds` consecutive seeds and keep everything under its output folder.

    With `resume` finished seeds are kept, the interrupted one goes on from its checkpoint (bit for bit on the
    CPU), the missing ones are run. `runner` trains the seeds; by default this process. Raises
    ValueError, before anything is written, when the configuration does not fit the data, the folder or the
    tracker.
    """
    listener, runner = listener or Listener(), runner or InProcess()
    if config.runtime.device == "cuda":
        config.runtime.torch_device()  # before minutes of reading
    folder, config, resumed = open_folder(config, resume)
    dataset = load_dataset(config.data)
    check_fits(config, dataset)
    runner.check(config, dataset, folder, resumed)
    for note in dataset.notes:
        listener.warn(note)
    with locked(folder, resumed=resumed):
        tracker = make_tracker(config.tracking, folder)
        write_text(folder / CONFIG_FILE, config.to_yaml())  # from here on it is a run
        session = Session(config, dataset, folder, tracker, listener, resumed, runner)
        listener.note(
            f"{config.method.name} on {dataset.name}: {len(dataset.train_indices)} samples, "
            f"{dataset.num_clusters} clusters -> {folder}"
        )
        return _run_seeds(session, range(config.runtime.seed, config.runtime.seed + seeds))


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
    config.pseudo_labels.check_clusters(dataset.num_clusters)
    known_labels(config, dataset)
    if config.method.compares_views:
        strengths = config.augmentation.resolved(config.data.augmentation_preset)
        if not strengths.changes(dataset.kind):
            raise ValueError(
                f"method.name: {config.method.name} compares a sample with an augmented copy, and "
                f"augmentation leaves these {dataset.kind} as they are; set augmentation.noise, say"
            )
    if config.method.num_neighbours >= size:
        raise ValueError(
            f"method.neighbours: {config.method.num_neighbours} neighbours among {size} training samples; "
            f"lower it to {size - 1} or less"
        )
    if config.pseudo_labels.backend == "gpu" and config.runtime.torch_device().type == "cpu":
        raise ValueError(
            "pseudo_labels.backend: gpu, but the network runs on the CPU; set pseudo_labels.backend=auto"
        )
    if config.method.neighbour_embedding:
        first = dataset.train_indices[:1]
        given_rows(config.method.neighbour_embedding, len(dataset.samples), first, "method.embedding")
    # Building the model tells whether it can take samples of this shape.
    config.model.build(dataset.samples.shape, dataset.num_clusters)


def _run_seeds(session: Session, seeds: range) -> RunSummary:
    """Run or load every seed, keep the representative one, write artifacts and report, close the tracker."""
    results: list[SeedResult] = []
    folders = [session.folder / f"seed_{seed}" for seed in seeds]
    finished = _finished_summary(session, folders)
    if finished:
        session.listener.note("this run is finished already; nothing is left to do")
        return finished
    with parent_run(session, len(seeds)) as parent:
        for number, (seed, folder) in enumerate(zip(seeds, folders, strict=True)):
            session.listener.seed(seed, number + 1, len(seeds))
            kept = read_record(folder / RESULT_FILE, SeedResult) if session.resume else None
            results.append(kept or _run_seed(session, seed, folder, parent))
            if results[-1].warning:
                session.listener.warn(f"seed {seed}: {results[-1].warning}")
        best = representative(results, folders)
        with replacing(session.folder / MODEL_FILE) as temporary:
            shutil.copyfile(folders[best] / MODEL_FILE, temporary)
        summary = summarize(
            session.config, session.dataset, session.folder, session.tracker, results, best, parent
        )
        # One seed: its own run carries the artifacts; several: the run above them does.
        with _closing_run(session, results[best], parent) as run, _keeping_training(session):
            write_artifacts(session.config, session.dataset, session.folder, summary, results, best, run)
        write_json(session.folder / SUMMARY_FILE, summary.to_dict())  # last: nothing is left to do
    return summary


@contextmanager
def _keeping_training(session: Session) -> Iterator[None]:
    """Say, when writing the results fails, that the training is not lost."""
    try:
        yield
    except Exception:
        session.listener.warn(
            f"the training is complete and kept in {session.folder}; its results could not be written: the "
            "same command with --resume writes them"
        )
        raise


def _finished_summary(session: Session, folders: list[Path]) -> RunSummary | None:
    """The summary of a resumed run that had ended with just these seeds."""
    if not (session.resume and all((folder / RESULT_FILE).exists() for folder in folders)):
        return None
    summary = read_record(session.folder / SUMMARY_FILE, RunSummary)
    return summary if summary and summary.seeds == len(folders) else None


def _run_seed(session: Session, seed: int, folder: Path, parent: TrackedRun | None) -> SeedResult:
    """Train one seed in its folder, tracked as a run of its own."""
    config = session.config.with_({"runtime.seed": seed})
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{config.name}-seed{seed}" if parent else config.name
    with tracked_run(
        session.tracker, folder, name, config, session.dataset, parent=parent, resume=session.resume
    ) as run:

        def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
            run.log_metrics(metrics, step=epoch)
            session.listener.epoch(epoch, metrics)

        result = session.runner.train(
            SeedJob(config, session.dataset, folder, session.resume, run.id, session.listener, on_epoch)
        )
        # What the tracker holds stays; an epoch that a killed process could not log any more is added.
        for epoch, metrics in enumerate(result.history, start=1):
            run.log_metrics(metrics, step=epoch)
        run.log_metrics(final_metrics(result), step=config.optimizer.epochs)
    return result


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
def parent_run(session: Session, count: int) -> Iterator[TrackedRun | None]:
    """The run above several seeds, None for one seed."""
    if count == 1:
        yield None
        return
    name = f"{session.config.name}-{count}-seeds"
    with tracked_run(
        session.tracker, session.folder, name, session.config, session.dataset, resume=session.resume
    ) as run:
        yield run


@contextmanager
def _closing_run(session: Session, best: SeedResult, parent: TrackedRun | None) -> Iterator[TrackedRun]:
    """The run that carries the artifacts: the one above the seeds, else the only seed's, opened again."""
    if parent:
        yield parent
        return
    with finishing(session.tracker.start_run(session.config.name, run_id=best.run_id)) as run:
        yield run
