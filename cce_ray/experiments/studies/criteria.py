"""Which criterion finds good clusters without labels? `python -m cce_ray.experiments.studies.criteria FOLDER`

Searches five labelled data sets with the default objective, which uses no label: digits, the two feature sets
and a part of MNIST in `--data`, and a synthetic long tail; a set that is absent is named. Every trial is
trained to its end, and the best ten or all again with three fresh seeds. Each search has a folder in FOLDER:
what is there is kept, what was interrupted goes on. Then renders, for every criterion, its Spearman
correlation with accuracy over the trials and its regret: the accuracy of the best trial minus that of the
trial it would choose; once with the search's one seed, once by means over fresh seeds, where stability and
the sum of ranks take part. `-o FILE.md` keeps it. `--studies` renders other searches (folders written by `cce
tune`) instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from cce_ray.cli.console import RichListener
from cce_ray.files import read_yaml
from cce_ray.tuning import (
    OBJECTIVES,
    SEARCH_FILE,
    SUMMARY_FILE,
    Options,
    Search,
    load_search,
    merit,
    read_outcome,
    read_trials,
    run_search,
    trial_folder,
    value_of,
)

_CRITERIA = ("generalization", "silhouette", "mutual_information", "loss")
_ALONE = ("generalization", "silhouette", "stability", "mutual_information")
_FINALISTS = (*_ALONE, "sum of these ranks", "combined")
"""The last is what `--objective combined` goes by."""
Rows = Sequence[Mapping[str, float]]
SEEDS = 3
"""Fresh seeds of the trials of the last round, from which stability comes."""


@dataclass(frozen=True)
class Sweep:
    """A search of the record."""

    space: str
    """Built-in."""
    file: str | None = None
    """What must lie in the data folder."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """To the fixed run."""
    top: int = 30
    """How many trials get fresh seeds."""


_SWEEPS = {
    "long-tail": Sweep("features", changes={"pseudo_labels.prior": "estimate"}),
    "cifar10-features": Sweep("features", "cifar10_test_resnet50.npz"),
    "mnist-features": Sweep("features", "mnist_test_resnet50.npz"),
    "digits": Sweep("digits", top=10),
    "mnist-part": Sweep(
        "digits", "MNIST", {"data.name": "mnist", "data.limit": 1000, "optimizer.epochs": 12}, top=10
    ),
}


def long_tail(path: Path) -> Path:
    """Ten Gaussian clusters in 16 dimensions whose sizes fall from 1,288 to 43 samples (30:1), as .npz."""
    random = np.random.default_rng(0)
    shares = 30.0 ** (-np.arange(10) / 9)
    labels = np.repeat(np.arange(10), np.round(4000 * shares / shares.sum()).astype(int))
    features = 1.2 * random.normal(size=(10, 16))[labels] + random.normal(size=(len(labels), 16))
    np.savez(path, features=features.astype(np.float32), labels=labels)
    return path


def _search_of(name: str, data: Path | None, folder: Path, trials: int) -> Search | None:
    """The search of one of SWEEPS; None if its data are absent."""
    sweep = _SWEEPS[name]
    if sweep.file and (data is None or not (data / sweep.file).exists()):
        return None
    changes = {**sweep.changes, "output_dir": str(folder / name)}
    if name == "long-tail":
        changes["data.path"] = str(long_tail(folder / "long_tail.npz"))
    elif sweep.space == "features":
        changes["data.path"] = f"{data}/{sweep.file}"
    elif sweep.file:
        changes["data.root"] = str(data)
    final = {"top": sweep.top, "seeds": SEEDS}
    whole = {"scheduler": {"name": "none"}, "trials": trials, "final": final}
    return load_search(sweep.space, changes, name=name, **whole)


def searched(data: Path | None, folder: Path, trials: int) -> list[Path]:
    """Run the searches that are missing; the folders of all."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in _SWEEPS:
        search = _search_of(name, data, folder, trials)
        if search is None:
            sys.stderr.write(f"{name}: skipped, {_SWEEPS[name].file} is not in --data\n")
            continue
        begun = (folder / name / SEARCH_FILE).exists()
        if not (folder / name / SUMMARY_FILE).exists():
            with RichListener() as listener:
                run_search([search], Options(resume=begun), listener)
        found.append(folder / name)
    return found


def _trials_of(folder: Path) -> list[dict[str, float]]:
    """Criteria of the trials that were trained to the end."""
    return [record.criteria for record in read_trials(folder) if record.state in ("finished", "collapsed")]


