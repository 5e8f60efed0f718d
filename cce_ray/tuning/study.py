"""The folder of a study: which search it belongs to, what its trials are, one process at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cce_ray.config import RunConfig, flatten
from cce_ray.files import read_yaml, write_text
from cce_ray.runs import free_names, latest, occupied
from cce_ray.tuning.records import TrialRecord, read_trials
from cce_ray.tuning.search_settings import Search

SEARCH_FILE = "search.yaml"
BUDGET, JOINT = "budget", "joint"
_FREE = ("output_dir", "tracking.", "runtime.checkpoint_seconds", "runtime.max_failures")
"""Keys of the fixed run that a resumption may change."""


@dataclass
class Study:
    """One search in its folder."""

    search: Search
    folder: Path
    trials: int
    """How many must be done, extensions included."""
    records: list[TrialRecord] = field(default_factory=list)
    also: tuple[Search, ...] = ()
    """In a joint search: those of the other data sets."""

    @property
    def name(self) -> str:
        """Of the search."""
        return self.search.settings.name

    def missing(self) -> int:
        """Trials still to be run: neither done nor given up."""
        return max(0, self.trials - sum(record.state != "running" for record in self.records))

    def save(self) -> None:
        """Write what a resumption compares with."""
        values = described(self.search, self.also) | {BUDGET: {"trials": self.trials}}
        write_text(self.folder / SEARCH_FILE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def described(search: Search, also: Sequence[Search]) -> dict[str, Any]:
    """Everything that makes two searches the same one."""
    return search.to_dict() | {JOINT: {other.settings.name: other.to_dict() for other in also}}


def open_root(searches: list[Search], resume: bool) -> Path:
    """The folder of the whole command, as `runs.folder.open_folder` chooses it for a run. ValueError when
    there is nothing to resume, or a name given by the user is taken."""
    given = searches[0].base.output_dir
    names = "+".join(search.settings.name for search in searches)
    base = Path(given or f"cce_output/{names}").expanduser().absolute()
    if resume:
        folder = base if given else latest(base)
        if not any(folder.rglob(SEARCH_FILE)):
            raise ValueError(f"output_dir: no search to resume in {folder}; start it without --resume")
        return folder
    if occupied(base) and given:
        raise ValueError(
            f"output_dir: {base} already holds something; continue a search with --resume or choose another"
        )
    return next(free_names(base)) if occupied(base) else base


def open_study(
    search: Search,
    folder: Path,
    *,
    also: Sequence[Search] = (),
    resume: bool,
    retry_failed: bool = False,
    extend: int = 0,
) -> Study:
    """The study in a folder, with its records if it is resumed. Nothing is written.

    Raises ValueError if another search lies there.
    """
    if not resume:
        return Study(search, folder, search.settings.trials, also=tuple(also))
    stored = _completed(read_yaml(folder / SEARCH_FILE))
    trials = int(stored.pop(BUDGET)["trials"])
    _check_same(described(search, also), stored, folder)
    records = read_trials(folder)
    if retry_failed:
        for record in records:
            if record.state == "failed":
                record.state = "running"
    return Study(search, folder, max(trials, search.settings.trials) + extend, records, tuple(also))


def _completed(stored: dict[str, Any]) -> dict[str, Any]:
    """What a search has stored, with the defaults of settings that its version did not have yet."""
    also = {name: _completed(values) for name, values in (stored.get(JOINT) or {}).items()}
    whole = dict(stored) | ({JOINT: also} if JOINT in stored else {})
    return whole | ({"run": RunConfig.from_dict(stored["run"]).to_dict()} if "run" in stored else {})


def _check_same(asked: Mapping[str, Any], stored: Mapping[str, Any], folder: Path) -> None:
    """ValueError naming the first key in which two searches differ."""
    wanted, found = flatten(asked), flatten(stored)
    for key in sorted(wanted.keys() | found.keys()):
        if key.rpartition("run.")[2].startswith(_FREE):
            continue
        if wanted.get(key) != found.get(key):
            shown = key.removeprefix("run.").removeprefix("search.")
            raise ValueError(
                f"{shown}: {wanted.get(key)!r}, but the search in {folder} has {found.get(key)!r}; resume it "
                "as it was, or choose another output_dir"
            )
