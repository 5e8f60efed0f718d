"""Kill drivers, trials and heads at random moments of a search, resume it, and see what is left.

    python tests/integration/sweep_faults.py [--times 10] [--kinds driver,trial,head] [--seed 0] [-o FILE.md]

Every attempt is a search of 8 trials on digits. `driver`: the command is killed with all it started; the
same command with --resume goes on. `trial`: one process of a trial is killed; Ray Tune starts the trial
again. `head`: the search is a job (`ray job submit`) on a cluster started by `ray start --head`, whose
processes are killed all at once; a new head is started, and the job submitted again with --resume. At the end
there must be exactly 8 trials done, each with one finished run in MLflow, none running, none twice, and what
was done before the kill must be kept as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import yaml

from cce_ray.tuning.records import TrialRecord, read_trials

TRIALS = 8
LONGEST = 300.0
SPACE = {
    "run": "digits",
    "set": {"data.limit": 900, "optimizer.epochs": 30, "optimizer.batch_size": 300},
    "space": {
        "method.fairness_weight": {"low": 10.0, "high": 200.0, "log": True},
        "optimizer.learning_rate": {"low": 0.002, "high": 0.02, "log": True},
    },
    "trials": TRIALS,
    "objective": "accuracy",
    "scheduler": {"grace_epochs": 5, "reduction_factor": 3},
    "final": {"top": 2, "seeds": 2},
}


@dataclass
class Attempt:
    """What came of one kill."""

    kind: str
    moment: float
    done: int
    """Trials done when it struck."""
    seconds: float
    problems: list[str]


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started, directly or not."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL to all of them."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=20)


def problems_of(folder: Path, before: dict[int, TrialRecord]) -> list[str]:
    """What is not as it should be at the end."""
    records = read_trials(folder)
    found = []
    if [record.number for record in records] != list(range(TRIALS)):
        found.append(f"trials {[record.number for record in records]}")
    if not all(record.done for record in records):
        found.append(f"states {Counter(record.state for record in records)}")
    for record in records:
        if record.number in before and record != replace(before[record.number], closed=True):
            found.append(f"trial {record.number} was done again")
    with sqlite3.connect(folder / "mlflow.db", timeout=20) as base:
        rows = base.execute(
            "select run_uuid, name, status from runs where lifecycle_stage='active'"
        ).fetchall()
        repeated = base.execute(
            "select count(*) from (select run_uuid, step from metrics where key='loss/total' "
            "group by run_uuid, step having count(*) > 1)"
        ).fetchone()[0]
    names = Counter(name for _, name, _ in rows)
    if {status for *_, status in rows} - {"FINISHED", "FAILED"}:
        found.append(f"statuses {Counter(status for *_, status in rows)}")
    if max(names.values()) > 1:
        found.append(f"run names twice {[name for name, count in names.items() if count > 1]}")
    if {record.run_id for record in records} - {run for run, *_ in rows}:
        found.append("a trial's run is gone")
    if repeated:
        found.append(f"{repeated} epochs logged twice")
    summary = json.loads((folder / "summary.json").read_text())
    if not summary["final"] or summary["seeds"] != 2:
        found.append("no last round")
    return found


class Command:
    """`cce tune` on a Ray of its own."""

    def __init__(self, work: Path) -> None:
        self.work, self.folder = work, work / "out"
        self.log = work / "log.txt"

    def start(self, *more: str) -> None:
        line = [sys.executable, "-m", "cce_ray.cli", "tune", str(self.work / "space.yaml"), *more]
        line += ["--set", f"output_dir={self.folder}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(line, start_new_session=True, stdout=log, stderr=log)

    def running(self) -> bool:
        return self.process.poll() is None

    def succeeded(self) -> bool:
        return self.process.returncode == 0

    def family(self) -> list[psutil.Process]:
        """The command, its Ray and the workers of that."""
        return family(self.process.pid)

    def kill(self) -> None:
        """All of it at once."""
        kill(self.family())
        self.process.wait()

    def close(self) -> None:
        """Nothing: its Ray ends with it."""


class Job:
    """A job on a head with token authentication."""

    def __init__(self, work: Path) -> None:
        self.work, self.folder = work, work / "out"
        self.log = work / "log.txt"
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "a-token-of-thirty-two-characters-",
            "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8265",
        }
        self.environment.pop("RAY_ADDRESS", None)
        self.process: subprocess.Popen[bytes] | None = None

    def ray(self, *line: str) -> list[str]:
        return [str(Path(sys.executable).parent / "ray"), *line]

    def start(self, *more: str) -> None:
        work = ["--num-cpus=2", "--port=6399", "--dashboard-host=127.0.0.1", "--disable-usage-stats"]
        work += [f"--temp-dir={self.work / 'ray'}"]
        with self.log.open("ab") as log:
            head = self.ray("start", "--head", *work)
            subprocess.run(head, env=self.environment, stdout=log, stderr=log, check=True)
            root = Path(__file__).parents[2]
            job = self.ray(
                "job", "submit", "--address=http://127.0.0.1:8265", "--working-dir", str(root), "--"
            )
            job += [sys.executable, "jobs/sweep.py", str(self.work / "space.yaml"), *more]
            job += ["--set", f"output_dir={self.folder}"]
            deadline = time.monotonic() + 60
            while True:  # the dashboard takes some seconds to answer
                self.process = subprocess.Popen(
                    job, env=self.environment, stdout=log, stderr=log, start_new_session=True
                )
                time.sleep(3)
                if self.process.poll() in (None, 0) or time.monotonic() > deadline:
                    return

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def succeeded(self) -> bool:
        return self.process is not None and self.process.returncode == 0

    def family(self) -> list[psutil.Process]:
        """The head's processes, known by their folder, what these have started, and the submission."""
        mine = [
            one
            for one in psutil.process_iter(["cmdline"])
            if str(self.work) in " ".join(one.info["cmdline"] or [])
        ]
        submission = [self.process.pid] if self.process else []
        found = {one.pid: one for pid in [*(one.pid for one in mine), *submission] for one in family(pid)}
        found.pop(os.getpid(), None)
        return list(found.values())

    def kill(self) -> None:
        """The head, with everything on it, at once."""
        kill(self.family())
        if self.process:
            self.process.wait()

    def close(self) -> None:
        """The head outlives the job."""
        kill(self.family())


