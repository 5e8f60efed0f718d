"""One run's configuration: YAML run < `--set key=value`, checked, frozen."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from cce_ray.data import DATASETS, DataSettings, Digits
from cce_ray.data.augmentation import AugmentationSettings
from cce_ray.methods import METHODS, CCEPlus, MethodSettings
from cce_ray.models import MODELS, Linear
from cce_ray.optimizer import OptimizerSettings
from cce_ray.pseudo_labels import OBJECTIVES, SOLVERS, PseudoLabelSettings
from cce_ray.runtime import RuntimeSettings
from cce_ray.settings import Settings
from cce_ray.supervision import SupervisionSettings
from cce_ray.tracking import TrackingSettings
from cce_ray.typed_values import plain_types, typed_value
from cce_ray.yaml_files import read_yaml

REGISTRIES: dict[str, Mapping[str, type[Settings]]] = {"data": DATASETS, "model": MODELS, "method": METHODS}
"""Sections whose keys depend on their `name`."""


class RunConfig(Settings):
    """Everything that decides a run. The dotted keys of its fields are used everywhere a knob is named."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run; letters, digits, dot, dash and underscore."""
    output_dir: str = ""
    """Folder for everything the run writes; empty: cce_output/<name>, or the next free <name>-2, ..."""
    data: Annotated[Union[tuple(DATASETS.values())], Field(discriminator="name")] = Digits()  # type: ignore[valid-type]  # noqa: UP007
    """What is clustered."""
    model: Annotated[Union[tuple(MODELS.values())], Field(discriminator="name")] = Linear()  # type: ignore[valid-type]  # noqa: UP007
    """The network."""
    method: Annotated[Union[tuple(METHODS.values())], Field(discriminator="name")] = CCEPlus()  # type: ignore[valid-type]  # noqa: UP007
    """The clustering method and its weights."""
    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    """How pseudo-labels are estimated."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """Strengths of the augmentation; empty ones take the data set's preset."""
    supervision: SupervisionSettings = SupervisionSettings()
    """Known labels of a few samples, where there are some."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """Optimiser, schedule, epochs and batch size."""
    runtime: RuntimeSettings = RuntimeSettings()
    """Device, threads, precision, seed, checkpoints."""
    tracking: TrackingSettings = TrackingSettings()
    """MLflow."""

    @model_validator(mode="after")
    def _parts_fit(self) -> RunConfig:
        method: MethodSettings = self.method
        if method.required_model not in (None, self.model.name):
            raise ValueError(
                f"model.name: method {method.name} works with model {method.required_model} only, "
                f"got {self.model.name}; set model={method.required_model}"
            )
        if method.scopes and self.pseudo_labels.scope not in method.scopes:
            raise ValueError(
                f"pseudo_labels.scope: method {method.name} supports {sorted(method.scopes)}, "
                f"got {self.pseudo_labels.scope!r}"
            )
        able = [name for name, solver in SOLVERS.items() if method.objective in solver.objectives]
        if method.objective and self.pseudo_labels.solver not in ("auto", *able):
            raise ValueError(
                f"pseudo_labels.solver: {self.pseudo_labels.solver!r} cannot solve for method {method.name}; "
                f"set it to auto or {' or '.join(able)}"
            )
        self._prior_fits()
        self._backend_fits()
        self._workers_fit()
        self._supervision_fits()
        return self

    def _supervision_fits(self) -> None:
        wanted, method = self.supervision, self.method
        if wanted.ratio and wanted.labels_path:
            raise ValueError(
                "supervision.ratio: with supervision.labels_path there are two sources of known labels; "
                "leave one out"
            )
        if method.needs_known_labels and not wanted.enabled:
            raise ValueError(
                f"supervision.ratio: 0, but method {method.name} learns from known labels alone; set "
                "supervision.ratio or supervision.labels_path"
            )
        if wanted.enabled and method.required_model:
            raise ValueError(
                f"supervision.ratio: method {method.name} cannot be told labels; leave it out or choose a "
                "method that trains a network"
            )

    def _workers_fit(self) -> None:
        chosen, workers = self.pseudo_labels, self.runtime.workers
        if chosen.backend == "ray" and not workers:
            raise ValueError(
                "pseudo_labels.backend: ray, but the run has no workers; set runtime.workers (--workers) or "
                "pseudo_labels.backend=auto"
            )
        if workers and self.method.required_model:
            raise ValueError(
                f"runtime.workers: method {self.method.name} is fitted by one process; leave it out"
            )
        if chosen.backend == "ray" and self.method.scopes and not self.method.objective:
            raise ValueError(
                f"pseudo_labels.backend: ray, but method {self.method.name} labels a batch in no time; leave "
                "it out"
            )
        spread = chosen.scope == "dataset" and (workers > 1 or chosen.backend == "ray")
        able = self.method.objective == "cce_plus" and chosen.solver in ("auto", "em")
        if spread and self.method.scopes and (not able or self.supervision.enabled):
            raise ValueError(
                "pseudo_labels.scope: dataset is solved by EM for method cce_plus without supervision when "
                "workers share it; set method=cce_plus and pseudo_labels.solver=em, or leave "
                "runtime.workers out"
            )

    def _backend_fits(self) -> None:
        chosen = self.pseudo_labels
        if chosen.backend == "gpu" and (
            self.method.objective != "cce_plus"
            or chosen.solver not in ("auto", "em")
            or chosen.gap_tolerance is not None
            or chosen.prior_slack > 0
        ):
            raise ValueError(
                "pseudo_labels.backend: gpu does EM for method cce_plus, without gap_tolerance and "
                "prior_slack; leave these out or set pseudo_labels.backend=auto"
            )

    def _prior_fits(self) -> None:
        method, wanted = self.method, self.pseudo_labels
        for key in ("prior", "prior_slack"):
            if not method.objective and getattr(wanted, key) != type(wanted).model_fields[key].default:
                raise ValueError(
                    f"pseudo_labels.{key}: method {method.name} does not read it; leave it out or set method="
                    f"{' or '.join(name for name, kind in METHODS.items() if kind.objective)}"
                )
        if isinstance(wanted.prior, str):
            return
        if self.data.num_clusters:
            wanted.check_clusters(self.data.num_clusters)
        if method.objective and min(wanted.prior) == 0 and OBJECTIVES[method.objective].needs_positive_prior:
            raise ValueError(
                f"pseudo_labels.prior: 0 for cluster {wanted.prior.index(0)} makes the loss of method "
                f"{method.name} infinite; set method=cce_plus or give positive probabilities"
            )

    def resolved(self) -> RunConfig:
        """The same run with the data set's augmentation and this machine's thread count filled in."""
        data: DataSettings = self.data
        return self.model_copy(
            update={
                "augmentation": self.augmentation.resolved(data.augmentation_preset),
                "runtime": self.runtime.model_copy(update={"threads": self.runtime.num_threads()}),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, as in a YAML run."""
        return self.model_dump(mode="json")

    def describe(self) -> dict[str, str]:
        """{dotted key: what it means} of every key that this run's data set, model and method have."""
        meanings: dict[str, str] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            inner = type(value).model_fields.items() if isinstance(value, Settings) else ()
            meanings |= {f"{name}.{key}": leaf.description or f"Which {name}." for key, leaf in inner}
            if not inner:
                meanings[name] = field.description or ""
        return {key: " ".join(meaning.split()) for key, meaning in meanings.items()}

    def to_yaml(self) -> str:
        """A YAML run that `cce train` accepts."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> {dotted key: value}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


Overrides = Iterable[str] | Mapping[str, Any]
"""Changes to a run: `key=value` texts as a person types them, or {dotted key: value}."""


def load_config(path: Path | None = None, overrides: Overrides = ()) -> tuple[RunConfig, list[str]]:
    """The configuration of a YAML run with overrides, and notes on what was dropped or switched.

    Raises ValueError (one line, with the dotted key and the remedy) for an unknown key or a bad value.
    """
    values: dict[str, Any] = read_yaml(path) if path else {}
    if path:
        values.setdefault("name", path.stem)
    notes: list[str] = []
    assignments = assignments_of(overrides)
    # A switched name comes first, whatever the order on the command line: the other keys belong to it.
    for key in sorted(assignments, key=lambda key: not is_name(key)):
        notes += assign(values, key, assignments[key])
    notes += follow_required_model(values)
    return validate(values), notes


def assignments_of(overrides: Overrides) -> dict[str, Any]:
    """Overrides as {dotted key: value}. Raises ValueError for a text that is not key=value."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    return dict(parse_assignment(text) for text in overrides)


