"""What people see while a command runs: a live progress bar on stderr, and the summary at the end."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from cce_ray.runs import Listener

if TYPE_CHECKING:
    from cce_ray.runs import RunSummary
    from cce_ray.tuning import SearchSummary

_REFRESH_SECONDS = 0.25
_LINE_SECONDS = 10.0


class RichListener(Listener):
    """A progress bar on a terminal; elsewhere a line every ten seconds."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=self.console,
            transient=True,
        )
        self.task: TaskID | None = None
        self.interval = _REFRESH_SECONDS if self.console.is_terminal else _LINE_SECONDS
        self.title, self.shown_at, self.interrupted = "", 0.0, False

    def __enter__(self) -> RichListener:
        for number in (signal.SIGINT, signal.SIGTERM):  # schedulers send SIGTERM: an interruption too
            signal.signal(number, self.interrupt)
        sys.unraisablehook = _report_unraisable
        if self.console.is_terminal:
            self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.progress.stop()

    def interrupt(self, *_: object) -> None:
        """End the run at once, or at its next step if the exception gets lost: Python drops what is raised in
        a callback of the garbage collector, and after the imports a collection takes 0.3 s."""
        self.interrupted = True
        raise KeyboardInterrupt

    def note(self, text: str) -> None:
        """A plain line."""
        self.console.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """A yellow line."""
        self.console.print(Text(f"warning: {text}", style="yellow"), soft_wrap=True)

    def seed(self, seed: int, number: int, count: int) -> None:
        """A new bar for each run."""
        self.title = f"seed {seed}" if count == 1 else f"seed {seed} ({number}/{count})"
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task = self.progress.add_task(self.title, total=None, status="")
        self.shown_at = time.monotonic()

    def step(self, step: int, total_steps: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        """Loss, used clusters, EM iterations and speed, a few times a second at most."""
        if self.interrupted:
            raise KeyboardInterrupt
        if time.monotonic() - self.shown_at < self.interval:
            return
        self.shown_at = time.monotonic()
        status = describe(metrics())
        if self.console.is_terminal and self.task is not None:
            self.progress.update(self.task, total=total_steps, completed=step, status=status)
        else:
            self.note(f"{self.title}: step {step}/{total_steps}  {status}")


def _report_unraisable(problem: sys.UnraisableHookArgs) -> None:
    """Python's own report of a lost exception, but for interruptions, which are seen to."""
    if problem.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(problem)


def describe(metrics: Mapping[str, float]) -> str:
    """The running metrics in one short line."""
    return (
        f"loss {metrics['loss/total']:.4f}  clusters {metrics['clusters/used']:.0f}  "
        f"EM {metrics['em/iterations']:.0f} iterations  confidence {metrics['confidence/mean']:.2f}  "
        f"{metrics['throughput/samples_per_second']:,.0f} samples/s"
    )


def print_summary(summary: RunSummary) -> None:
    """Scores, and where the clusters, the report, the model and the MLflow UI are."""
    from cce_ray.runs import label_command, short, ui_command

    console = Console(stderr=True, highlight=False)
    seeds = f"{summary.seeds} seeds" if summary.seeds > 1 else "1 seed"
    console.print(
        Text(f"\n{summary.method} on {summary.dataset}, {seeds}, {summary.seconds:.1f} s", style="bold")
    )
    for name, value in summary.scores.items():
        spread = f" ± {summary.scores_sd[name]:.4f}" if summary.seeds > 1 else ""
        console.print(Text(f"  {name:<9} {value:.4f}{spread}"))
    console.print(Text(f"  {summary.clusters_used} of {summary.num_clusters} clusters used"))
    places = [
        ("clusters", short(Path(summary.clusters))),
        ("model", short(Path(summary.model))),
        ("report", short(Path(summary.report))),
        ("label new data", label_command(summary)),
    ]
    ui = ui_command(summary)
    if ui:
        places.append(("MLflow UI", f"{ui}  then open {summary.ui_page}"))
    for name, place in places:
        console.print(Text(f"{name:<15} {place}"), soft_wrap=True)


def print_search(summary: SearchSummary) -> None:
    """The champion, its settings and scores, and where everything is."""
    from cce_ray.runs import launcher, short

    console = Console(stderr=True, highlight=False)
    done = ", ".join(f"{count} {state}" for state, count in sorted(summary.trials.items()))
    console.print(
        Text(f"\n{summary.name} on {summary.dataset}: trial {summary.champion} wins ({done})", style="bold")
    )
    for key, value in summary.sample.items():
        console.print(
            Text(f"  {key:<32} {value:.5g}" if isinstance(value, float) else f"  {key:<32} {value}")
        )
    console.print(Text(f"  {summary.objective} in the search {summary.value:.4f}"))
    for name, value in summary.final.items():
        if name.endswith("clusters"):  # K, the same for all
            continue
        spread = f" ± {summary.final_sd[name]:.4f}" if name in summary.final_sd else ""
        console.print(Text(f"  {name:<18} {value:.4f}{spread}  ({summary.seeds} fresh seeds)"))
    saved = 1 - summary.epochs / max(1, summary.epochs_full)
    console.print(Text(f"  {summary.epochs} epochs trained, {saved:.0%} saved"))
    places = [
        (
            "train it",
            f"{launcher()}cce train {shlex.quote(short(Path(summary.best)))} --seeds {max(1, summary.seeds)}",
        ),
        ("leaderboard", short(Path(summary.page))),
        ("model", short(Path(summary.model)) if summary.model else "-"),
    ]
    if summary.ui_command:
        command = summary.ui_command
        shown = command if command.startswith("http") else f"{launcher()}{command}"
        places.append(("MLflow UI", f"{shown}  then open {summary.ui_page}"))
    for name, place in places:
        console.print(Text(f"{name:<15} {place}"), soft_wrap=True)