def attempt(kind: str, work: Path, chance: random.Random) -> Attempt:
    """One search with one kill."""
    (work / "space.yaml").write_text(yaml.safe_dump(SPACE))
    search: Command | Job = Job(work) if kind == "head" else Command(work)
    started = time.monotonic()
    search.start()
    wanted = chance.randrange(TRIALS)  # strikes some time after so many trials are done
    delay = chance.uniform(0, 3)
    try:
        while sum(record.done for record in read_trials(search.folder)) < wanted:
            if not search.running():
                return Attempt(kind, 0, 0, 0, [f"ended early: {search.log.read_text()[-500:]}"])
            time.sleep(0.05)
        time.sleep(delay)
        moment = time.monotonic() - started
        if kind == "trial":
            trials = [one for one in search.family() if "ray::ImplicitFunc" in " ".join(one.cmdline())]
            if trials:
                kill([chance.choice(trials)])
            before = {record.number: record for record in read_trials(search.folder) if record.done}
        else:
            search.kill()
            before = {record.number: record for record in read_trials(search.folder) if record.done}
            there = any(search.folder.rglob("search.yaml"))
            search.start(*(["--resume"] if there else []))
        deadline = time.monotonic() + LONGEST
        while search.running() and time.monotonic() < deadline:
            time.sleep(0.1)
        if not search.succeeded():
            ended = "failed" if not search.running() else "hung"
            return Attempt(kind, moment, len(before), 0, [f"{ended}: {search.log.read_text()[-800:]}"])
        seconds = time.monotonic() - started
        return Attempt(kind, moment, len(before), seconds, problems_of(search.folder, before))
    finally:
        if search.running():
            search.kill()
        search.close()


def table(attempts: list[Attempt]) -> str:
    """Markdown, a row a kind."""
    lines = [
        "| killed | times | trials done then (of 8) | complete after | as it should be |",
        "|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(one.kind for one in attempts):
        mine = [one for one in attempts if one.kind == kind]
        done = ", ".join(str(one.done) for one in sorted(mine, key=lambda one: one.done))
        times = [one.seconds for one in mine if not one.problems] or [0.0]
        fine = sum(not one.problems for one in mine)
        spread = f"{min(times):.0f} to {max(times):.0f} s"
        lines.append(f"| {kind} | {len(mine)} | {done} | {spread} | {fine} of {len(mine)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--kinds", default="driver,trial,head")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    attempts: list[Attempt] = []
    for number in range(options.times):
        for kind in options.kinds.split(","):
            work = Path(tempfile.mkdtemp(prefix="cce_ray-sweep-"))
            found = attempt(kind, work, chance)
            attempts.append(found)
            line = f"{number} {kind}: at {found.moment:.0f} s, {found.done} done, complete after "
            sys.stdout.write(f"{line}{found.seconds:.0f} s; {found.problems or 'as it should be'}\n")
            sys.stdout.flush()
            if options.output:
                options.output.write_text(table(attempts) + "\n")
            if not found.problems:
                shutil.rmtree(work)
    sys.stdout.write(table(attempts) + "\n")
    sys.exit(any(one.problems for one in attempts))


if __name__ == "__main__":
    main()