def _finalists_of(folder: Path) -> list[Mapping[str, float]]:
    """Mean criteria of the finalists over their seeds, with the seeds' stability."""
    found: list[Mapping[str, float]] = []
    for record in read_trials(folder):
        places = sorted(trial_folder(folder, record.number).glob("seed_*"))
        outcome = read_outcome(dict(enumerate(places)), int(record.criteria.get("clusters", 0)))
        if len(places) > 1 and outcome and "accuracy" in outcome.mean:
            found.append(outcome.mean)
    return found


def verdict(values: Sequence[float], accuracy: Sequence[float]) -> dict[str, float]:
    """Spearman correlation of the values with accuracy, and regret of choosing the largest."""
    from scipy.stats import spearmanr

    correlation = float(spearmanr(values, accuracy).statistic) if len(set(values)) > 1 else float("nan")
    chosen = accuracy[int(np.argmax(values))]
    return {"spearman": correlation, "regret": max(accuracy) - chosen, "chosen": chosen}


def judge(rows: Rows, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """The verdict on each criterion."""
    from scipy.stats import rankdata

    accuracy = [row["accuracy"] for row in rows]
    found = {}
    for name in names:
        if name == "sum of these ranks":
            table = [[value_of(criterion, row) for criterion in _ALONE] for row in rows]
            values = rankdata(table, axis=0).sum(1).tolist()
        elif name == "combined":
            values = [merit(row, OBJECTIVES["combined"].deciding) for row in rows]
        else:
            values = [value_of(name, row) for row in rows]
        found[name] = verdict(values, accuracy)
    return found


def study(folder: Path) -> dict[str, Any]:
    """Everything about one search."""
    stored = read_yaml(folder / SEARCH_FILE)
    trials, finalists = _trials_of(folder), _finalists_of(folder)
    if len(trials) < 3 or "accuracy" not in trials[0]:
        raise ValueError(f"{folder}: fewer than three finished trials with labels; give another search")
    return {
        "name": stored["search"]["name"],
        "objective": stored["search"]["objective"],
        "trials": len(trials),
        "best": max(row["accuracy"] for row in trials),
        "criteria": judge(trials, _CRITERIA),
        "finalists": len(finalists),
        "final_best": max((row["accuracy"] for row in finalists), default=float("nan")),
        "final": judge(finalists, _FINALISTS) if len(finalists) > 1 else {},
    }


def page(studies: Sequence[Mapping[str, Any]], commit: str | None, device: str) -> str:
    """The Markdown."""
    lines = [
        "# Which criterion finds good clusters without labels?",
        "",
        f"Rendered by `python -m cce_ray.experiments.studies.criteria`; commit `{commit}`, {device}. Every "
        "cell:",
        "Spearman correlation with accuracy, and regret (accuracy of the best minus accuracy of the chosen).",
        "All criteria are gated on used clusters as in the search. The combined one (generalization times",
        "stability) was chosen on these five sets, so its column is no blind test.",
        "",
        "## Over the trials of a search (one seed each, trained to the end)",
        "",
        *_rendered(studies, "criteria", "trials", "best", _CRITERIA),
        "",
        "## Means over three fresh seeds (all trials, or the best ten by generalization)",
        "",
        *_rendered([one for one in studies if one["final"]], "final", "finalists", "final_best", _FINALISTS),
    ]
    return "\n".join(lines) + "\n"


def _rendered(
    studies: Sequence[Mapping[str, Any]], part: str, count: str, best: str, names: Sequence[str]
) -> list[str]:
    """A table: a row a search, a column a criterion, their means below."""
    head = ["search", count, "best accuracy", *names]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for one in studies:
        cells = [f"{one[part][name]['spearman']:.2f}, {one[part][name]['regret']:.3f}" for name in names]
        lines.append(f"| {one['name']} | {one[count]} | {one[best]:.3f} | " + " | ".join(cells) + " |")
    means = [
        f"{np.nanmean([one[part][name]['spearman'] for one in studies]):.2f}, "
        f"{fmean(one[part][name]['regret'] for one in studies):.3f}"
        for name in names
    ]
    return [*lines, "| mean | | | " + " | ".join(means) + " |"]


def main() -> None:
    """Read and render."""
    import torch

    from cce_ray.tracking import device_name, git_commit

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("cce_output/criteria"))
    parser.add_argument("--data", type=Path, help="the folder of MNIST and of the feature files")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--studies", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    wanted = parser.parse_args()
    folders = wanted.studies or searched(wanted.data, wanted.folder, wanted.trials)
    found = [study(folder) for folder in folders]
    text = page(found, git_commit(), device_name(torch.device("cpu")))
    if wanted.output:
        wanted.output.write_text(text, encoding="utf-8")
        wanted.output.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
