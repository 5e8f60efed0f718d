"""What a run tells whoever watches it."""

from __future__ import annotations

import logging
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


class LogListener(Listener):
    """Notes and warnings go to the logger "cce_ray", for programs."""

    def note(self, text: str) -> None:
        """At level INFO."""
        logging.getLogger("cce_ray").info(text)

    def warn(self, text: str) -> None:
        """At level WARNING, which Python shows on stderr unless told otherwise."""
        logging.getLogger("cce_ray").warning(text)
