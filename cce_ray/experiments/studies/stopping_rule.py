"""Which stopping rule trains best? `python -m cce_ray.experiments.studies.stopping_rule [DATA]`

Runs of `jobs/runs` with EM stopped after ever more iterations and with the exact optimum, at three λ, six
seeds each; renders accuracy against the certified gap at which the solver stopped as stopping_rule.md, .png
and .json in docs. DATA is the folder of the feature files; a set whose file is absent is named in the page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

from cce_ray.report import SERIES, dress, new_figure, to_png

SEEDS = 6
_EM_ITERATIONS = (10, 30, 100, 300)
EM = "pseudo_labels.solver=em pseudo_labels.tolerance=0 pseudo_labels.max_iterations="
_RULES = {f"EM {n}": f"{EM}{n}" for n in _EM_ITERATIONS} | {
    "gap 1e-2": "pseudo_labels.gap_tolerance=1e-2 pseudo_labels.tolerance=0 "
    "pseudo_labels.max_iterations=1000",
    "exact": "pseudo_labels.solver=exact pseudo_labels.gap_tolerance=1e-7",
}
_DEFAULTS = (
    "## What follows",
    "",
    "- A linear model on good features wants the minimum: the smaller the gap the better, down to 1e-2, and",
    "  then λ hardly matters. `jobs/runs/features.yaml` stops at a certified gap of 1e-2.",
    "- A network trained from pixels with augmentation wants soft labels: EM stopped after ten to thirty",
    "  iterations, at gaps of 0.2 to 4. `jobs/runs/digits.yaml` does 19.",
    "- No rule is best for both. `pseudo_labels.max_iterations` is 30 unless a run says otherwise.",
)
# Title, built-in run, feature file, λ.
SETS: list[tuple[str, str, str | None, tuple[float, ...]]] = [
    ("CIFAR-10 features", "features", "cifar10_test_resnet50.npz", (8, 25, 80)),
    ("MNIST features", "features", "mnist_test_resnet50.npz", (8, 25, 80)),
    ("digits", "digits", None, (18, 53, 160)),
]


def measure(run: str, file: Path | None, weight: float, rule: str, seeds: int) -> dict[str, Any]:
    """Accuracies, mean certified gap and seconds a seed of one cell, on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [*_RULES[rule].split(), f"method.fairness_weight={weight}", "runtime.threads=1"]
        settings += [f"output_dir={folder}/run", *([f"data.path={file}"] if file else [])]
        command = [sys.executable, "-m", "cce_ray.cli", "train", run, "--json", "--no-tracking"]
        command += ["--seeds", str(seeds), *(part for setting in settings for part in ("--set", setting))]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
        )
        summary = json.loads(done.stdout.splitlines()[-1])
        results = [
            json.loads(path.read_text()) for path in sorted(Path(folder, "run").glob("seed_*/result.json"))
        ]
    gaps = [epoch["em/gap"] for result in results for epoch in result["history"]]
    return {
        "rule": rule,
        "weight": weight,
        "accuracies": summary["scores_per_seed"]["accuracy"],
        "accuracy": summary["scores"]["accuracy"],
        "sd": summary["scores_sd"]["accuracy"],
        "gap": fmean(gaps),
        "iterations": fmean(epoch["em/iterations"] for result in results for epoch in result["history"]),
        "seconds": summary["seconds"],
        "commit": summary["commit"],
        "device": summary["device"],
    }


