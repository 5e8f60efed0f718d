"""Kill workers, nodes, drivers and whole clusters at random moments of a training run, and see what is left.

    python tests/integration/faults.py [--times 10] [--kinds worker,node,driver,head] [--seed 0] [-o FILE.md]

Every attempt trains the same run on two workers of a Ray cluster of two nodes (and a head) on this machine,
and kills in turn at a moment of the whole run, most of which is start-up, and after an epoch of the training,
both drawn at random (a worker not before there is one). Then it goes on: by Ray Train where a worker or a
node died (a new node comes up after some seconds), by the same command with --resume where the driver or the
head did. At the end the model must equal that of an undisturbed run to the last bit, and MLflow must hold one
finished run with every epoch once.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

EPOCHS = 40
RUN = [
    "data=digits",
    "data.limit=900",
    "model=cnn",
    "model.widths=[16, 16, 32]",
    "method.augmentation_weight=1",
    "method.fairness_weight=30",
    "optimizer.batch_size=300",
    f"optimizer.epochs={EPOCHS}",
    "runtime.threads=1",
    "runtime.checkpoint_seconds=0.5",
    "runtime.max_failures=10",
]
LONGEST = 240.0
NEW_NODE_AFTER = 3.0


@dataclass
class Attempt:
    """What came of one kill."""

    kind: str
    moment: float
    """Seconds after the start of the command."""
    reached: int
    """Epochs that MLflow held when it struck."""
    seconds: float
    """Until the run was complete."""
    problems: list[str]


class Machines:
    """A cluster of a head without CPUs and two nodes of one CPU each, on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        from ray.cluster_utils import Cluster

        Path("/tmp/ray").mkdir(exist_ok=True)  # where Ray notes the address, whatever its temp_dir
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": str(self.folder)},
        )
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        self.cluster.wait_for_nodes()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def kill_node(self, number: int) -> None:
        """Its raylet and workers, without a word."""
        self.cluster.remove_node(self.nodes.pop(number), allow_graceful=False)

    def add_node(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=1))

    def stop(self) -> None:
        self.cluster.shutdown()


def command(output: Path, address: str, *more: str) -> list[str]:
    settings = [part for setting in [*RUN, f"output_dir={output}"] for part in ("--set", setting)]
    return [
        sys.executable,
        "-m",
        "cce_ray.cli",
        "train",
        "--workers",
        "2",
        "--address",
        address,
        *settings,
        *more,
    ]


def launch(output: Path, address: str, *more: str) -> subprocess.Popen[bytes]:
    log = (output.parent / f"{output.name}.log").open("ab")
    return subprocess.Popen(
        command(output, address, *more), stdout=log, stderr=log, start_new_session=True, cwd=output.parent
    )


def worker_pids() -> list[int]:
    """Processes of Ray Train's workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::RayTrainWorker") or title.startswith(b"ray::_RayTrainWorker"):
            found.append(int(folder.name))
    return found


def logged_epochs(output: Path) -> tuple[list[str], Counter[int]]:
    """(states of the runs, {epoch: how often loss/total was logged}) in the run's MLflow store."""
    store = output / "mlflow.db"
    if not store.exists():
        return [], Counter()
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10) as base:
            states = [row[0] for row in base.execute("select status from runs")]
            epochs = Counter(
                row[0] for row in base.execute("select step from metrics where key='loss/total'")
            )
    except sqlite3.OperationalError:  # it is being made
        return [], Counter()
    return states, epochs


def problems_of(output: Path, reference: Path) -> list[str]:
    """What differs from the undisturbed run."""
    found = []
    states, epochs = logged_epochs(output)
    if states != ["FINISHED"]:
        found.append(f"MLflow runs: {states}")
    once = Counter(range(1, EPOCHS + 1))
    if epochs != once:
        found.append(f"epochs missing: {sorted(once - epochs)}, too many: {sorted(epochs - once)}")
    try:
        models = [torch.load(place / "model.pt", weights_only=True)["state"] for place in (output, reference)]
    except (OSError, KeyError) as error:
        return [*found, f"model: {error!r}"]
    found += [f"weights {name}" for name in models[1] if not torch.equal(models[0][name], models[1][name])]
    return found


