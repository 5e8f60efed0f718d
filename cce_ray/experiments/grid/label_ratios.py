"""Rows of the semi-supervised tables: every method with each share of known labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cce_ray.experiments.grid.grid import Row


def with_ratios(rows: Mapping[str, Row], ratios: Sequence[float]) -> dict[str, Row]:
    """{RATIO/KEY: row}: every row with each of the ratios of known labels."""
    return {
        f"{ratio}/{key}": Row(f"{row.title}, ratio {ratio}", {**row.changes, "supervision.ratio": ratio})
        for ratio in ratios
        for key, row in rows.items()
    }
