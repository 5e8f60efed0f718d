"""What a program calls: train, tune, predict. `import cce_ray` exports them.

Each function loads torch and Ray only when it is called, and then only if it needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from cce_ray.config import RunConfig
    from cce_ray.models import Labels, Model
    from cce_ray.runs import Listener, RunSummary
    from cce_ray.tuning import SearchSummary


def train(
    config: RunConfig | str | Path = "digits",
    changes: Mapping[str, Any] | None = None,
    *,
    seeds: int = 1,
    resume: bool = False,
    address: str | None = None,
    listener: Listener | None = None,
) -> RunSummary:
    """Cluster a data set: train, evaluate, report, track; everything is kept below the run's output folder.

    Args:
        config: a configuration, a run file, or the name of a built-in run (digits, features, mnist).
        changes: {dotted key: value}, such as {"optimizer.epochs": 20}.
        seeds: runs with consecutive seeds, of which the most representative one is kept.
        resume: continue the run in the output folder, bit for bit on the CPU.
        address: the Ray cluster of a run with `runtime.workers`: HOST:PORT or auto. None: RAY_ADDRESS, else
            Ray is started for the length of the run.
        listener: hears of progress, notes and warnings. None: these two go to the logger "cce_ray".

    Returns:
        RunSummary: scores (means over the seeds; empty without labels), clusters in use, and the paths of the
        model, the clusters (CSV) and the report.

    Raises:
        ValueError: one line naming key or file, value and remedy, before anything is written.
    """
    from cce_ray.config import RunConfig
    from cce_ray.runs import LogListener, load_run

    listener = listener or LogListener()
    if isinstance(config, RunConfig):
        run = config.with_(changes or {})
    else:
        run, notes = load_run(str(config), changes or {}, resume=resume)
        for note in notes:
            listener.note(note)
    if run.runtime.workers:
        from cce_ray.distributed import run_on_ray

        return run_on_ray(run, address=address, seeds=seeds, resume=resume, listener=listener)
    if address:
        raise ValueError(f"address: {address}, but the run has no workers to put there; set runtime.workers")
    from cce_ray.runs import run_training

    return run_training(run, seeds=seeds, resume=resume, listener=listener)


def tune(
    space: str | Path,
    changes: Mapping[str, Any] | None = None,
    *,
    trials: int | None = None,
    time_budget: float | None = None,
    objective: str | None = None,
    resume: bool = False,
    address: str | None = None,
    listener: Listener | None = None,
) -> SearchSummary:
    """Search settings with Ray Tune and Optuna, and choose a champion by fresh seeds.

    Args:
        space: a search space file, or the name of a built-in one (digits, features, mnist, ...).
        changes: {dotted key: value} of the fixed run, such as {"data.path": "features.parquet"}.
        trials: how many trials must be done; None: as the space says.
        time_budget: seconds after which the trials end; None: as the space says.
        objective: what is maximised: combined (needs no labels), generalization, silhouette, stability, loss,
            or with labels accuracy, nmi, ari; None: as the space says.
        resume: continue the search in its output folder.
        address: HOST:PORT of a Ray cluster, or auto. None: RAY_ADDRESS, else Ray is started for the length of
            the search.
        listener: as for `train`.

    Returns:
        SearchSummary: the champion's settings and scores, and the paths of its run file, its model and the
        leaderboard.

    Raises:
        ValueError: one line, before anything is written, for what cannot work; after the search if no trial
            was finished.
    """
    from cce_ray.tuning import load_search

    limits = {"trials": trials, "time_budget": time_budget, "objective": objective}
    search = load_search(str(space), changes or {}, **limits)
    from cce_ray.runs import LogListener
    from cce_ray.tuning import Options, run_search

    return run_search([search], Options(address, resume), listener or LogListener())[0]


def predict(
    model: Model | str | Path,
    data: str | Path | np.ndarray | torch.Tensor | pd.DataFrame,
    changes: Mapping[str, Any] | None = None,
    *,
    device: str = "auto",
    listener: Listener | None = None,
) -> Labels:
    """Label data with a trained model.

    Args:
        model: of `load_model`, or what that takes.
        data: a folder of images, a .npy, .npz or .parquet file, a folder of shards, the name of a data set,
            or samples in memory (see `Model.predict`).
        changes: {dotted key: value} of the data, such as {"data.key": "x"}; for files and names only.
        device: auto, cpu or cuda; of a model that is not loaded yet.
        listener: as for `train`.

    Returns:
        Labels: ids, clusters and probabilities of the samples, in their order.

    Raises:
        ValueError: one line, for a model or data that cannot be used or do not fit each other.
    """
    from cce_ray.models import Model
    from cce_ray.runs import LogListener, load_model, predict_data

    trained = model if isinstance(model, Model) else load_model(model, device=device)
    if isinstance(data, str | Path):
        return predict_data(trained, str(data), overrides=changes or {}, listener=listener or LogListener())
    if changes:
        raise ValueError(f"changes: {next(iter(changes))} is of no use to samples in memory; leave it out")
    return trained.predict(data)