def _measure_all(data: Path, seeds: int, jobs: int) -> dict[str, list[dict[str, Any]]]:
    """{title: cells}; no cells for a set whose file is absent."""
    found: dict[str, list[dict[str, Any]]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {}
        for title, run, name, weights in SETS:
            file = (data / name).absolute() if name else None
            present = file is None or file.exists()
            cells = (
                [(run, file, weight, rule, seeds) for weight in weights for rule in _RULES] if present else []
            )
            waiting[title] = [pool.submit(measure, *cell) for cell in cells]
        for title, cells_of in waiting.items():
            found[title] = [cell.result() for cell in cells_of]
    return found


def page(found: dict[str, list[dict[str, Any]]], seeds: int) -> str:
    """The Markdown."""
    measured = [cell for cells in found.values() for cell in cells]
    commits = " and ".join(f"`{commit}`" for commit in dict.fromkeys(cell["commit"] for cell in measured))
    lines = [
        "# Which stopping rule trains best?",
        "",
        "Rendered by `python -m cce_ray.experiments.studies.stopping_rule FOLDER`; measured at commit",
        f"{commits};",
        f"hardware: {measured[0]['device']}, one thread a run. Accuracy: mean ± standard deviation over",
        f"{seeds} seeds (0 to {seeds - 1}) of the runs `jobs/runs/*.yaml`, with only λ and the stopping rule",
        "changed. The gap is the certified one of each epoch's last batch, averaged over epochs and seeds:",
        "what the pseudo-labels of a batch miss of the minimum of (12). `EM n` does n iterations, `gap 1e-2`",
        "is the solver that `auto` takes for that gap, `exact` solves to a gap of 1e-7.",
        "",
        "![Accuracy against the certified gap at which the solver stopped](stopping_rule.png)",
    ]
    for title, cells in found.items():
        lines += ["", f"## {title}", ""]
        if not cells:
            lines.append("Not run: its file is absent.")
            continue
        weights = list(dict.fromkeys(cell["weight"] for cell in cells))
        heads = [f"λ = {weight:g}: accuracy | gap" for weight in weights]
        lines += [f"| rule | {' | '.join(heads)} |", f"|---|{'---|---|' * len(weights)}"]
        for rule in _RULES:
            row = [cell for cell in cells if cell["rule"] == rule]
            if not row:
                continue
            shown = [f"{c['accuracy']:.3f} ± {c['sd']:.3f} | {c['gap']:.1e}" for c in row]
            lines.append(f"| {rule} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", *_DEFAULTS]) + "\n"


def picture(found: dict[str, list[dict[str, Any]]]) -> bytes:
    """PNG: a panel a data set, a line a λ, from few iterations (right) to the optimum (left)."""
    shown = {title: cells for title, cells in found.items() if cells}
    figure = new_figure(4.2 * len(shown), 3.8)
    for number, (title, cells) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, len(shown), number)
        for weight, color in zip(dict.fromkeys(cell["weight"] for cell in cells), SERIES, strict=False):
            line = sorted((c for c in cells if c["weight"] == weight), key=lambda cell: -float(cell["gap"]))
            axes.errorbar(
                [max(cell["gap"], 1e-8) for cell in line],
                [cell["accuracy"] for cell in line],
                [cell["sd"] for cell in line],
                color=color,
                marker="o",
                markersize=4,
                linewidth=1.4,
                elinewidth=0.7,
                capsize=2,
                label=f"λ = {weight:g}",
            )
        axes.set_xscale("log")
        axes.invert_xaxis()
        dress(
            axes,
            title,
            "certified gap (EM 10 ... 300, gap 1e-2, exact)",
            "accuracy" if number == 1 else "",
            grid="both",
        )
        axes.legend(fontsize=8, frameon=False)
    return to_png(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=Path())
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder, made if absent")
    parser.add_argument("--render", action="store_true", help="page and picture of what was measured before")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    measured = options.output / "stopping_rule.json"
    if not options.render:
        found = _measure_all(options.data, options.seeds, options.jobs)
        measured.write_text(json.dumps(found, indent=1), encoding="utf-8")
    found = json.loads(measured.read_text(encoding="utf-8"))
    (options.output / "stopping_rule.md").write_text(page(found, options.seeds), encoding="utf-8")
    (options.output / "stopping_rule.png").write_bytes(picture(found))


if __name__ == "__main__":
    main()
