"""Run the published runs and render docs/results.md: python docs/render_results.py [FOLDER_OF_FEATURE_FILES]

Runs whose data are absent are named in the page, never left out silently.
"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RAW = ["--set", "data.standardize=false"]
RUNS = [
    ("digits", None, ["digits"]),
    ("digits, k-means", None, ["digits", "--set", "method=kmeans"]),
    ("CIFAR-10 features", "cifar10_test_resnet50.npz", ["features"]),
    ("CIFAR-10 features, k-means", "cifar10_test_resnet50.npz", ["features", "--set", "method=kmeans", *RAW]),
    ("MNIST features", "mnist_test_resnet50.npz", ["features"]),
    ("MNIST features, k-means", "mnist_test_resnet50.npz", ["features", "--set", "method=kmeans", *RAW]),
]
SEEDS = 6
HEAD = """# Results

Rendered by `python docs/render_results.py FOLDER` (the commands are below). Accuracy by Hungarian
matching, mean ± standard deviation over {seeds} seeds (0 to {last}), on the samples that were clustered;
labels only score. Seconds are those of training and evaluation of one seed, without start-up and report.
The configurations are `jobs/runs/*.yaml` at commit `{commit}`; hardware: {device}, {threads} threads;
Python {python}. The features are 10,000 test images of each set through an ImageNet ResNet-50 (average
pool, 2048 dimensions). The configuration of `features` was searched on the CIFAR-10 features with seeds
100 to 105 and is untouched on the MNIST features.

| data | method | accuracy | worst seed | NMI | ARI | seconds a seed |
|---|---|---|---|---|---|---|
"""


def run(arguments: list[str]) -> dict[str, Any]:
    """The JSON of `cce train` with these arguments, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cce_ray.cli", "train", *arguments, "--json", "--no-tracking"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def row(title: str, summary: dict[str, Any]) -> str:
    """One line of the table."""
    mean, sd = summary["scores"], summary["scores_sd"]
    scores = {name: f"{mean[name]:.3f} ± {sd[name]:.3f}" for name in mean}
    worst = min(summary["scores_per_seed"]["accuracy"])
    data = title.partition(",")[0]
    return (
        f"| {data} | {summary['method']} | {scores['accuracy']} | {worst:.3f} | {scores['nmi']} | "
        f"{scores['ari']} | {summary['seconds']:.1f} |\n"
    )


def main(folder: Path) -> None:
    """Run everything and write the page."""
    rows, commands, summary = [], [], None
    for title, file, arguments in RUNS:
        data = ["--set", f"data.path={folder.absolute() / file}"] if file else []
        shown = ["--set", f"data.path={file}"] if file else []
        commands.append(" ".join(["cce train", *arguments, *shown, "--seeds", str(SEEDS)]))
        if file and not (folder / file).exists():
            rows.append(f"| {title} | not run: {file} is absent | | | | | |\n")
            continue
        summary = run([*arguments, *data, "--seeds", str(SEEDS)])
        rows.append(row(title, summary))
    assert summary, "the digits run needs no file"
    facts = {key: summary[key] for key in ("commit", "device", "threads")}
    head = HEAD.format(seeds=SEEDS, last=SEEDS - 1, python=platform.python_version(), **facts)
    text = head + "".join(rows) + "\n```bash\n" + "\n".join(commands) + "\n```\n"
    (ROOT / "docs" / "results.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
