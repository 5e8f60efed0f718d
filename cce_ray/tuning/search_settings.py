"""A search as a YAML file: the fixed run, the space, where to begin, the budget; checked before it starts."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, ValidationError, field_validator

from cce_ray.config import (
    Overrides,
    RunConfig,
    assignments_of,
    flatten,
    is_name,
)
from cce_ray.files import read_yaml
from cce_ray.runs import load_run
from cce_ray.settings import Settings
from cce_ray.tuning.objectives import OBJECTIVES
from cce_ray.tuning.space import Knob, Sample, draw, in_order

Kind = Literal["int", "float"]

_SEARCHABLE_DATA = ("data.standardize", "data.norm")
"""Settings of the data that do not change what is loaded: it is loaded once, not once a trial."""
FIXED = ("name", "output_dir", "tracking.", "runtime.", "data.")
"""Settings that belong to the search and not to a trial."""


class SchedulerSettings(Settings):
    """Asynchronous successive halving (ASHA, 1810.05934) over epochs."""

    name: Literal["asha", "none"] = "asha"
    """none: every trial runs to its end."""
    grace_epochs: int = Field(default=5, ge=1)
    """No trial is stopped before this many epochs; trials are compared at this many, times the reduction
    factor, and so on."""
    reduction_factor: int = Field(default=3, ge=2)
    """One of so many trials goes on after each comparison."""

    def judged_epochs(self, epochs: int) -> list[int]:
        """The epochs at which a trial of `epochs` is scored."""
        found, epoch = [], self.grace_epochs
        while self.name == "asha" and epoch < epochs:
            found.append(epoch)
            epoch *= self.reduction_factor
        return [*found, epochs]


class FinalSettings(Settings):
    """The last round: the best trials again with fresh seeds, whose means decide."""

    top: int = Field(default=5, ge=0)
    """How many trials take part; 0: the best trial wins as it is."""
    seeds: int = Field(default=6, ge=1)
    """Seeds of each, none of them the search's."""


class SearchSettings(Settings):
    """One search space file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Of the study; the name of the file unless given."""
    run: str | None = None
    """The run that is fixed: a built-in run, or a run file relative to this one."""
    set: dict[str, Any] = Field(default_factory=dict)
    """{dotted key: value}: changes to the run."""
    space: dict[str, Knob]
    """{dotted key: range or choices}."""
    start: tuple[dict[str, Any], ...] = ()
    """Samples to try first; settings left out take the fixed run's value where the space has it."""
    trials: int = Field(default=30, ge=1)
    """How many trials must be done."""
    time_budget: float | None = Field(default=None, gt=0)
    """Seconds after which the trials end; what is running then is left to a resumption."""
    objective: str = next(iter(OBJECTIVES))
    """What is maximised."""
    embedding: Annotated[Path, Field()] | None = None
    """A .npy, .npz or .parquet file (N, D): the space in which labellings are judged; empty: the standardised
    input of embeddings, 50 principal components of the pixels of images."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs of a trial, or the share of one."""
    scheduler: SchedulerSettings = SchedulerSettings()
    """Who stops unpromising trials."""
    final: FinalSettings = FinalSettings()
    """The last round."""

    @field_validator("objective")
    @classmethod
    def _objective_exists(cls, name: str) -> str:
        if name not in OBJECTIVES:
            raise ValueError(f"{name!r} is none of {', '.join(OBJECTIVES)}")
        return name

    @field_validator("space")
    @classmethod
    def _space_has_knobs(cls, space: dict[str, Knob]) -> dict[str, Knob]:
        if not space:
            raise ValueError(
                "no setting to search; add a line such as method.fairness_weight: "
                "{low: 1, high: 100, log: true}"
            )
        return space


