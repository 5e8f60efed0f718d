"""All that the training loop knows of the world around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from cce_ray.training.checkpoints import save_checkpoint


class RunContext(Protocol):
    """Where one training run happens. The loop calls it and nothing else outside itself."""

    device: torch.device

    @property
    def resume_from(self) -> Path | None:
        """A checkpoint to continue from, or None."""

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Epoch `step` is finished with these metrics."""

    def progress(self, step: int, total_steps: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        """Batch `step` of `total_steps` is done; `metrics()` reads the epoch's running means (may wait)."""

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keep this state, so that a later run can resume from it."""


def ignore(*_: Any) -> None:
    """A listener that does nothing."""


@dataclass
class LocalContext:
    """One process, one device, checkpoints in a folder."""

    device: torch.device
    folder: Path | None = None
    """Checkpoints go to folder/checkpoint.pt; None: nowhere."""
    resume: bool = False
    on_epoch: Callable[[int, Mapping[str, float]], None] = ignore
    on_step: Callable[[int, int, Callable[[], Mapping[str, float]]], None] = ignore

    @property
    def resume_from(self) -> Path | None:
        """The folder's checkpoint if the run is to be resumed and one was written."""
        path = self.folder / "checkpoint.pt" if self.folder else None
        return path if self.resume and path and path.exists() else None

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Pass an epoch's metrics on."""
        self.on_epoch(step, metrics)

    def progress(self, step: int, total_steps: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        """Pass a batch's progress on."""
        self.on_step(step, total_steps, metrics)

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint atomically."""
        if self.folder:
            save_checkpoint(self.folder / "checkpoint.pt", state)
