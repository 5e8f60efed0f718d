"""The command line: parse, call, print. People read stderr, programs stdout."""

from __future__ import annotations

import errno
import json as jsonlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cce_ray.experiments.table import Table as TextTable

app = typer.Typer(
    help="Cluster images or embeddings without labels, with collision cross-entropy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="A YAML run file, or a built-in run: digits, features. Default: digits."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting by its dotted key; repeatable."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="The Ray cluster. Default: RAY_ADDRESS, or this machine."),
]
NoTrackingOption = Annotated[bool, typer.Option("--no-tracking", help="Do not write to MLflow.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")]


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from cce_ray import __version__

        typer.echo(f"cce_ray {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before the verb."""


@app.command()
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
    from cce_ray.runs import load_run

    short = {
        "tracking.enabled": "false" if no_tracking else None,
        "runtime.workers": workers,
        "runtime.gpus_per_worker": gpus_per_worker,
    }
    extra = [f"{key}={value}" for key, value in short.items() if value is not None]
    config, notes = load_run(run, [*(overrides or []), *extra])
    if address and not config.runtime.workers:
        raise ValueError(f"--address {address}: the run has no workers to put there; add --workers N")

    from cce_ray.console import RichListener, print_summary

    with RichListener() as listener:
        for note in notes:
            listener.note(note)
        # torch, and ray: once the configuration is known to be right
        if config.runtime.workers:
            from cce_ray.distributed import run_on_ray

            summary = run_on_ray(config, address=address, seeds=seeds, resume=resume, listener=listener)
        else:
            from cce_ray.runs import run_training

            summary = run_training(config, seeds=seeds, resume=resume, listener=listener)
    print_summary(summary)
    if json:
        typer.echo(jsonlib.dumps(summary.to_dict()))


@app.command()
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
    from cce_ray.tuning import load_search

    if (retry_failed or extend) and not resume:
        raise ValueError(f"{'--retry-failed' if retry_failed else '--extend'}: belongs to --resume; add it")
    extra = ["tracking.enabled=false"] if no_tracking else []
    changes = {"trials": trials, "time_budget": time_budget, "objective": objective}
    searches = [load_search(space, [*(overrides or []), *extra], **changes) for space in spaces]

    from cce_ray.console import RichListener, print_search

    with RichListener() as listener:
        # torch and ray, once the search is known to be right
        from cce_ray.tuning import Options, run_search

        summaries = run_search(searches, Options(address, resume, retry_failed, extend, joint), listener)
    for summary in summaries:
        print_search(summary)
    if json:
        typer.echo(jsonlib.dumps({"studies": [summary.to_dict() for summary in summaries]}))


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(help="model.pt, a run's output folder, or an MLflow URI (models:/NAME/1).")
    ],
    data: Annotated[
        str, typer.Argument(help="A folder of images, a .npy, .npz or .parquet file, or a data set.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.csv or FILE.parquet.")],
    overrides: SetOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json: JsonOption = False,
) -> None:
    """Label new data with a trained model: cluster, confidence and probabilities of every sample."""
    from cce_ray.console import RichListener
    from cce_ray.runs import predict_file

    with RichListener() as listener:
        summary = predict_file(
            model, data, output, overrides=overrides or [], device=device, listener=listener
        )
        listener.note(
            f"{summary['samples']} samples in {summary['clusters_used']} clusters -> {output} "
            f"({summary['samples_per_second']:.0f} samples/s)"
        )
    if json:
        typer.echo(jsonlib.dumps(summary))


@app.command()
def embed(
    data: Annotated[
        str, typer.Argument(help="A folder of images, a .npy or .npz file of images, or a data set.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.parquet.")],
    backbone: Annotated[
        str,
        typer.Option(
            help="A network of torchvision (resnet50, vit_b_16, convnext_tiny, ...), or a model of cce: "
            "model.pt, a run's output folder, an MLflow URI."
        ),
    ] = "resnet50",
    weights: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="A state_dict; or default: torchvision's, downloaded; or random, to try out."
        ),
    ] = "default",
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of the images for the network. Default: its weights'.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 64,
    overrides: SetOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json: JsonOption = False,
) -> None:
    """Features of images by a trained network, in a file for `cce train features --set data.path=FILE`."""
    from cce_ray.console import RichListener
    from cce_ray.runs import embed_file

    with RichListener() as listener:
        summary = embed_file(
            data,
            output,
            backbone=backbone,
            weights=weights,
            image_size=image_size,
            batch_size=batch_size,
            overrides=overrides or [],
            device=device,
            listener=listener,
        )
        listener.note(
            f"{summary['samples']} samples, {summary['features']} features -> {output} "
            f"({summary['samples_per_second']:.0f} samples/s)"
        )
    if json:
        typer.echo(jsonlib.dumps(summary))


@app.command()
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


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(
    context: typer.Context,
    first: Annotated[
        str,
        typer.Argument(metavar="[tune|train] ...", help="What `cce` should do there; a SPACE alone: tune."),
    ],
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's job server, http://HOST:8265.")
    ],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the job's output to its end.")
    ] = True,
) -> None:
    """Run `cce tune ...` or `cce train ...` as a job of a cluster, with this folder as working directory."""
    verb = [] if first in ("tune", "train") else ["tune"]
    from cce_ray.distributed.submission import submit as hand_over

    job, status = hand_over(
        [*verb, first, *context.args], address, wait=wait, show=lambda text: typer.echo(text, nl=False)
    )
    typer.echo(f"{job}: {status}", err=True)
    raise typer.Exit(0 if status == "SUCCEEDED" or not wait else 2)


