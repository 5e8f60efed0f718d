import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from pseudo_label_problems import known_cases, softmax

from cce_ray.pseudo_labels import OBJECTIVES, SOLVERS, PseudoLabelSettings, estimate_pseudo_labels

PROBS = softmax(2 * np.random.default_rng(1).normal(size=(90, 5)))


def estimate(probs: Any = PROBS, **options: Any) -> Any:
    return estimate_pseudo_labels(probs, **({"fairness_weight": 10.0} | options))


class TestKinds:
    def test_numpy_in_numpy_out_and_the_input_unchanged(self) -> None:
        for dtype in (np.float32, np.float64):
            probs = PROBS.astype(dtype)
            before = probs.copy()
            labels = estimate(probs).labels
            assert isinstance(labels, np.ndarray) and labels.dtype == dtype
            assert np.array_equal(probs, before) and not np.shares_memory(labels, probs)

    def test_torch_in_torch_out(self) -> None:
        probs = torch.from_numpy(PROBS).requires_grad_()
        labels = estimate(probs).labels
        assert isinstance(labels, torch.Tensor) and labels.dtype == torch.float64
        assert not labels.requires_grad
        assert np.array_equal(labels.numpy(), estimate(PROBS).labels)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_single(self, dtype: torch.dtype) -> None:
        probs = torch.from_numpy(PROBS).to(dtype)
        labels = estimate(probs).labels
        assert labels.dtype == torch.float32
        single = probs.float() / probs.float().sum(dim=1, keepdim=True)
        torch.testing.assert_close(labels, estimate(single).labels, atol=1e-4, rtol=0)
        assert estimate(PROBS.astype(np.float16)).labels.dtype == np.float32

    def test_strided_and_foreign_byte_order(self) -> None:
        expected = estimate().labels
        assert np.array_equal(estimate(np.asfortranarray(PROBS)).labels, expected)
        assert np.array_equal(estimate(np.repeat(PROBS, 2, axis=0)[::2]).labels, expected)
        assert np.array_equal(estimate(PROBS.astype(">f8")).labels, expected)
        assert np.array_equal(estimate(torch.from_numpy(PROBS.T.copy()).T).labels.numpy(), expected)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_cuda_tensors_stay_there_or_go_through_the_host_and_back(self) -> None:
        probs = torch.from_numpy(PROBS).cuda()
        for backend in ("auto", "gpu", "threads"):
            labels = estimate(probs, backend=backend).labels
            assert labels.is_cuda
            np.testing.assert_allclose(labels.cpu().numpy(), estimate().labels, atol=1e-6)

    def test_the_backend_of_devices_gives_what_the_others_give(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Lets it work on the host: with torch's operators, since triton is loaded before.
        pytest.importorskip("triton")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        known = np.where(np.arange(len(PROBS)) % 9 == 0, 1, -1)
        options = {"max_iterations": 30, "prior": np.array([0.4, 0.3, 0.1, 0.1, 0.1]), "known_labels": known}
        expected = estimate(**options)
        found = estimate(torch.from_numpy(PROBS), backend="gpu", **options)
        assert isinstance(found.labels, torch.Tensor) and found.labels.dtype == torch.float64
        np.testing.assert_allclose(found.labels.numpy(), expected.labels, atol=1e-8)
        assert found.objective == pytest.approx(expected.objective, abs=1e-9)
        assert found.gap == pytest.approx(expected.gap, abs=1e-6)
        assert (found.iterations, found.reason) == (expected.iterations, expected.reason)
        with pytest.raises(ValueError, match="probs: row 3 holds NaN"):
            estimate(torch.from_numpy(PROBS).index_fill(0, torch.tensor(3), torch.nan), backend="gpu")

    def test_options_may_be_tensors(self) -> None:
        known = np.full(len(PROBS), -1)
        known[3] = 2
        prior = np.array([0.4, 0.3, 0.1, 0.1, 0.1])
        expected = estimate(known_labels=known, prior=prior, init=PROBS).labels
        found = estimate(
            torch.from_numpy(PROBS),
            known_labels=torch.from_numpy(known),
            prior=torch.from_numpy(prior),
            init=torch.from_numpy(PROBS),
        ).labels
        assert np.array_equal(found.numpy(), expected)


class TestStopping:
    def test_iteration_limit(self) -> None:
        result = estimate(max_iterations=7, tolerance=0)
        assert (result.iterations, result.reason) == (7, "max_iterations")

    def test_tolerance_is_the_largest_change_of_a_label(self) -> None:
        result = estimate(max_iterations=1000, tolerance=1e-3)
        assert result.reason == "tolerance"
        last = estimate(max_iterations=result.iterations, tolerance=0).labels
        before = [estimate(max_iterations=result.iterations - n, tolerance=0).labels for n in (1, 2)]
        assert np.abs(last - before[0]).max() <= 1e-3 < np.abs(before[0] - before[1]).max()

    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_gap(self, objective: str) -> None:
        result = estimate(objective=objective, max_iterations=5000, tolerance=0, gap_tolerance=1e-2)
        assert result.reason == "gap" and result.gap <= 1e-2

    def test_the_optimum_is_a_fixed_point(self) -> None:
        case = next(known_cases())
        optimum = case.estimate(max_iterations=5000, tolerance=0)
        again = case.estimate(init=optimum.labels, tolerance=1e-6)
        assert again.iterations == 1


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_lowers_each_objective_that_it_claims(solver: str) -> None:
    assert SOLVERS[solver].abilities["host"].objectives
    for objective in SOLVERS[solver].abilities["host"].objectives:
        start = estimate(objective=objective, solver=solver, max_iterations=0)
        result = estimate(objective=objective, solver=solver, max_iterations=50)
        assert result.objective < start.objective
        assert result.gap < start.gap


def with_row(values: list[float]) -> np.ndarray:
    probs = PROBS.copy()
    probs[7] = values
    return probs


BAD = {
    "sum": ({"probs": with_row([0.5, 0.1, 0.1, 0.1, 0.1])}, "probs: row 7 sums to 0.9"),
    "nan": ({"probs": with_row([np.nan, 0.4, 0.2, 0.2, 0.2])}, "probs: row 7 holds NaN"),
    "infinite": ({"probs": with_row([np.inf, 0.4, 0.2, 0.2, 0.2])}, "probs: row 7 holds NaN or inf"),
    "negative": ({"probs": with_row([-0.5, 0.6, 0.3, 0.3, 0.3])}, "probs: row 7 holds -0.5 < 0"),
    "logits": ({"probs": np.log(PROBS)}, "softmax"),
    "integers": ({"probs": np.eye(3, dtype=int)}, "probs: dtype int64"),
    "one_cluster": ({"probs": np.ones((4, 1))}, "at least 2 clusters"),
    "vector": ({"probs": np.ones(4) / 4}, r"probs: shape \(4,\)"),
    "no_points": ({"probs": np.ones((0, 4))}, "probs: shape"),
    "ragged": ({"probs": [[0.5, 0.5], [1.0]]}, "probs: not a rectangular array"),
    "weight_zero": ({"fairness_weight": 0.0}, "fairness_weight: 0.0"),
    "weight_negative": ({"fairness_weight": -1.0}, "fairness_weight: -1.0"),
    "weight_nan": ({"fairness_weight": float("nan")}, "fairness_weight: nan"),
    "weight_text": ({"fairness_weight": "10"}, "fairness_weight: '10'"),
    "prior_shape": ({"prior": np.ones(4) / 4}, r"prior: shape \(4,\)"),
    "prior_sum": ({"prior": np.ones(5)}, "prior: sums to 5"),
    "prior_negative": ({"prior": np.array([-0.2, 0.3, 0.3, 0.3, 0.3])}, "prior: .* smallest -0.2"),
    "prior_zero": ({"prior": np.array([0, 0.25, 0.25, 0.25, 0.25]), "objective": "cce"}, "prior: 0 for"),
    "prior_nan": ({"prior": np.array([np.nan, 0.25, 0.25, 0.25, 0.25])}, "prior: sums to nan"),
    "slack_negative": ({"prior_slack": -0.1}, "prior_slack: -0.1 is not a number >= 0"),
    "slack_nan": ({"prior_slack": float("nan")}, "prior_slack: nan"),
    "slack_infinite": ({"prior_slack": float("inf")}, "prior_slack: inf"),
    "slack_text": ({"prior_slack": "0.1"}, "prior_slack: '0.1'"),
    "known_high": ({"known_labels": np.full(90, 5)}, "known_labels: 5 at row 0"),
    "known_low": ({"known_labels": np.full(90, -2)}, "known_labels: -2 at row 0"),
    "known_length": ({"known_labels": np.zeros(4, dtype=int)}, r"known_labels: shape \(4,\)"),
    "known_float": ({"known_labels": np.zeros(90)}, "known_labels: dtype float64"),
    "init_shape": ({"init": PROBS[:4]}, "init: shape"),
    "init_sum": ({"init": 2 * PROBS}, "init: row 0 sums to 2"),
    "objective": ({"objective": "ce"}, "objective: 'ce' is unknown; choose one of cce_plus, cce, shannon"),
    "solver": ({"solver": "newton"}, "solver: 'newton' is unknown; choose one of auto, em"),
    "combination": ({"objective": "cce", "solver": "em"}, "solver: 'em' cannot minimise 'cce'; use exact"),
    "shannon_pgd": ({"objective": "shannon", "solver": "pgd"}, "use mirror"),
    "backend": ({"backend": "tpu"}, "backend: 'tpu' is unknown; choose one of auto, gpu, inline, threads"),
    "backend_gpu": ({"backend": "gpu"}, "backend: 'gpu' needs probs as a tensor on a GPU"),
    "backend_gpu_gap": ({"backend": "gpu", "gap_tolerance": 0.1}, "backend: 'gpu' does EM for 'cce_plus'"),
    "backend_gpu_pgd": ({"backend": "gpu", "solver": "pgd"}, "backend: 'gpu' does EM for 'cce_plus'"),
    "iterations": ({"max_iterations": -1}, "max_iterations: -1"),
    "iterations_type": ({"max_iterations": 1.5}, "max_iterations: 1.5"),
    "tolerance": ({"tolerance": float("nan")}, "tolerance: nan"),
    "gap_tolerance": ({"gap_tolerance": -1.0}, "gap_tolerance: -1.0"),
}


@pytest.mark.parametrize("options, message", BAD.values(), ids=BAD.keys())
def test_bad_input_gets_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        estimate(**options)
    assert "\n" not in str(caught.value)


def test_sums_are_judged_by_the_precision_they_came_in() -> None:
    probs = torch.tensor([[0.5, 0.50390625], [0.25, 0.75]])  # all exact in bfloat16
    assert estimate(probs.bfloat16()).iterations > 0
    with pytest.raises(ValueError, match=r"row 0 sums to 1\.003"):
        estimate(probs)


def test_settings_do_the_same() -> None:
    settings = PseudoLabelSettings(max_iterations=5, tolerance=0)
    found = settings.estimate(PROBS, objective="cce_plus", fairness_weight=10.0)
    assert found.iterations == 5
    assert np.array_equal(found.labels, estimate(max_iterations=5, tolerance=0).labels)
    for wrong in ({"solver": "newton"}, {"tolerance": -1}, {"max_iterations": 0}, {"steps": 3}):
        with pytest.raises(ValueError):
            PseudoLabelSettings(**wrong)


def test_importing_the_settings_loads_no_compiler_and_no_torch() -> None:
    code = (
        "import sys, cce_ray.pseudo_labels as p; sys.exit(any(m in sys.modules for m in ('numba', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
