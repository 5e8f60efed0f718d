"""All that the training loop knows of the world around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from cce_ray.pseudo_labels import Rows
from cce_ray.training.checkpoints import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from cce_ray.training.ranks import Alone, Ranks


class Answer(Protocol):
    """What comes of work that was handed over."""

    def result(self) -> Any:
        """Wait for it."""


class Helper(Protocol):
    """Somebody who works beside the training, as an executor of `concurrent.futures` does."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Answer:
        """Have function(*arguments) computed while the caller goes on. Arrays among the arguments and in the
        result are handed over without a copy where that can be; they may be read-only."""


class HeldRows(Rows, Protocol):
    """Rows of a data set, and their labels, wherever they are."""

    def finish(self) -> list[np.ndarray]:
        """y of every piece of rows, in order, perhaps read-only; nothing else is kept."""


class Holders(Protocol):
    """Somebody who holds predictions of a whole data set and iterates EM on them."""

    def hold(
        self, pieces: Iterable[np.ndarray], first_row: int, num_points: int, fairness_weight: float
    ) -> HeldRows:
        """Take predictions over, piece after piece of whole groups, the first from `first_row` of the
        problem's `num_points` on."""


class Judge(Protocol):
    """Somebody who scores the network on the way, as a search does."""

    def due(self, epoch: int) -> bool:
        """Whether it is wanted at the end of epoch `epoch` (from 1 on)."""

    def __call__(self, probs: np.ndarray, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """More metrics of an epoch, from predictions (n, K) of the evaluation samples and the epoch's own."""


class RunContext(Protocol):
    """Where one training run happens. The loop calls it and nothing else outside itself.

    With several ranks all call everything but `progress`, which is rank 0's.
    """

    device: torch.device
    ranks: Ranks
    helper: Helper | None
    """For pseudo-labels that are estimated beside the training; None: there is nobody."""
    holders: Holders | None
    """For pseudo-labels of the whole data set; None: this process holds them."""
    judge: Judge | None
    """Who scores the network on the way; None: nobody."""

    def restored(self) -> dict[str, Any] | None:
        """The state of the checkpoint to continue from, or None."""

    def note(self, text: str) -> None:
        """Something the user should know, one line."""

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Epoch `step` is finished with these metrics, the same on all ranks but for the times."""

    def progress(self, step: int, total_steps: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        """Batch `step` of `total_steps` is done; `metrics()` reads the epoch's running means (may wait)."""

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keep this state, equal on all ranks but for the times, so that a later run can resume from it."""


def ignore(*_: Any) -> None:
    """A listener that does nothing."""


@dataclass
class LocalContext:
    """One process, one device, checkpoints in a folder."""

    device: torch.device
    folder: Path | None = None
    """Where the checkpoint goes; None: nowhere."""
    resume: bool = False
    on_epoch: Callable[[int, Mapping[str, float]], None] = ignore
    on_step: Callable[[int, int, Callable[[], Mapping[str, float]]], None] = ignore
    on_note: Callable[[str], None] = ignore
    ranks: Ranks = field(default_factory=Alone)
    helper: Helper | None = None
    holders: Holders | None = None
    judge: Judge | None = None

    def restored(self) -> dict[str, Any] | None:
        """The folder's checkpoint if the run is to be resumed and one was written."""
        path = self.folder / CHECKPOINT_FILE if self.folder else None
        return load_checkpoint(path) if self.resume and path and path.exists() else None

    def note(self, text: str) -> None:
        """Pass a note on."""
        self.on_note(text)

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Pass an epoch's metrics on."""
        self.on_epoch(step, metrics)

    def progress(self, step: int, total_steps: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        """Pass a batch's progress on."""
        self.on_step(step, total_steps, metrics)

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint atomically."""
        if self.folder:
            save_checkpoint(self.folder / CHECKPOINT_FILE, state)
