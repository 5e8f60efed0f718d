"""One run's configuration, checked as a whole, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Union

import yaml
from pydantic import Field, ValidationError, model_validator

from cce_ray.config.messages import explain, sections
from cce_ray.config.nested import REGISTRIES, assign_all, flatten, section_of
from cce_ray.config.optimizer import OptimizerSettings
from cce_ray.config.runtime import RuntimeSettings
from cce_ray.config.supervision import SupervisionSettings
from cce_ray.data import DATASETS, AugmentationSettings, DataSettings, Digits
from cce_ray.methods import METHODS, CCEPlus, MethodSettings
from cce_ray.models import MODELS, Linear
from cce_ray.pseudo_labels import OBJECTIVES, PseudoLabelSettings, Task, solvers_for
from cce_ray.settings import Settings
from cce_ray.tracking import TrackingSettings


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
        able = solvers_for(Task(method.objective))
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
        able = chosen.can_solve(self.method.objective, "spread", known_labels=self.supervision.enabled)
        if spread and self.method.scopes and not able:
            raise ValueError(
                "pseudo_labels.scope: dataset is solved by EM for method cce_plus without supervision when "
                "workers share it; set method=cce_plus and pseudo_labels.solver=em, or leave "
                "runtime.workers out"
            )

    def _backend_fits(self) -> None:
        chosen = self.pseudo_labels
        if chosen.backend == "gpu" and not chosen.can_solve(self.method.objective, "device"):
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
        strengths = self.augmentation.resolved(data.augmentation_preset)
        return self.with_(
            {"augmentation": strengths.model_dump(mode="json"), "runtime.threads": self.runtime.num_threads()}
        )

    def with_(self, changes: Mapping[str, Any]) -> RunConfig:
        """The same run with {dotted key: value} changed, checked as a whole; switching a data set, model or
        method drops the keys that the new one does not have.

        Raises:
            ValueError: one line, with the dotted key and the remedy, for an unknown key or a bad value.
        """
        values = self.to_dict()
        assign_all(values, changes)
        return self.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """The run of nested values, as in a YAML run.

        Raises:
            ValueError: one line, with the dotted key and the remedy, for the first thing that is wrong.
        """
        # An empty section (all its lines commented out, say) is one of defaults.
        empty = [key for key in sections(cls.model_fields) if key in values and values[key] is None]
        values = {key: value for key, value in values.items() if key not in empty}
        for section in REGISTRIES:
            default = cls.model_fields[section].default.name
            values[section] = {"name": default} | section_of(values, section)
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            raise ValueError(explain(error, cls.model_fields)) from None
        _check_text(config.to_dict())
        return config

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


def _check_text(values: Mapping[str, Any]) -> None:
    """ValueError for text that no file can hold: a path that is not UTF-8 fails when results are written."""
    for key, value in flatten(values).items():
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(
                f"{key}: {value!r} is not UTF-8 text; rename it or give a link to it, and use a UTF-8 locale "
                "(LC_ALL=C.UTF-8)"
            ) from None
