"""What a trained network says of other data: predict, embed."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from cce_ray.cli.options import JsonOption, SetOption


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
    from cce_ray.cli.console import RichListener
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
    from cce_ray.cli.console import RichListener
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
