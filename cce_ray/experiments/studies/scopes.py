"""Whose means should the pseudo-labels balance? `python -m cce_ray.experiments.studies.scopes [DATA]`

The runs of `jobs/runs` with `pseudo_labels.scope` batch, dataset, and rank on two and four workers (processes
of torch.distributed on this machine), six seeds each; renders accuracies as scopes.md in docs. DATA is the
folder of the feature files; a set whose file is absent is named in the page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

SEEDS = 6
SETS: list[tuple[str, str, str | None]] = [
    ("CIFAR-10 features", "features", "cifar10_test_resnet50.npz"),
    ("MNIST features", "features", "mnist_test_resnet50.npz"),
    ("digits", "digits", None),
]
SCOPES = {
    "batch": ("batch", 1),
    "rank, 2 workers": ("rank", 2),
    "rank, 4 workers": ("rank", 4),
    "dataset": ("dataset", 1),
}
_MEANING = (
    "`batch`: the clusters of every global batch are balanced, whatever the number of workers. `rank`: each",
    "worker balances its own part of the batch alone; nothing has to be gathered for EM, and smaller parts",
    "balance more strictly than the data are. `dataset`: the labels of all training samples are estimated",
    "together when an epoch begins, from the predictions of the network as it stands, for the whole epoch.",
)


def _train_ranks(run: str, file: Path | None, scope: str, size: int) -> dict[str, Any]:
    """Accuracies of the seeds and mean seconds of the training steps."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"pseudo_labels.scope={scope}", "runtime.threads=1", "tracking.enabled=false"]
        settings += [f"data.path={file}"] if file else []
        command = [sys.executable, "-m", "cce_ray.experiments.studies.scopes", "--rank"]
        ranks = [
            subprocess.Popen(
                [*command, str(rank), "--size", str(size), "--meet", folder, run, *settings],
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(size)
        ]
        said = [rank.communicate()[0] for rank in ranks]
    found: dict[str, Any] = json.loads(said[0].splitlines()[-1])
    return found


def _one_rank(rank: int, size: int, folder: str, run: str, overrides: list[str]) -> dict[str, Any]:
    """What `_train_ranks` starts: all seeds, one after the other."""
    import torch

    from cce_ray.data import load_dataset
    from cce_ray.metrics import clustering_scores
    from cce_ray.runs import load_run
    from cce_ray.training import Alone, LocalContext, ProcessGroup, Ranks, evaluate, train

    if size > 1:
        meeting = f"file://{folder}/meeting"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    ranks: Ranks = ProcessGroup() if size > 1 else Alone()
    device, accuracies, seconds = torch.device("cpu"), [], []
    for seed in range(SEEDS):
        config = load_run(run, [*overrides, f"runtime.seed={seed}"])[0].resolved()
        dataset = load_dataset(config.data)
        result = train(config, dataset, LocalContext(device, ranks=ranks))
        probs = evaluate(result.model, dataset, device, ranks)
        assert dataset.labels is not None
        truth = dataset.labels[dataset.evaluation_indices]
        accuracies.append(clustering_scores(truth, probs.argmax(1), dataset.num_clusters)["accuracy"])
        seconds.append(result.seconds)
    return {"accuracies": accuracies, "seconds": fmean(seconds)}


def page(found: dict[str, dict[str, dict[str, Any]]], commit: str | None, device: str) -> str:
    """The Markdown."""
    lines = ["# Whose means should the pseudo-labels balance?", ""]
    lines += [
        f"Rendered by `python -m cce_ray.experiments.studies.scopes FOLDER`; commit `{commit}`, {device}, "
        "one thread",
        f"a process. Accuracy: mean ± standard deviation over {SEEDS} seeds (0 to {SEEDS - 1}) of the runs",
        "`jobs/runs/*.yaml`, in which only `pseudo_labels.scope` was changed.",
        "",
        *_MEANING,
        "",
        "| scope | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
    ]
    for name in SCOPES:
        cells = [found[title].get(name) for title in found]
        texts = [
            f"{fmean(cell['accuracies']):.3f} ± {stdev(cell['accuracies']):.3f}" if cell else "file absent"
            for cell in cells
        ]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and render, or be one rank of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default=".")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rank", type=int)
    parser.add_argument("--size", type=int, default=1)
    parser.add_argument("--meet", default="")
    wanted = parser.parse_args()
    if wanted.rank is not None:
        done = _one_rank(wanted.rank, wanted.size, wanted.meet, wanted.data, wanted.overrides)
        sys.stdout.write(json.dumps(done) + "\n")
        return
    from cce_ray.tracking import device_name, git_commit

    found: dict[str, dict[str, dict[str, Any]]] = {}
    for title, run, name in SETS:
        file = (Path(wanted.data) / name).absolute() if name else None
        present = file is None or file.exists()
        found[title] = {}
        for label, (scope, size) in SCOPES.items() if present else ():
            found[title][label] = _train_ranks(run, file, scope, size)
            sys.stderr.write(f"{title}, {label}: {found[title][label]}\n")
    import torch

    docs = Path(__file__).parents[3] / "docs"
    text = page(found, git_commit(), device_name(torch.device("cpu")))
    (docs / "scopes.md").write_text(text, encoding="utf-8")
    (docs / "scopes.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