def parse_assignment(text: str) -> tuple[str, Any]:
    """'a.b=value' -> ('a.b', value), read by the type of the setting: see `typed_value`.

    Raises:
        ValueError: no '=', or no key.
    """
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator or not key:
        raise ValueError(f"--set {text}: write it as key=value, for example --set optimizer.epochs=20")
    return key, typed_value(value, accepted_types(key))


@cache
def accepted_types(key: str) -> frozenset[Any]:
    """The types that a dotted key takes, of every data set, model and method that has it; str for a choice of
    texts; empty for an unknown key."""
    section, _, name = key.partition(".")
    if is_name(key):
        return frozenset({str})
    if section not in RunConfig.model_fields:
        return frozenset()
    field = RunConfig.model_fields[section]
    if not name:
        return frozenset(plain_types(field.annotation))
    kinds: list[Any] = list(REGISTRIES[section].values()) if section in REGISTRIES else [field.annotation]
    fields = [
        kind.model_fields[name]
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name in kind.model_fields
    ]
    return frozenset(member for leaf in fields for member in plain_types(leaf.annotation))


def is_name(key: str) -> bool:
    """Whether a dotted key switches a data set, model or method."""
    section, _, rest = key.partition(".")
    return section in REGISTRIES and rest in ("", "name")


