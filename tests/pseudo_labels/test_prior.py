"""The estimated prior: EM for the shares of a mixture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pseudo_label_problems import predictions, priors

from cce_ray.pseudo_labels import PseudoLabelSettings, estimate_pseudo_labels
from cce_ray.pseudo_labels.prior import next_prior

TRUE = np.array([0.5, 0.3, 0.15, 0.04, 0.01])


def mixture(points: int, seed: int) -> np.ndarray:
    """Densities p(x_i|k), (M, 5), of a sample of five overlapping Gaussians with the shares TRUE."""
    random = np.random.default_rng(seed)
    classes = random.choice(len(TRUE), size=points, p=TRUE)
    x = 2.5 * classes + random.normal(size=points)
    return np.exp(-0.5 * (x[:, None] - 2.5 * np.arange(len(TRUE))) ** 2)


def posterior(densities: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """σ of a network that has learnt the present shares."""
    joint = densities * prior
    posterior: np.ndarray = joint / joint.sum(axis=1, keepdims=True)
    return posterior


def test_finds_the_shares_of_a_mixture_from_small_batches() -> None:
    densities = mixture(40_000, seed=0)
    prior = np.full(5, 0.2)
    tail = []
    for step in range(1600):
        batch = densities[(step % 160) * 250 :][:250]
        prior = next_prior(prior, posterior(batch, prior), rate=0.05, floor=0.01)
        tail.append(prior)
    np.testing.assert_allclose(prior, TRUE, atol=0.03)
    np.testing.assert_allclose(np.mean(tail[-160:], axis=0), TRUE, atol=0.006)


def test_other_peoples_predictions_need_the_correction_of_their_prior() -> None:
    # What `next_prior` assumes: σ made under the uniform prior and never changed has another mean.
    densities = mixture(40_000, seed=0)
    uniform = np.full(5, 0.2)
    sigma, prior = posterior(densities, uniform), uniform
    for _ in range(300):
        corrected = sigma * (prior / uniform)  # Saerens et al.
        corrected /= corrected.sum(axis=1, keepdims=True)
        prior = next_prior(prior, corrected, rate=1.0, floor=0.0)
    np.testing.assert_allclose(prior, TRUE, atol=0.006)
    assert np.abs(sigma.mean(axis=0) - TRUE).max() > 0.03


@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0])
def test_every_step_raises_the_likelihood_and_its_maximum_stays(rate: float) -> None:
    densities = mixture(2000, seed=1)
    prior = np.full(5, 0.2)
    before = -np.inf
    for _ in range(round(1000 / rate)):
        likelihood = np.log(densities @ prior).mean()
        assert likelihood >= before - 1e-13
        before = likelihood
        prior = next_prior(prior, posterior(densities, prior), rate=rate, floor=0.0)
    # The maximum over the simplex: no direction to a vertex rises.
    slopes = (densities / (densities @ prior)[:, None]).mean(axis=0) - 1
    assert np.all(slopes <= 1e-6)
    again = next_prior(prior, posterior(densities, prior), rate=rate, floor=0.0)
    np.testing.assert_allclose(again, prior, atol=1e-6 * rate)


@given(probs=predictions(max_points=20), rate=st.sampled_from([0.01, 0.3, 1.0]), seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_prior_that_is_the_mean_prediction_stays(probs: np.ndarray, rate: float, seed: int) -> None:
    mean = probs.mean(axis=0)
    floor = 0.99 * min(1.0, mean.min() * len(mean))
    np.testing.assert_allclose(next_prior(mean, probs, rate=rate, floor=floor), mean, rtol=1e-12, atol=1e-13)


@given(
    probs=predictions(max_points=20),
    rate=st.sampled_from([1e-3, 0.3, 1.0]),
    floor=st.sampled_from([0.0, 0.1, 0.5, 0.999]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100)
def test_no_share_falls_below_the_floor_and_none_dies(
    probs: np.ndarray, rate: float, floor: float, seed: int
) -> None:
    clusters = probs.shape[1]
    prior = priors(clusters, seed)
    for _ in range(5):
        prior = next_prior(prior, probs, rate=rate, floor=floor)
        assert prior.dtype == np.float64
        assert prior.sum() == pytest.approx(1, abs=1e-14 * clusters)
        assert np.all(prior > 0) and prior.min() >= floor / clusters
    above = prior > floor / clusters * (1 + 1e-9)
    if floor == 0 and rate == 1.0:
        np.testing.assert_allclose(prior[above], probs.mean(axis=0)[above], atol=1e-12)


def test_the_pseudo_labels_own_means_tell_nothing_where_the_fairness_weight_is_large() -> None:
    sigma = posterior(mixture(500, seed=2), TRUE)
    for wanted in (np.full(5, 0.2), TRUE[::-1]):
        labels = estimate_pseudo_labels(sigma, fairness_weight=1e4, prior=wanted, gap_tolerance=1.0).labels
        np.testing.assert_allclose(labels.mean(axis=0), wanted, atol=5e-3)


def test_settings_hold_the_prior_still_until_the_clusters_have_formed() -> None:
    sigma = posterior(mixture(100, seed=3), TRUE).astype(np.float32)
    settings = PseudoLabelSettings(prior="estimate", prior_warmup=0.4, prior_rate=0.5, prior_floor=0.3)
    first = settings.first_prior(5)
    assert first is not None and np.array_equal(first, np.full(5, 0.2))
    assert settings.next_prior(first, sigma, 0.39) is first
    moved = settings.next_prior(first, sigma, 0.4)
    assert moved is not None
    assert np.array_equal(moved, next_prior(first, sigma, rate=0.5, floor=0.3))
    for still in (PseudoLabelSettings(), PseudoLabelSettings(prior=[0.5, 0.5])):
        assert still.first_prior(2) is None and still.next_prior(None, sigma, 0.9) is None


def test_a_given_prior_reaches_the_solver() -> None:
    sigma = posterior(mixture(200, seed=4), TRUE)
    options = {"fairness_weight": 50.0, "objective": "cce_plus"}
    given_prior = PseudoLabelSettings(prior=TRUE.tolist(), prior_slack=0.1).estimate(sigma, **options)
    expected = estimate_pseudo_labels(sigma, prior=TRUE, prior_slack=0.1, max_iterations=30, **options)
    assert np.array_equal(given_prior.labels, expected.labels)
    assert given_prior.objective == expected.objective
    other = PseudoLabelSettings(prior=TRUE.tolist()).estimate(sigma, prior=TRUE[::-1], **options)
    assert np.array_equal(
        other.labels, estimate_pseudo_labels(sigma, prior=TRUE[::-1], max_iterations=30, **options).labels
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prior": [0.5, 0.6]}, "sum to 1.1"),
        ({"prior": []}, "sum to 0"),
        ({"prior": [-0.5, 1.5]}, "greater than or equal to 0"),
        ({"prior": [float("nan"), 1.0]}, "finite"),
        ({"prior": "estimated"}, "'uniform' or 'estimate'"),
        ({"prior": 3}, "'uniform' or 'estimate'"),
        ({"prior_slack": -0.1}, "greater than or equal to 0"),
        ({"prior_slack": float("nan")}, "finite"),
        ({"prior_slack": float("inf")}, "finite"),
        ({"prior_slack": 0.1, "solver": "exact"}, "prior_slack: 0.1 is more than solver exact can do"),
        ({"prior": "estimate", "prior_floor": -0.1}, "greater than or equal to 0"),
        ({"prior": "estimate", "prior_floor": 1.0}, "less than 1"),
        ({"prior": "estimate", "prior_rate": 0.0}, "greater than 0"),
        ({"prior": "estimate", "prior_rate": 1.1}, "less than or equal to 1"),
        ({"prior": "estimate", "prior_warmup": 1.0}, "less than 1"),
        ({"prior_rate": 0.1}, "prior_rate: only an estimated prior reads it; set pseudo_labels.prior=estim"),
        ({"prior_floor": 0.1}, "prior_floor: only an estimated prior"),
        ({"prior_warmup": 0.1}, "prior_warmup: only an estimated prior"),
    ],
    ids=lambda value: ",".join(map(str, value.items())) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PseudoLabelSettings(**wrong)  # type: ignore[arg-type]


def test_a_list_of_another_length_is_refused_by_name() -> None:
    settings = PseudoLabelSettings(prior=[0.5, 0.5])
    settings.check_clusters(2)
    with pytest.raises(ValueError, match=r"pseudo_labels\.prior: 2 probabilities for 3 clusters"):
        settings.check_clusters(3)
    for free in (PseudoLabelSettings(), PseudoLabelSettings(prior="estimate")):
        free.check_clusters(3)
