"""One rank of tests/models/test_synced_batch_norm.py, in a process of its own.

Runs every case of FOLDER/cases.pt on its part of the batch and writes what came of it to FOLDER/RANK.pt.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from cce_ray.models.synced_batch_norm import sync_batch_norms


def mean_over_ranks(gradient: torch.Tensor) -> torch.Tensor:
    """What DistributedDataParallel makes of it."""
    total = gradient.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def outcome(case: dict[str, Any], part: slice) -> dict[str, Any]:
    """Train `case.model` for a step per entry of `case.batches`, each a list of views with slopes."""
    model = sync_batch_norms(case["model"])
    autocast = torch.autocast("cpu", torch.bfloat16) if case["bf16"] else nullcontext()
    outputs, of_inputs = [], []
    for views in case["batches"]:
        inputs = [view[part].detach().requires_grad_(case["of_inputs"]) for view, _ in views]
        with autocast:
            results = [model(own) for own in inputs]
        weight = dist.get_world_size() / len(views[0][0])  # the mean over the rank's rows, times n_r N / B
        sum(
            (y * slopes[part]).sum() * weight for y, (_, slopes) in zip(results, views, strict=True)
        ).backward()
        outputs += [result.detach() for result in results]
        of_inputs += [own.grad / dist.get_world_size() for own in inputs if own.grad is not None]
    gradients = [mean_over_ranks(parameter.grad) for parameter in model.parameters()]
    state, plain = {key: value.clone() for key, value in model.state_dict().items()}, case["plain"]
    plain.load_state_dict(state)
    everything = case["batches"][0][0][0]
    with torch.no_grad():
        evaluations = model.eval()(everything[part]), plain.eval()(everything[part])
    return {
        "outputs": outputs,
        "of_inputs": of_inputs,
        "of_parameters": gradients,
        "state": state,
        "evaluations": evaluations,
    }


def losses(case: dict[str, Any], part: slice) -> list[float]:
    """The loss curve of `case.model` under DistributedDataParallel and SGD."""
    inputs, targets = case["inputs"], case["targets"]
    model = sync_batch_norms(case["model"])
    parallel = torch.nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    curve = []
    for _ in range(case["steps"]):
        optimizer.zero_grad()
        own = torch.nn.functional.cross_entropy(parallel(inputs[part]), targets[part], reduction="sum")
        loss = own * dist.get_world_size() / len(inputs)
        loss.backward()
        optimizer.step()
        curve.append(float(mean_over_ranks(loss.detach())))
    return curve


def main(rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=ranks)
    work = torch.load(folder / "cases.pt", weights_only=False)
    starts = [sum(work["sizes"][:index]) for index in range(ranks + 1)]
    part = slice(starts[rank], starts[rank + 1])
    found = {name: outcome(case, part) for name, case in work["cases"].items()}
    found["losses"] = losses(work["training"], part)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
