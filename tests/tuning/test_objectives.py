"""What a search maximises: finite, gated, and what decides among finalists."""

import math

import pytest

from cce_ray.tuning.objectives import OBJECTIVES, merit, value_of, worst

GOOD = {"generalization": 0.8, "silhouette": 0.1, "mutual_information": 2.0, "loss": 1.0, "used": 10.0,
        "clusters": 10.0, "accuracy": 0.7, "nmi": 0.6, "ari": 0.5, "stability": 0.9}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_finite_and_at_its_worst_for_what_diverged(name: str) -> None:
    criterion = OBJECTIVES[name].searched
    broken = dict.fromkeys(GOOD, math.nan) | {"used": 0.0, "clusters": 10.0}
    assert math.isfinite(value_of(criterion, broken))
    assert value_of(criterion, broken) == worst(criterion) < value_of(criterion, GOOD)


@pytest.mark.parametrize("criterion", ["generalization", "silhouette", "stability", "mutual_information"])
def test_a_collapse_is_worst_however_well_it_does(criterion: str) -> None:
    two_clusters = GOOD | {"used": 2.0, criterion: 1.0}
    assert value_of(criterion, two_clusters) == worst(criterion)
    nine = GOOD | {"used": 9.0}
    assert worst(criterion) < value_of(criterion, nine) < value_of(criterion, GOOD)


def test_finalists_go_by_generalization_times_stability_and_by_a_single_criterion_as_it_is() -> None:
    deciding = OBJECTIVES["combined"].deciding
    assert merit(GOOD, deciding) == pytest.approx(0.8 * 0.9)
    assert merit(GOOD | {"generalization": 0.9, "stability": 0.1}, deciding) < merit(GOOD, deciding)
    assert merit(GOOD | {"used": 2.0, "stability": 1.0}, deciding) == 0.0
    assert merit(GOOD, ("ari",)) == 0.5
