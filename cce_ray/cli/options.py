"""Arguments and options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

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