def finish(process: subprocess.Popen[bytes], deadline: float) -> int | None:
    try:
        return process.wait(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def attempt(
    kind: str, moment: float, epoch: int, machines: Machines, output: Path, reference: Path
) -> Attempt | None:
    """Kill `moment` seconds after the start, or once `epoch` is done if that is not 0. None if the run had
    ended before."""
    started = time.monotonic()
    deadline = started + LONGEST
    process = launch(output, machines.address)
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return None
        due = len(logged_epochs(output)[1]) >= epoch if epoch else time.monotonic() - started >= moment
        if due and (kind != "worker" or worker_pids()):
            break
        time.sleep(0.02)
    reached, struck_at = len(logged_epochs(output)[1]), time.monotonic() - started
    strike(kind, machines, process)
    code: int | None = None
    if kind in ("driver", "head"):
        process.wait()
        begun = (output / "config.yaml").exists()
        process = launch(output, machines.address, *(["--resume"] if begun else []))
    code = finish(process, deadline)
    found = [] if code == 0 else [f"exit code {code}"]
    found += problems_of(output, reference)
    return Attempt(kind, struck_at, reached, time.monotonic() - started, found)


def struck(
    kind: str, longest: float, in_training: bool, machines: Machines, output: Path, reference: Path
) -> Attempt:
    """An attempt at a random moment or epoch; drawn again where the run had ended before it."""
    while True:
        epoch = random.randrange(1, EPOCHS) if in_training else 0
        one = attempt(kind, random.uniform(0.5, longest), epoch, machines, output, reference)
        if one is None or not one.problems:
            shutil.rmtree(output, ignore_errors=True)
        if one:
            return one


def strike(kind: str, machines: Machines, process: subprocess.Popen[bytes]) -> None:
    if kind == "worker":
        os.kill(random.choice(worker_pids()), signal.SIGKILL)
    elif kind == "node":
        machines.kill_node(random.randrange(2))
        time.sleep(NEW_NODE_AFTER)
        machines.add_node()
    else:
        os.killpg(process.pid, signal.SIGKILL)
        if kind == "head":
            machines.stop()
            machines.start()


def table(attempts: list[Attempt], undisturbed: float) -> str:
    """Markdown: one row a kind."""
    head = ["killed", "times", f"epoch reached (of {EPOCHS})", "complete after"]
    lines = ["| " + " | ".join([*head, "same bits, one finished run, every epoch once"]) + " |"]
    lines += ["|---|---|---|---|---|", f"| nothing | | | {undisturbed:.0f} s | |"]
    for kind in dict.fromkeys(a.kind for a in attempts):
        mine = [a for a in attempts if a.kind == kind]
        epochs = ", ".join(str(a.reached) for a in sorted(mine, key=lambda a: a.reached))
        seconds = sorted(a.seconds for a in mine)
        good = sum(not a.problems for a in mine)
        span = f"{seconds[0]:.0f} to {seconds[-1]:.0f} s"
        lines.append(f"| {kind} | {len(mine)} | {epochs} | {span} | {good} of {len(mine)} |")
    return "\n".join(lines)


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parsed() -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--kinds", default="worker,node,driver,head")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def main() -> int:
    options = parsed()
    random.seed(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    machines = Machines(folder / "r")
    attempts: list[Attempt] = []
    try:
        started = time.monotonic()
        reference = folder / "undisturbed"
        assert finish(launch(reference, machines.address), time.monotonic() + LONGEST) == 0, "see the log"
        undisturbed = time.monotonic() - started
        say(f"undisturbed: {undisturbed:.1f} s, problems: {problems_of(reference, reference)}")
        for number in range(options.times):
            for kind in options.kinds.split(","):
                output = folder / f"{kind}-{number}"
                attempts.append(struck(kind, undisturbed, number % 2 == 1, machines, output, reference))
                say(attempts[-1])
                if options.output:  # after every one: an interruption leaves what is known
                    options.output.write_text(table(attempts, undisturbed) + "\n", encoding="utf-8")
    finally:
        machines.stop()
    say(table(attempts, undisturbed))
    return any(one.problems for one in attempts)


if __name__ == "__main__":
    sys.exit(main())
