"""What a run tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Listener:
    """Silent by default; the command line shows a progress bar instead."""

    def note(self, text: str) -> None:
        """Something the user should know, one line."""

    def warn(self, text: str) -> None:
        """Something the user should act on, one line."""

    def seed(self, seed: int, number: int, count: int) -> None:
        """Run `number` of `count` starts, with this seed."""

    def step(self, step: int, total_steps: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        """A batch is done; `metrics()` reads the running means."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch is done."""