class Search:
    """A checked search: its settings, the fixed run, and how a sample becomes a configuration."""

    def __init__(self, settings: SearchSettings, base: RunConfig) -> None:
        """Raises ValueError, one line, for a setting that does not exist or a value it may not have."""
        self.settings, self.base = settings, base
        self._values = base.to_dict()
        self.kinds: dict[str, Kind] = {}
        for key in in_order(settings.space):
            self._check(key, settings.space[key])
        self.start = [self._complete(sample) for sample in settings.start]

    def config(self, sample: Mapping[str, Any]) -> RunConfig:
        """The run of a sample. ValueError, one line, if its parts do not fit."""
        return self.base.with_(sample)

    def draw(self, trial: Any) -> Sample:
        """A sample from the space."""
        return draw(self.settings.space, self.kinds, trial)

    @property
    def judged_epochs(self) -> list[int]:
        """The epochs at which a trial is scored; relative to the fixed run's epochs."""
        return self.settings.scheduler.judged_epochs(self.base.optimizer.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Everything that makes two searches the same one."""
        wanted = self.settings.model_dump(mode="json", exclude={"trials", "time_budget", "run", "set"})
        return {"search": wanted, "run": self.base.to_dict()}

    def _check(self, key: str, knob: Knob) -> None:
        if (key.startswith(FIXED) and key not in _SEARCHABLE_DATA) or key == "optimizer.epochs":
            raise ValueError(f"space.{key}: belongs to the whole search; fix it with set or --set instead")
        needed = self._conditions(knob)
        kind = _field_kind(self.config(needed), key)
        if kind == "int" and not knob.choices:
            whole = [end for end in knob.ends() if float(end) == int(end)]
            if len(whole) < 2:
                raise ValueError(f"space.{key}: low {knob.low} and high {knob.high} must be whole numbers")
        if kind == "int" or kind == "float":
            self.kinds[key] = kind
        elif not knob.choices:
            raise ValueError(f"space.{key}: not a number; give choices instead of low and high")
        for end in knob.ends():
            value = int(end) if kind == "int" and not knob.choices else end
            try:
                self.config({**needed, key: value})
            except ValueError as error:
                raise ValueError(f"space.{key}: {value!r} is not allowed: {error}") from None

    def _conditions(self, knob: Knob) -> Sample:
        """Settings under which a conditional one is read."""
        sample: Sample = {}
        for key, wanted in knob.when.items():
            other = self.settings.space[key]
            sample |= self._conditions(other)
            sample[key] = wanted[0] if isinstance(wanted, tuple) else wanted
            if other.choices and sample[key] not in other.choices:
                raise ValueError(
                    f"space: when {key} is {sample[key]!r}, which its choices have not; correct it"
                )
        return sample

    def _complete(self, given: Mapping[str, Any]) -> Sample:
        """A starting sample with what it leaves out, from the fixed run; ValueError outside the space."""
        unknown = set(given) - set(self.settings.space)
        if unknown:
            raise ValueError(f"start: {sorted(unknown)[0]} is not in the space; add it there or leave it out")
        fixed = flatten(self._values)
        sample: Sample = {}
        for key in in_order(self.settings.space):
            knob = self.settings.space[key]
            if not knob.holds(sample):
                continue
            value = given.get(key, fixed.get(key))
            inside = (
                value in knob.choices
                if knob.choices
                else (
                    value is not None and knob.low <= value <= knob.high  # type: ignore[operator]
                )
            )
            if not inside:
                raise ValueError(
                    f"start: {key}={value!r} lies outside its range; widen it or change the value"
                )
            sample[key] = value
        self.config(sample)
        return sample


def _field_kind(config: RunConfig, key: str) -> Literal["int", "float", "other"]:
    """int, float or other: the type of a setting. ValueError for an unknown one."""
    section, _, name = key.partition(".")
    part = getattr(config, section, None)
    if is_name(key):
        return "other"
    if not isinstance(part, Settings) or name not in type(part).model_fields:
        raise unknown(config, key)
    annotation: Any = type(part).model_fields[name].annotation
    union = get_origin(annotation) in (Union, types.UnionType)
    kinds = get_args(annotation) if union else (annotation,)
    found = {get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds} - {type(None)}
    if found == {int}:
        return "int"
    return "float" if float in found and not found - {int, float} else "other"


def unknown(config: RunConfig, key: str) -> ValueError:
    """The configuration's own message for a setting it does not have."""
    try:
        config.with_({key: 0})
    except ValueError as error:
        return ValueError(f"space.{key}: {error}")
    return ValueError(f"space.{key}: no single setting; name one of its parts")


def builtin_spaces() -> Path:
    """Where the named spaces lie: inside an installed package, or in the repository's search_spaces."""
    installed = Path(__file__).parent / "builtin"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "search_spaces"


def load_search(space: str, overrides: Overrides = (), **changes: Any) -> Search:
    """The search of a file or a built-in space, with overrides of the fixed run and other settings
    (`trials=...`) that are not None.

    Raises ValueError, one line, for anything that is wrong with it.
    """
    path = Path(space)
    if not path.suffix and not path.exists():
        path = builtin_spaces() / f"{space}.yaml"
        if not path.exists():
            known = ", ".join(sorted(file.stem for file in builtin_spaces().glob("*.yaml")))
            raise ValueError(f"{space}: neither a search space file nor a built-in one; built in are {known}")
    values = read_yaml(path)
    values = (
        {"name": path.stem} | values | {key: value for key, value in changes.items() if value is not None}
    )
    try:
        settings = SearchSettings.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path.name}: {_first_problem(error)}") from None
    run = settings.run
    if run and Path(run).suffix:
        run = str(path.parent / run)
    base, _ = load_run(run, dict(settings.set) | assignments_of(overrides))
    return Search(settings, base.with_({"name": settings.name}))


def _first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: key, value, reason."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{key}: missing; add it"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown; leave it out or correct its name"
    reason = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    return f"{key}: {reason}" + ("" if isinstance(value, dict) else f" (got {value!r})")
