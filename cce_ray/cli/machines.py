"""This machine and clusters: submit, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cce_ray.cli.options import AddressOption, JsonOption


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
    from cce_ray.distributed import submit as hand_over

    job, status = hand_over(
        [*verb, first, *context.args], address, wait=wait, show=lambda text: typer.echo(text, nl=False)
    )
    typer.echo(f"{job}: {status}", err=True)
    raise typer.Exit(0 if status == "SUCCEEDED" or not wait else 2)


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
