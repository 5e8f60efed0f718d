"""Whatever comes in: a right answer or one clear ValueError; never NaN, a warning, or a hang."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pseudo_label_problems import predictions, weights

from cce_ray.pseudo_labels import OBJECTIVES, SOLVERS, PseudoLabels, estimate_pseudo_labels
from cce_ray.pseudo_labels.arrays import for_kernels
from cce_ray.pseudo_labels.reference.objectives import objective_reference

NUMPY_TYPES = ("<f4", "<f8", ">f4", ">f8", "<f2", ">f2", "longdouble")
TORCH_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
NO_FLOATS = ("int64", "bool", "complex128", "object", "<U4", torch.int32, torch.bool, torch.complex64)


@dataclass
class Call:
    """The arguments of one estimation, and which of them are wrong."""

    options: dict[str, Any]
    faults: set[str] = field(default_factory=set)

    def __repr__(self) -> str:
        return f"Call({self.options!r}, faults={self.faults})"


def wrong(draw: st.DrawFn, chance: int = 16) -> bool:
    """One time in `chance`."""
    return draw(st.integers(1, chance)) == chance


@st.composite
def calls(draw: st.DrawFn) -> Call:
    sigma = draw(predictions(max_points=150, max_clusters=draw(st.sampled_from([2, 3, 12, 60]))))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    call = Call({})
    objective = draw(st.sampled_from(list(OBJECTIVES)))
    able = [name for name, solver in SOLVERS.items() if objective in solver.abilities["host"].objectives]
    call.options["objective"] = objective
    call.options["solver"] = draw(st.sampled_from(["auto", *able]))
    add_probs(draw, call, sigma, random)
    add_limits(draw, call)
    add_prior(draw, call, sigma.shape[1], random)
    add_known(draw, call, *sigma.shape, random)
    add_init(draw, call, sigma, random)
    add_names(draw, call)
    return call


def add_probs(draw: st.DrawFn, call: Call, sigma: np.ndarray, random: np.random.Generator) -> None:
    row = random.integers(len(sigma))
    sigma = draw(st.sampled_from([sigma, unsupported(sigma), denormal(sigma), off_by(sigma, 2e-4)]))
    dtype = draw(st.sampled_from(NUMPY_TYPES + TORCH_TYPES))
    if wrong(draw):
        call.faults.add("probs")
        if draw(st.booleans()):
            sigma = sigma.copy()
            bad = [np.nan, np.inf, -np.inf, -1.0, -0.1, 0.3, 5.0, 1e30]
            sigma[row] = 1 / sigma.shape[1]
            sigma[row, random.integers(sigma.shape[1])] += draw(st.sampled_from(bad))
        else:
            call.options["probs"] = draw(st.sampled_from(shapeless(sigma)))
            return
    call.options["probs"] = draw(st.sampled_from(LAYOUTS))(as_type(sigma, dtype))


def unsupported(sigma: np.ndarray) -> np.ndarray:
    """No row supports the first class; a row that did is one-hot of the last."""
    cut = sigma.copy()
    cut[:, 0] = 0
    cut[cut.sum(axis=1) < 0.1, -1] = 1
    return np.asarray(cut / cut.sum(axis=1, keepdims=True))


def denormal(sigma: np.ndarray) -> np.ndarray:
    cut = sigma.copy()
    cut[:, 0] *= 1e-310
    cut[cut.sum(axis=1) < 0.1, -1] = 1
    return np.asarray(cut / cut.sum(axis=1, keepdims=True))


def off_by(sigma: np.ndarray, share: float) -> np.ndarray:
    """Rows that sum to one within the tolerance."""
    return sigma * (1 + share)


def shapeless(sigma: np.ndarray) -> list[Any]:
    """What is no table of probabilities at all."""
    short = np.eye(3)
    return [
        sigma[:0],
        sigma[:, :1] * 0 + 1,
        sigma[0],
        sigma[None],
        np.zeros((0, 0)),
        torch.zeros(0, 4),
        [[0.5, 0.5], [1.0]],
        [],
        None,
        "probs",
        0.5,
        {"probs": sigma},
        torch.eye(3).to_sparse(),
        torch.empty(3, 3, device="meta"),
        np.zeros_like(sigma),
        *(as_type(short, dtype) for dtype in NO_FLOATS),
    ]


def as_type(values: np.ndarray, dtype: Any) -> Any:
    with np.errstate(over="ignore"):
        if isinstance(dtype, torch.dtype):
            return torch.from_numpy(np.ascontiguousarray(values)).to(dtype)
        return values.astype(dtype)


def strided(values: Any) -> Any:
    if isinstance(values, torch.Tensor):
        return values.repeat_interleave(2, dim=1)[:, ::2]
    return np.repeat(values, 2, axis=1)[:, ::2]


def transposed(values: Any) -> Any:
    return values.T.clone().T if isinstance(values, torch.Tensor) else np.asfortranarray(values)


def backwards(values: Any) -> Any:
    return values if isinstance(values, torch.Tensor) else values[::-1].copy()[::-1]


def read_only(values: Any) -> Any:
    if isinstance(values, torch.Tensor):
        return values
    frozen = values.copy()
    frozen.flags.writeable = False
    return frozen


def unaligned(values: Any) -> Any:
    if isinstance(values, torch.Tensor):
        return values
    return np.frombuffer(b" " + values.tobytes(), values.dtype, offset=1).reshape(values.shape)


def learning(values: Any) -> Any:
    return values.requires_grad_() if isinstance(values, torch.Tensor) else values


def listed(values: Any) -> Any:
    return values if isinstance(values, torch.Tensor) or values.dtype.itemsize != 8 else values.tolist()


def plain(values: Any) -> Any:
    return values


LAYOUTS = (plain, strided, transposed, backwards, read_only, unaligned, learning, listed)


def add_limits(draw: st.DrawFn, call: Call) -> None:
    not_numbers = [None, "10", [1.0], np.ones((2, 2)), torch.ones(2, 2), 1j, True]
    bad_weights = [0, 0.0, -1.0, np.nan, np.inf, -np.inf, 5e-324, 1e30, 1e308, *not_numbers]
    one_of(
        draw,
        call,
        "fairness_weight",
        [draw(weights), 1e-12, 1e12, np.float32(3), np.int64(2), 7],
        bad_weights,
    )
    one_of(draw, call, "max_iterations", [0, 1, 2, 10, np.int32(30), 300], [-1, 1.5, None, "3", np.ones(2)])
    tolerances = [0, 0.0, 1e-4, np.float32(1e-6), 1.0]
    one_of(draw, call, "tolerance", tolerances, [-1e-9, np.nan, *not_numbers])
    gaps = [None, None, 0.0, 1e-9, np.float64(1e-3), 1, 1e9]
    one_of(draw, call, "gap_tolerance", gaps, [-1, np.nan, "1e-3", np.ones((2, 2)), 1j])
    slacks = [0, 0.0, 0.0, 0.0, 1e-9, 0.3, 1.0, 1e300]
    one_of(draw, call, "prior_slack", slacks, [-0.1, np.nan, np.inf, *not_numbers])
    if call.options["solver"] == "exact" and "prior_slack" not in call.faults and call.options["prior_slack"]:
        call.faults.add("prior_slack")


def one_of(draw: st.DrawFn, call: Call, name: str, good: list[Any], bad: list[Any], chance: int = 80) -> None:
    if wrong(draw, chance):
        call.faults.add(name)
        good = bad
    call.options[name] = good[draw(st.integers(0, len(good) - 1))]


def add_prior(draw: st.DrawFn, call: Call, clusters: int, random: np.random.Generator) -> None:
    kind = draw(st.sampled_from(["none", "even", "uneven", "wild", "zeros", "one", "off"]))
    prior = random.dirichlet(np.ones(clusters)) + 1e-6
    if kind == "even":
        prior = np.ones(clusters)
    elif kind == "wild":
        prior = 10.0 ** -random.uniform(0, 12, size=clusters)
    elif kind == "zeros":
        prior[random.random(clusters) < 0.4] = 0
        prior[-1] += 0.1
        if prior.min() == 0 and OBJECTIVES[call.options["objective"]].needs_positive_prior:
            call.faults.add("prior")
    elif kind == "one":
        prior = np.eye(clusters)[0]
        if OBJECTIVES[call.options["objective"]].needs_positive_prior:
            call.faults.add("prior")
    prior /= prior.sum()
    if kind == "off":
        prior *= 1 + 5e-4
    good = [prior, prior, prior.tolist(), prior[::-1].copy()[::-1], read_only(prior), torch.from_numpy(prior)]
    bad = [
        np.append(prior, 0),
        2 * prior,
        prior - 1,
        prior * np.nan,
        prior[:, None],
        0.5,
        "even",
        [None] * clusters,
    ]
    bad += [["x"] * clusters, prior + 0j, [[0.5], [0.5, 0.1]], {}, [], torch.empty(clusters, device="meta")]
    one_of(draw, call, "prior", [None] if kind == "none" else good, bad, chance=40)


def add_known(draw: st.DrawFn, call: Call, points: int, clusters: int, random: np.random.Generator) -> None:
    share = draw(st.sampled_from([0.0, 0.2, 1.0]))
    known = np.where(random.random(points) < share, random.integers(clusters, size=points), -1)
    good = [
        None,
        None,
        known,
        known.astype(np.int8),
        torch.from_numpy(known),
        read_only(known),
        known.tolist(),
    ]
    bad = [
        known + clusters + 1,
        known - clusters - 1,
        known[:, None],
        known[1:],
        known.astype(float),
        "all",
        [[1], [1, 2]],
    ]
    one_of(draw, call, "known_labels", good, [*bad, [None] * points, known.astype(bool), {}], chance=40)


def add_init(draw: st.DrawFn, call: Call, sigma: np.ndarray, random: np.random.Generator) -> None:
    points, clusters = sigma.shape
    start = random.dirichlet(np.full(clusters, draw(st.sampled_from([0.05, 1.0]))), size=points)
    one_hot = np.eye(clusters)[random.integers(clusters, size=points)]
    good = [None, None, None, start, one_hot, sigma, start.astype(np.float32), start.astype(np.float16)]
    good += [read_only(start), strided(start), torch.from_numpy(start).bfloat16(), start.tolist()]
    bad = [
        start[:, 1:],
        start[0],
        2 * start,
        start - 1,
        start * np.nan,
        one_hot.astype(int),
        "init",
        [[1.0], []],
    ]
    one_of(draw, call, "init", good, [*bad, {}, torch.eye(3).to_sparse()], chance=40)


def add_names(draw: st.DrawFn, call: Call) -> None:
    bad = ["newton", "", "a\nb", None, 3, ["em"], np.ones((2, 2))]
    one_of(draw, call, "backend", ["auto", "inline", "threads"], [*bad, "gpu"])
    for name in ("objective", "solver"):
        if wrong(draw, 60):
            call.faults.add(name)
            call.options[name] = bad[draw(st.integers(0, len(bad) - 1))]
    if wrong(draw, 60) and not call.faults:
        call.faults.add("solver")
        others = [
            name
            for name, it in SOLVERS.items()
            if call.options["objective"] not in it.abilities["host"].objectives
        ]
        call.options["solver"] = draw(st.sampled_from(others))


def check(call: Call) -> None:
    """The property."""
    options = dict(call.options)
    before = snapshot(options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if call.faults:
            with pytest.raises(ValueError) as caught:
                estimate_pseudo_labels(options.pop("probs"), **options)
            message = str(caught.value)
            assert "\n" not in message and len(message) < 300, message
            assert message.split(":")[0] in call.faults, message
            return
        result = estimate_pseudo_labels(options.pop("probs"), **options)
        judge(call, result)
    assert before == snapshot(call.options)


def snapshot(options: dict[str, Any]) -> list[bytes]:
    """The bytes of every array that was passed in."""
    tensors = [value for value in options.values() if isinstance(value, torch.Tensor)]
    tensors = [tensor.detach() for tensor in tensors if not (tensor.is_meta or tensor.is_sparse)]
    arrays = [tensor.to(torch.complex128).numpy() for tensor in tensors]
    arrays += [value for value in options.values() if isinstance(value, np.ndarray)]
    return [array.tobytes() for array in arrays]


def judge(call: Call, result: PseudoLabels) -> None:
    """Kind, simplex, limits, value and bound of an answer."""
    probs, options = call.options["probs"], call.options
    labels, dtype = result.labels, np.dtype(np.float64)
    if isinstance(probs, torch.Tensor):
        assert isinstance(labels, torch.Tensor) and not labels.requires_grad and labels.device == probs.device
        labels = labels.numpy()
        sigma = probs.detach().float().numpy() if probs.element_size() < 4 else probs.detach().numpy()
    else:
        assert isinstance(labels, np.ndarray)
        sigma = np.asarray(probs)
    dtype = np.dtype(np.float64 if sigma.dtype.itemsize >= 8 else np.float32)
    sigma = sigma.astype(dtype)
    assert labels.dtype == dtype and labels.shape == sigma.shape and labels.flags.writeable
    assert np.all(np.isfinite(labels)) and labels.min() >= 0
    np.testing.assert_allclose(labels.sum(axis=1, dtype=np.float64), 1, atol=40 * np.finfo(dtype).eps)
    known = options["known_labels"]
    known = np.full(len(sigma), -1) if known is None else np.asarray(known).astype(int)
    assert np.array_equal(labels[known >= 0], np.eye(sigma.shape[1])[known[known >= 0]])

    assert 0 <= result.iterations <= options["max_iterations"]
    assert result.reason in ("tolerance", "gap", "max_iterations")
    assert result.gap >= 0 and not np.isnan(result.objective) and result.objective > -np.inf
    assert np.isfinite(result.objective) or empty_class(labels, options)
    assert np.isfinite(result.gap) or not np.isfinite(result.objective)
    if result.reason == "gap" and options["gap_tolerance"] is not None:
        assert result.gap <= options["gap_tolerance"]
    prior = options["prior"]
    clusters = sigma.shape[1]
    prior = np.full(clusters, 1 / clusters) if prior is None else np.asarray(prior, dtype=np.float64)
    weight, slack = float(options["fairness_weight"]), float(options["prior_slack"])
    terms = {"objective": options["objective"], "prior": prior / prior.sum()}
    terms |= {"fairness_weight": weight, "prior_slack": slack}
    value = objective_reference(sigma, labels, **terms)
    rounding = 1e-9 * (1 + weight + abs(value))
    assert result.objective == pytest.approx(value, abs=rounding)

    rounding = 100 * float(np.finfo(dtype).eps) * (1 + weight + abs(value))
    other, least = another(sigma, known, terms)
    assert np.isinf(value) or value - result.gap <= other + rounding
    assert value >= least - rounding


def another(sigma: np.ndarray, known: np.ndarray, terms: dict[str, Any]) -> tuple[float, float]:
    """The value of other labels, and a bound for those of all: from "exact" where it can do this."""
    if terms["objective"] == "shannon" or terms["prior_slack"] or np.abs(sigma.sum(axis=1) - 1).max() > 9e-4:
        labels = np.where((known >= 0)[:, None], np.eye(sigma.shape[1])[known], sigma)
        labels = labels / labels.sum(axis=1, keepdims=True)
        return objective_reference(sigma, labels, **terms), -np.inf
    exact = estimate_pseudo_labels(sigma.astype(np.float64), known_labels=known, solver="exact", **terms)
    return exact.objective, exact.objective - exact.gap if np.isfinite(exact.gap) else -np.inf


def empty_class(labels: np.ndarray, options: dict[str, Any]) -> bool:
    """Whether the objective is infinite: (11) where no label is left for a wanted class, by the known labels
    or by the zeros of the start, which EM keeps."""
    given = options["init"] is not None or options["known_labels"] is not None
    return options["objective"] == "cce_plus" and given and bool(np.any(labels.mean(axis=0) == 0))


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The kernels, so that no example waits for the compiler."""
    for dtype in (np.float32, np.float64):
        for clusters, weight in ((3, 1.0), (60, 1e6)):
            for name, solver in SOLVERS.items():
                for objective in solver.abilities["host"].objectives:
                    sigma = np.full((4, clusters), 1 / clusters, dtype)
                    options = {"solver": name, "objective": objective, "fairness_weight": weight}
                    result = estimate_pseudo_labels(
                        sigma, init=sigma, max_iterations=4, tolerance=0, **options
                    )
                    assert result.gap >= 0 and np.isfinite(result.objective)


@given(call=calls())
@settings(max_examples=200)
def test_a_right_answer_or_one_clear_error(call: Call) -> None:
    check(call)


@pytest.mark.nightly
@given(call=calls())
@settings(max_examples=10_000)
def test_a_right_answer_or_one_clear_error_at_length(call: Call) -> None:
    check(call)


def test_a_read_only_array_is_not_copied() -> None:
    sigma = read_only(np.full((3, 2), 0.5))
    seen = for_kernels(sigma, np.float64)
    assert np.shares_memory(seen, sigma) and seen.flags.writeable and not sigma.flags.writeable
    del sigma
    assert np.all(seen == 0.5)  # its memory lives on
