"""Who races for a certified gap: the paper's PGD and EM, every solver of ours, a GPU where there is one."""

from __future__ import annotations

from cce_ray.experiments.solver_race.baselines import fixed_step_pgd, paper_em
from cce_ray.experiments.solver_race.race import OBJECTIVE, Baseline, Contender, Ours
from cce_ray.pseudo_labels import Task, estimate_pseudo_labels, num_threads, solvers_for

_PAPER_STEPS: dict[int, tuple[float, ...]] = {2: (1, 10, 20)}
_OTHER_PAPER_STEPS: tuple[float, ...] = (0.1, 1, 5)


def contenders(num_clusters: int) -> list[Contender]:
    """Everyone who races at this number of clusters: the paper's PGD and EM, then ours."""
    steps = _PAPER_STEPS.get(num_clusters, _OTHER_PAPER_STEPS)
    racers: list[Contender] = [_pgd(number, step) for number, step in enumerate(steps, 1)]
    racers.append(
        Baseline(
            {"contender": "paper's EM", "kind": "paper", "threads": 1},
            lambda problem, labels, n: bool(
                paper_em(problem.probs, labels, problem.prior, problem.fairness_weight, n)
            ),
        )
    )
    able = solvers_for(Task(OBJECTIVE))
    for solver in [*able, "auto"]:
        racers.append(_ours(solver, "inline", solver, 1))
        if num_threads() > 1:
            racers.append(_ours(solver, "threads", f"{solver}, {num_threads()} threads", num_threads()))
    if _gpu_works():
        racers.append(_ours("em", "gpu", "em, GPU", 1))
    return racers


def _gpu_works() -> bool:
    """Whether there is a GPU, and a backend for it."""
    import torch

    if not torch.cuda.is_available():
        return False
    try:
        probs = torch.full((2, 2), 0.5, device="cuda")
        estimate_pseudo_labels(probs, fairness_weight=1.0, solver="em", backend="gpu", max_iterations=1)
    except ValueError:
        return False
    return True


def _pgd(number: int, step: float) -> Baseline:
    return Baseline(
        {"contender": f"paper's PGD, η{number}", "kind": "paper", "threads": 1, "step": step},
        lambda problem, labels, n: bool(
            fixed_step_pgd(problem.probs, labels, problem.prior, problem.fairness_weight, step, n)
        ),
    )


def _ours(solver: str, backend: str, name: str, threads: int) -> Ours:
    facts = {"contender": name, "kind": "ours", "threads": threads, "solver": solver, "backend": backend}
    return Ours(facts, solver, backend)
