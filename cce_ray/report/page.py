"""The HTML page: one file, nothing to load from elsewhere."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from cce_ray.metrics import USED_SHARE
from cce_ray.report.montage import Exemplars, Pictures, sheet
from cce_ray.report.report_input import ReportInput
from cce_ray.version import __version__

_NAMED_EXEMPLARS = 3
_COLUMNS = 5
_SMALL_IMAGE = 40  # up to this many pixels the single pixels are shown, not blurred
_SCORE_NAMES = {"accuracy": "Accuracy", "nmi": "NMI", "ari": "ARI"}


def page(
    result: ReportInput, figures: Mapping[str, bytes], found: list[Exemplars], images: list[Pictures]
) -> str:
    """As HTML; ``figures`` are PNG files by name, ``images`` belong to the clusters in ``found``."""
    return render(
        "report.html.j2",
        result=result,
        headlines=headlines(result),
        clusters=_cluster_rows(result, found, images),
        hidden=int((result.sizes > 0).sum()) - len(found),
        config=sections(result.config),
        figures={name: data_uri(png) for name, png in figures.items()},
    )


def render(template: str, **values: Any) -> str:
    """A template of this package as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cce_ray.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=__version__, **values)


def headlines(result: ReportInput) -> list[tuple[str, str, str]]:
    """(value, its spread, what it is) for the tiles at the top."""
    several = len(result.histories) > 1
    tiles = [
        (
            f"{value:.3f}",
            f"± {result.scores_sd[name]:.3f}" if several and name in result.scores_sd else "",
            label,
        )
        for name, label in _SCORE_NAMES.items()
        if (value := result.scores.get(name)) is not None
    ]
    tiles.append((f"{result.used}", f"of {result.num_clusters}", "Clusters in use"))
    tiles.append((f"{result.confidence.mean():.2f}", "", "Mean confidence"))
    tiles.append((f"{len(result.probs):,}", "", "Samples"))
    return tiles


def _cluster_rows(
    result: ReportInput, found: list[Exemplars], images: list[Pictures]
) -> list[dict[str, Any]]:
    """What the page says of each cluster of ``found``."""
    rows = []
    for number, exemplar in enumerate(found):
        cluster, size = exemplar.cluster, int(result.sizes[exemplar.cluster])
        rows.append(
            {
                "cluster": cluster,
                "size": f"{size:,}",
                "share": f"{size / len(result.probs):.1%}",
                "width": round(100 * size / int(result.sizes.max()), 1),
                "used": size >= max(1.0, USED_SHARE * len(result.probs) / result.num_clusters),
                "confidence": f"{result.confidence[result.clusters == cluster].mean():.2f}",
                "most_ids": [_name(result, p) for p in exemplar.most[:_NAMED_EXEMPLARS]],
                "least_ids": [_name(result, p) for p in exemplar.least[:_NAMED_EXEMPLARS]],
                "sheets": _sheets(images[number]) if images else [],
                "pixelated": bool(images) and max(images[number][0].shape[1:3]) <= _SMALL_IMAGE,
                **_class(result, cluster),
            }
        )
    return rows


def sections(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The configuration as (section, [(key, value)]), single values first."""
    top = [(key, _value(value)) for key, value in config.items() if not isinstance(value, Mapping)]
    parts = [("run", top)] if top else []
    for section, values in config.items():
        if isinstance(values, Mapping) and values:
            parts.append((section, [(key, _value(value)) for key, value in values.items()]))
    return parts


def data_uri(png: bytes) -> str:
    """A PNG inside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _sheets(images: Pictures) -> list[dict[str, Any]]:
    """The most and the least confident images as pictures of one size."""
    most = len(images[0])
    columns = min(_COLUMNS, most)
    pixels = [sheet(part, columns, -(-most // columns)) for part in images]
    return [{"uri": _image_uri(p), "width": p.shape[1], "height": p.shape[0]} for p in pixels]


def _image_uri(pixels: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue())


def _class(result: ReportInput, cluster: int) -> dict[str, str | None]:
    """The class the cluster is matched to, and the share of the cluster that belongs to it."""
    if result.class_of is None or result.labels is None:
        return {"class_name": None, "purity": None}
    label = int(result.class_of[cluster])
    if label < 0:
        return {"class_name": None, "purity": "no class"}
    purity = (result.labels[result.clusters == cluster] == label).mean()
    return {"class_name": result.class_name(label), "purity": f"{purity:.0%}"}


def _name(result: ReportInput, position: int) -> str:
    return str(result.ids[int(position)]) if result.ids is not None else str(int(position))


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
