"""Where and how a run computes: device, threads, precision, seed, checkpoints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from cce_ray.settings import Settings

if TYPE_CHECKING:
    import torch


class RuntimeSettings(Settings):
    """Everything that decides where a run computes, and nothing that decides what."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    threads: int = Field(default=0, ge=0, le=4096)
    """CPU threads of torch and of the pseudo-label kernels; 0: as many as this process may use. The number
    that was used stands in the resolved configuration: sums of floats depend on it."""
    workers: int = Field(default=0, ge=0, le=4096)
    """Processes of Ray Train that share the work; 0: this process alone. A batch stays the size it is: every
    worker takes its part of it."""
    min_workers: int = Field(default=0, ge=0, le=4096)
    """Fewest workers to go on with while nodes are missing (elastic); 0: all of them."""
    gpus_per_worker: float = Field(default=0.0, ge=0, le=1)
    """GPUs of a worker, or the share of one; 0: it computes on the CPU."""
    max_failures: int = Field(default=3, ge=0)
    """How often lost workers are replaced, each time from the last checkpoint."""
    storage: str = ""
    """Where workers keep checkpoints: an absolute path that all nodes see, or a URI such as s3://bucket/runs;
    empty: the output folder."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16: the network runs under autocast; losses and pseudo-labels stay in float32."""
    compile: bool = False
    """torch.compile the network."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the first run; `--seeds N` takes this one and the N - 1 after it."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """A killed run loses at most about this much work; 0: a checkpoint after every step."""
    evaluate_every: int = Field(default=0, ge=0)
    """Epochs between evaluations (score/*) during training; 0: one at the end only."""

    @model_validator(mode="after")
    def _workers_fit(self) -> RuntimeSettings:
        if self.min_workers > self.workers:
            raise ValueError(
                f"min_workers: {self.min_workers} is more than the {self.workers} runtime.workers; lower it"
            )
        for name in ("gpus_per_worker", "storage"):
            if getattr(self, name) and not self.workers:
                raise ValueError(f"{name}: only Ray's workers read it; set runtime.workers or leave it out")
        if self.storage and "://" not in self.storage and not self.storage.startswith("/"):
            raise ValueError(
                f"storage: {self.storage!r} is relative, and every node has another working directory; give "
                "an absolute path or a URI"
            )
        return self

    def torch_device(self) -> torch.device:
        """The device of this process. ValueError when cuda is asked for, here, and there is none."""
        import torch

        available = torch.cuda.is_available()
        if self.device == "cuda" and not available and not self.workers:  # workers have GPUs of their own
            raise ValueError(
                "runtime.device: cuda, but torch finds no GPU here; set runtime.device=cpu or auto"
            )
        return torch.device("cuda" if available and self.device != "cpu" else "cpu")

    def num_threads(self) -> int:
        """The setting, or the CPUs this process may use (OMP_NUM_THREADS, which Ray sets, is honoured)."""
        if self.threads:
            return self.threads
        limit = os.environ.get("OMP_NUM_THREADS", "")
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
        return min(cpus, int(limit)) if limit.isdigit() and int(limit) > 0 else cpus

    def apply(self) -> None:
        """Set torch's threads, which the pseudo-label kernels follow, and deterministic convolutions."""
        import torch

        torch.set_num_threads(self.num_threads())
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