def section_of(values: dict[str, Any], section: str) -> dict[str, Any]:
    """The section's own mapping in `values`, made if absent; `data: NAME` is short for its name."""
    current = values.get(section)
    if current is None or isinstance(current, str):
        current = values[section] = {"name": current} if current else {}
    if not isinstance(current, dict):
        raise ValueError(f"{section}: a mapping of settings is wanted, got {current!r}")
    return current


def assign(values: dict[str, Any], key: str, value: Any) -> list[str]:
    """Set a dotted key; switching a name drops the keys which the new one does not have, and says so."""
    if is_name(key):
        return switch(values, key.partition(".")[0], value)
    section, _, rest = key.partition(".")
    if not rest:
        values[section] = value
        return []
    target = section_of(values, section)
    *parents, last = rest.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise ValueError(f"{key}: {parent} is a single value, not a section")
    target[last] = value
    return []


def switch(values: dict[str, Any], section: str, name: Any) -> list[str]:
    """Set a section's name, keeping only the keys that belong to the new one."""
    current = section_of(values, section)
    before = current.get("name")
    current["name"] = name
    kind = REGISTRIES[section].get(name) if isinstance(name, str) else None
    if kind is None or before == name:
        return []
    dropped = [key for key in current if key not in kind.model_fields]
    for key in dropped:
        del current[key]
    return [
        f"{section}.{key} of the run file does not belong to {section} {name}: left out" for key in dropped
    ]


def follow_required_model(values: dict[str, Any]) -> list[str]:
    """A method that works with one model only takes it along."""
    method = METHODS.get(str(section_of(values, "method").get("name", "")))
    required = method.required_model if method else None
    if required is None or section_of(values, "model").get("name") == required:
        return []
    values["model"] = {"name": required}
    return [f"method {values['method']['name']} brings its own model: {required}"]


def validate(values: dict[str, Any]) -> RunConfig:
    """RunConfig of nested values; ValueError with one line for the first thing that is wrong."""
    # An empty section (all its lines commented out, say) is one of defaults.
    values = {key: value for key, value in values.items() if value is not None or key not in sections()}
    for section in REGISTRIES:
        default = RunConfig.model_fields[section].default.name
        values[section] = {"name": default} | section_of(values, section)
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    check_writable(config)
    return config


def check_writable(config: RunConfig) -> None:
    """ValueError for text that no file can hold: a path that is not UTF-8 fails when results are written."""
    for key, value in flatten(config.to_dict()).items():
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(
                f"{key}: {value!r} is not UTF-8 text; rename it or give a link to it, and use a UTF-8 locale "
                "(LC_ALL=C.UTF-8)"
            ) from None


