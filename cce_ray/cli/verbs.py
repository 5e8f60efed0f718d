"""The command and its verbs, in the order in which it lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from cce_ray.cli.machines import doctor, submit
from cce_ray.cli.measuring import bench_pseudo_labels, experiment
from cce_ray.cli.new_data import embed, predict
from cce_ray.cli.training import config, train, tune

app = typer.Typer(
    help="Cluster images or embeddings without labels, with collision cross-entropy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from cce_ray.version import __version__

        typer.echo(f"cce_ray {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before the verb."""


app.callback()(options)
for verb in (train, tune, predict, embed, config):
    app.command()(verb)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(submit)
app.command()(doctor)
bench = typer.Typer(help="Measure how fast this package is on this machine.", no_args_is_help=True)
bench.command("pseudo-labels")(bench_pseudo_labels)
app.add_typer(bench, name="bench")
app.command()(experiment)