@app.command()
def doctor(
    address: AddressOption = None,
    data_root: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The data sets' folder. Default: CCE_DATA, or data.")
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="MLflow's store. Default: MLFLOW_TRACKING_URI, or the run's folder."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check this machine and what runs need: versions, GPU, room, Ray, MLflow, data. Exit code 2: broken."""
    from cce_ray.doctor import doctor as examine

    raise typer.Exit(examine(address, data_root, tracking_uri, json=json))


bench = typer.Typer(help="Measure how fast this package is on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command("pseudo-labels")
def bench_pseudo_labels(
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute: M = 250 and λ = 10 only.")] = False,
    json: JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Write the data, a page and a picture there."),
    ] = None,
) -> None:
    """Time every pseudo-label solver to certified gaps, against the paper's EM and projected gradient."""
    from cce_ray.console import RichListener
    from cce_ray.experiments.experiment import prepare_folder
    from cce_ray.experiments.pseudo_label_benchmark import QUICK, Plan, run_benchmark, write_report
    from cce_ray.experiments.pseudo_label_tables import notes, tables

    if output:
        prepare_folder(output)
    with RichListener() as listener:
        report = run_benchmark(QUICK if quick else Plan(), quick=quick, progress=listener.note)
        for path in write_report(report, output) if output else []:
            listener.note(f"-> {path}")
    if json:
        typer.echo(jsonlib.dumps(report))
    else:
        show_tables(tables(report), notes(report))


@app.command()
def experiment(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Experiments; --list tells which there are.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="The experiments, and what each shows.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller, into files NAME-quick.*.")] = False,
    seeds: Annotated[int | None, typer.Option(help="Seeds of every run. Default: the experiment's.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Feature files and data sets. Default: CCE_DATA, or data."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where page, data and picture go.")
    ] = Path("docs/results"),
    work: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where runs are kept, for the same command to go on.")
    ] = Path("cce_output/experiments"),
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Train the runs at once on this Ray cluster; local: on this machine's cores. Default: "
            "RAY_ADDRESS, or one after the other here. What is timed or drawn is always done here.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Reproduce tables and figures of the paper; what is finished is kept, the same command goes on."""
    from cce_ray.experiments import EXPERIMENTS, find_experiment

    if show:
        width = max(map(len, EXPERIMENTS))
        for name, meaning in EXPERIMENTS.items():
            typer.echo(f"{name:<{width}}  {meaning}")
        return
    if not names:
        raise ValueError(f"experiment: no name given; choose from {', '.join(EXPERIMENTS)}")
    runs = {name: find_experiment(name) for name in names}  # all of them, before the first takes hours

    from cce_ray.console import RichListener
    from cce_ray.distributed.pool import pool_at
    from cce_ray.experiments.experiment import make_options, perform, prepare_folder

    options = make_options(data, work, quick=quick, seeds=seeds)
    prepare_folder(output)
    reports = []
    with pool_at(address, options.data, options.work) as pool:
        for name, run in runs.items():
            with RichListener() as listener:
                outcome, report = perform(name, run, replace(options, pool=pool), output, listener)
            reports.append(report)
            if not json:
                show_tables(outcome.tables, outcome.notes)
    if json:
        typer.echo(jsonlib.dumps({"experiments": reports}))


def show_tables(tables: Sequence[TextTable], notes: Sequence[str]) -> None:
    """Tables and what is to be said about them, never folded where nobody looks at a terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    for table in tables:
        shown = Table(title=table.title, title_justify="left")
        for number, heading in enumerate(table.headings):
            shown.add_column(heading, justify="right" if number else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for note in notes:
        console.print(note, markup=False)


INTERRUPTED = 130
RESUME = "the same command goes on with --resume"
INTERRUPTIONS = {
    "predict": "nothing was written",
    "embed": "nothing was written",
    "experiment": "the same command goes on",
}
"""What is said of these verbs; of all others RESUME."""
REMEDIES = {
    errno.ENOSPC: "make room on that disk and run again",
    errno.EDQUOT: "make room in your quota and run again",
    errno.EACCES: "get the right to it, or choose another place",
    errno.EROFS: "choose another place",
}


def one_line(error: BaseException) -> str:
    """The error as one line; what the system refused, with its file and a remedy."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        remedy = f"; {REMEDIES[error.errno]}" if error.errno in REMEDIES else ""
        text = f"{place}{error.strerror}{remedy}"
    return " ".join(text.split()) or error.__class__.__name__


def main() -> Any:
    """Entry point: a user's mistake or a full disk is one line and exit code 2, never a traceback."""
    # Before torch is loaded. Its threads spin while they wait, which slows a run down several times when
    # anything else wants the same cores. Digits, 12 epochs, two threads: 1.4 s alone, 19 s beside two busy
    # processes with GOMP's default; 1.5 s and 3.1 s with this; 1.8 s and 4.7 s without any spinning.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an interruption too: schedulers send it
    try:
        app()
    except (ValueError, OSError) as error:
        typer.echo(f"error: {one_line(error)}", err=True)
        sys.exit(2)
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        typer.echo("error: optimizer.batch_size: the device's memory is full; lower it", err=True)
        sys.exit(2)
    except (SystemExit, KeyboardInterrupt) as end:
        # Typer turns most interruptions into an exit; one that strikes in typer's own code comes as it is.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        remedy = INTERRUPTIONS.get(sys.argv[1] if len(sys.argv) > 1 else "", RESUME)
        typer.echo(f"error: interrupted; {remedy}", err=True)
        # An interruption that passed through code run from text (dataclasses make their methods so) leaves
        # Python with a mark, and `python -m` would die of SIGINT instead of this exit code. Running any other
        # text takes the mark away.
        exec("")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
