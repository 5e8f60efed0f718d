"""From data to clusters: train, tune, config."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from cce_ray.cli.options import AddressOption, JsonOption, NoTrackingOption, RunArgument, SetOption


def train(
    run: RunArgument = None,
    overrides: SetOption = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs with consecutive seeds; scores are their means.")
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run that lies in output_dir.")
    ] = False,
    no_tracking: NoTrackingOption = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Train on so many Ray workers: short for runtime.workers.")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0, help="GPUs of each worker: short for runtime.gpus_per_worker.")
    ] = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Cluster a data set: train, evaluate, report, track."""
    from cce_ray import api
    from cce_ray.config import assignments_of
    from cce_ray.runs import load_run

    short = {
        "tracking.enabled": False if no_tracking else None,
        "runtime.workers": workers,
        "runtime.gpus_per_worker": gpus_per_worker,
    }
    extra = {key: value for key, value in short.items() if value is not None}
    config, notes = load_run(run, assignments_of(overrides or []) | extra, resume=resume)
    if address and not config.runtime.workers:
        raise ValueError(f"--address {address}: the run has no workers to put there; add --workers N")

    from cce_ray.cli.console import RichListener, print_summary

    with RichListener() as listener:
        for note in notes:
            listener.note(note)
        summary = api.train(config, seeds=seeds, resume=resume, address=address, listener=listener)
    print_summary(summary)
    if json:
        typer.echo(jsonlib.dumps(summary.to_dict()))


def tune(
    spaces: Annotated[
        list[str],
        typer.Argument(
            metavar="SPACE...", help="Search space files, or built-in spaces such as digits and features."
        ),
    ],
    overrides: SetOption = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials must be done.")] = None,
    time_budget: Annotated[
        float | None, typer.Option(min=1, help="Seconds after which the trials end; the last round follows.")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="combined (default, no labels needed), generalization, silhouette, stability, loss; "
            "with labels accuracy, nmi, ari."
        ),
    ] = None,
    joint: Annotated[
        bool,
        typer.Option("--joint", help="One configuration for all data sets: each trial runs on every one."),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the search in output_dir.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: failed trials once more.")
    ] = False,
    extend: Annotated[int, typer.Option(min=0, help="With --resume: so many trials more.")] = 0,
    no_tracking: NoTrackingOption = False,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Search settings with Ray Tune and Optuna; ends with a champion: run file, model, leaderboard."""
    from cce_ray.config import assignments_of
    from cce_ray.tuning import load_search

    if (retry_failed or extend) and not resume:
        raise ValueError(f"{'--retry-failed' if retry_failed else '--extend'}: belongs to --resume; add it")
    extra = {"tracking.enabled": False} if no_tracking else {}
    changes = {"trials": trials, "time_budget": time_budget, "objective": objective}
    searches = [load_search(space, assignments_of(overrides or []) | extra, **changes) for space in spaces]

    from cce_ray.cli.console import RichListener, print_search

    with RichListener() as listener:
        # torch and ray, once the search is known to be right
        from cce_ray.tuning import Options, run_search

        summaries = run_search(searches, Options(address, resume, retry_failed, extend, joint), listener)
    for summary in summaries:
        print_search(summary)
    if json:
        typer.echo(jsonlib.dumps({"studies": [summary.to_dict() for summary in summaries]}))


def config(
    run: RunArgument = None,
    overrides: SetOption = None,
    describe: Annotated[bool, typer.Option("--describe", help="Say what each key means instead.")] = False,
) -> None:
    """Print the resolved configuration as YAML: every key there is, with its value."""
    from cce_ray.runs import load_run

    settings, notes = load_run(run, overrides or [])
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if describe:
        for key, meaning in settings.describe().items():
            typer.echo(f"{key}\n    {meaning}")
    else:
        typer.echo(settings.resolved().to_yaml(), nl=False)