def explain(error: ValidationError) -> str:
    """One line: dotted key, value, what is wanted; an unknown key with the nearest known one."""
    problems: dict[str, list[Any]] = {}
    for problem in error.errors(include_url=False):
        problems.setdefault(key_of(problem), []).append(problem)
    found = [group[0]["type"] for group in problems.values()]
    place = found.index("extra_forbidden") if "extra_forbidden" in found else 0
    key, group = list(problems.items())[place]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return told(key, group) + more


def key_of(problem: Any) -> str:
    """The dotted key a problem is about, without what pydantic adds: discriminators, branches of unions."""
    location = [str(part) for part in problem["loc"]]
    if location and location[0] in REGISTRIES and len(location) > 1:
        del location[1]
    known = [size for size in range(1, len(location)) if ".".join(location[:size]) in known_keys()]
    return ".".join(location[: known[0]] if known else location)


def told(key: str, group: list[Any]) -> str:
    """What is wrong with one key; a group of problems are the branches of a union, each refused."""
    first = group[0]
    if first["type"] == "extra_forbidden":
        return f"{key}: {unknown(key, str(first['loc'][1]) if len(first['loc']) > 2 else '')}"
    if first["type"] == "union_tag_invalid":
        names = list(REGISTRIES[key])
        wrong = first["ctx"]["tag"]
        close = difflib.get_close_matches(wrong, names, n=1)
        guess = f"; did you mean {close[0]}?" if close else ";"
        return f"{key}.name: unknown {key} {wrong!r}{guess} Known: {', '.join(names)}"
    if first["type"] == "missing":
        return f"{key}: not given, and it has no default; set it, e.g. --set {key}=VALUE"
    if first["type"] in ("model_type", "model_attributes_type"):
        return f"{key}: a mapping of settings is wanted, got {first['input']!r}; write --set {key}.KEY=VALUE"
    told_by_all = [problem["msg"].removeprefix("Value error, ") for problem in group]
    message = ", or ".join(text[:1].lower() + text[1:] for text in told_by_all)
    if not key or (first["type"] == "value_error" and message.startswith(key)):
        return message
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        return f"{key}.{message}"  # a section's own check names its key
    as_text = first["type"] in ("string_type", "path_type") and isinstance(first["input"], int | float | date)
    remedy = f"; put it in quotes in the file, or use --set {key}={first['input']}" if as_text else ""
    return f"{key}: {message}, got {first['input']!r}{remedy}"


def unknown(key: str, name: str) -> str:
    """What to say of an unknown key: whose it is, if not `name`'s, or the nearest known one."""
    section, _, leaf = key.partition(".")
    owners = [other for other, kind in REGISTRIES.get(section, {}).items() if leaf in kind.model_fields]
    if owners:
        return (
            f"a key of {section} {' and '.join(owners)}, not of {name}; set {section}={owners[0]} or drop it"
        )
    return f"unknown key{nearest(key)}"


def nearest(key: str) -> str:
    """'; did you mean ...?' from the keys known anywhere in a configuration."""
    known = sorted(known_keys())
    section, _, leaf = key.rpartition(".")
    siblings = [other for other in known if other.rpartition(".")[0] == section] if section else sections()
    same_leaf = [other for other in known if other.rpartition(".")[2] == leaf]
    close = (
        same_leaf[:1]
        or difflib.get_close_matches(key, siblings, n=1, cutoff=0.75)
        or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    )
    return f"; did you mean {close[0]}?" if close else "; `cce config` prints the known ones"


def sections() -> list[str]:
    """The keys at the top that hold settings of their own."""
    return [name for name, field in RunConfig.model_fields.items() if isinstance(field.default, Settings)]


def known_keys() -> set[str]:
    """Every dotted key of every data set, model and method."""
    keys: set[str] = set()
    for name, field in RunConfig.model_fields.items():
        kinds: list[Any] = list(REGISTRIES[name].values()) if name in REGISTRIES else [field.annotation]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys |= {f"{name}.{leaf}" for leaf in kind.model_fields}
            else:
                keys.add(name)
    return keys
