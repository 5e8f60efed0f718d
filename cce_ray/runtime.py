"""Where and how a run computes: device, threads, precision, seed, checkpoints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from pydantic import Field

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

    def torch_device(self) -> torch.device:
        """The device to compute on. ValueError when cuda is asked for and there is none."""
        import torch

        available = torch.cuda.is_available()
        if self.device == "cuda" and not available:
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
