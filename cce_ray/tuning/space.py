"""Search spaces as data: distributions of dotted settings, conditions between them, checked before anything
starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from pydantic import Field, model_validator

from cce_ray.settings import Settings

Scalar = bool | int | float | str | None
Sample = dict[str, Any]
"""{dotted key: value} of one configuration."""


class Suggest(Protocol):
    """The part of `optuna.Trial` that draws a sample."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number in [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number in [low, high]."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of the choices."""


class Knob(Settings):
    """The values that a setting may take: a range, or a list of choices."""

    low: int | float | None = None
    """Smallest value of a range."""
    high: int | float | None = None
    """Largest value of a range."""
    log: bool = False
    """Draw the logarithm evenly."""
    choices: tuple[Scalar, ...] = ()
    """The values of a list."""
    when: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """{dotted key: value, or values}: searched only in samples where these other settings have these."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Knob:
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices exclude low, high and log; leave one of the two out")
            if len(set(map(repr, self.choices))) < len(self.choices):
                raise ValueError(f"choices: {list(self.choices)} holds a value twice; write each once")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is more than high {self.high:g}; exchange them")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} has no logarithm; give a positive low, or leave log out")
        return self

    def ends(self) -> list[Any]:
        """The values that decide whether all are allowed."""
        return list(self.choices) if self.choices else [self.low, self.high]

    def draw(self, key: str, trial: Suggest, kind: Literal["int", "float"]) -> Any:
        """A value for `key`."""
        if self.choices:
            return trial.suggest_categorical(key, list(self.choices))
        assert self.low is not None
        assert self.high is not None
        if kind == "int":
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(key, float(self.low), float(self.high), log=self.log)

    def holds(self, sample: Mapping[str, Any]) -> bool:
        """Whether the setting is searched in a sample, of which the settings it depends on are drawn."""
        return all(
            key in sample and sample[key] in (wanted if isinstance(wanted, tuple) else (wanted,))
            for key, wanted in self.when.items()
        )


def in_order(space: Mapping[str, Knob]) -> list[str]:
    """The keys, those that others depend on first.

    Raises ValueError for a condition on a setting that is not searched, or a circle.
    """
    ordered: list[str] = []
    waiting = dict(space)
    while waiting:
        ready = [key for key, knob in waiting.items() if all(other in ordered for other in knob.when)]
        if not ready:
            key, knob = next(iter(waiting.items()))
            missing = [other for other in knob.when if other not in space]
            problem = f"{missing[0]} is not searched" if missing else "its conditions go in a circle"
            raise ValueError(f"space.{key}.when: {problem}; name other searched settings")
        ordered += ready
        for key in ready:
            del waiting[key]
    return ordered


def draw(space: Mapping[str, Knob], kinds: Mapping[str, Literal["int", "float"]], trial: Suggest) -> Sample:
    """A sample; settings whose condition does not hold are left out."""
    sample: Sample = {}
    for key in in_order(space):
        if space[key].holds(sample):
            sample[key] = space[key].draw(key, trial, kinds.get(key, "float"))
    return sample


def distributions(
    space: Mapping[str, Knob], kinds: Mapping[str, Literal["int", "float"]], sample: Mapping[str, Any]
) -> dict[str, Any]:
    """Optuna's distribution of every setting in a sample."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for key in sample:
        knob = space[key]
        if knob.choices:
            found[key] = CategoricalDistribution(list(knob.choices))
        elif kinds.get(key) == "int":
            assert knob.low is not None
            assert knob.high is not None
            found[key] = IntDistribution(int(knob.low), int(knob.high), log=knob.log)
        else:
            assert knob.low is not None
            assert knob.high is not None
            found[key] = FloatDistribution(float(knob.low), float(knob.high), log=knob.log)
    return found
