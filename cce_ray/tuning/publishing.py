"""What a search leaves for people: the champion's run file and model, the leaderboard, the plots."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cce_ray.config import flatten
from cce_ray.files import read_record, replacing, write_json, write_text
from cce_ray.runs import MODEL_FILE, RESULT_FILE, SeedResult, launcher, representative, short
from cce_ray.tracking import TrackedRun, Tracker, device_name, git_commit
from cce_ray.tuning.finals import Finalist, Outcome, candidates, final_seeds, finalists, seeded
from cce_ray.tuning.leaderboard import leaderboard, to_csv, to_html
from cce_ray.tuning.pictures import pictures
from cce_ray.tuning.study import Study
from cce_ray.tuning.trial import StudyPlan

BEST_FILE, SUMMARY_FILE = "best.yaml", "summary.json"
_CHAMPION = "champion"
EXAMPLES = 4


@dataclass(frozen=True)
class SearchSummary:
    """What a search ended with; `to_dict` is the JSON object of `cce tune --json`."""

    name: str
    dataset: str
    objective: str
    trials: dict[str, int]
    """{state: how many}."""
    champion: int
    """Number of the winning trial."""
    sample: dict[str, Any]
    """Its settings."""
    value: float
    """Of the objective in the search."""
    final: dict[str, float]
    """Means over the fresh seeds; empty if the last round did not end."""
    final_sd: dict[str, float]
    seeds: int
    output_dir: str
    best: str
    """The run file for `cce train`."""
    leaderboard: str
    page: str
    model: str | None
    epochs: int
    """Trained in all trials; every trial to its end would be `epochs_full`."""
    epochs_full: int
    parent_run_id: str | None = None
    tracking_uri: str | None = None
    ui_command: str | None = None
    ui_page: str | None = None
    device: str = "cpu"
    threads: int = 1
    commit: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def publish(study: Study, plan: StudyPlan, parent: TrackedRun, tracker: Tracker) -> SearchSummary:
    """Write everything to the study's folder and its tracked run. ValueError if no trial was done."""
    ranking = finalists(study, plan)
    best = candidates(study)
    if not best:
        reasons = {record.reason for record in study.records if record.reason}
        why = f" ({sorted(reasons)[0]})" if reasons else ""
        raise ValueError(
            f"{study.name}: no trial was finished{why}; widen the space, or add --resume --retry-failed"
        )
    champion = ranking[0] if ranking else None
    record = champion.record if champion else best[0]
    folder = study.folder
    run_file = _best_run(study, plan, record.sample)
    rows, plots = leaderboard(study, ranking), pictures(study)
    command = (
        f"{launcher()}cce train {shlex.quote(short(folder / BEST_FILE))} --seeds {len(final_seeds(study))}"
    )
    write_text(folder / "leaderboard.csv", to_csv(rows))
    write_text(folder / "leaderboard.html", to_html(study, rows, ranking, plots, run_file, command))
    for name, png in plots.items():
        (folder / "plots").mkdir(exist_ok=True)
        (folder / "plots" / f"{name}.png").write_bytes(png)
    model = None
    for part in plan.parts:
        own = "" if part is plan else f"-{part.name}"
        write_text(folder / f"best{own}.yaml", _best_run(study, part, record.sample))
        if champion:
            kept = _keep_model(folder / f"model{own}.pt", champion.outcomes[part.name])
            model = kept if part is plan else model
    summary = SearchSummary(
        name=study.name,
        dataset=plan.dataset.name,
        objective=study.search.settings.objective,
        trials=states(study),
        champion=record.number,
        sample=record.sample,
        value=record.value or 0.0,
        final=named(champion, "mean") if champion else {},
        final_sd=named(champion, "spread") if champion else {},
        seeds=len(champion.first.seeds) if champion else 0,
        output_dir=str(folder),
        best=str(folder / BEST_FILE),
        leaderboard=str(folder / "leaderboard.csv"),
        page=str(folder / "leaderboard.html"),
        model=str(model) if model else None,
        epochs=sum(one.epochs for one in study.records),
        epochs_full=len([one for one in study.records if one.done]) * study.search.base.optimizer.epochs,
        parent_run_id=parent.id,
        tracking_uri=tracker.location,
        ui_command=tracker.ui,
        ui_page=tracker.page,
        device=device_name(study.search.base.runtime.torch_device()),
        threads=study.search.base.runtime.threads,
        commit=git_commit(),
    )
    write_json(folder / SUMMARY_FILE, summary.to_dict())
    _track(study, plan, summary, parent, sorted((folder / "plots").glob("*.png")), model)
    return summary


def _best_run(study: Study, plan: StudyPlan, sample: Mapping[str, Any]) -> str:
    """The champion's run file: with the first fresh seed, so that `--seeds` repeats the last round."""
    config = plan.config(sample)
    config = seeded(config, final_seeds(study)[0])
    return config.with_({"name": f"{plan.name}-best", "output_dir": ""}).to_yaml()


def named(champion: Finalist, what: Literal["mean", "spread"]) -> dict[str, float]:
    """Means or standard deviations over the seeds; in a joint search their names begin with the data set."""
    found: dict[str, float] = {}
    for part, one in champion.outcomes.items():
        place = f"{part}/" if len(champion.outcomes) > 1 else ""
        values = one.mean if what == "mean" else one.spread()
        found |= {f"{place}{name}": value for name, value in values.items()}
    return found


def _keep_model(target: Path, outcome: Outcome) -> Path | None:
    """Copy the model of the representative seed; None if every seed diverged."""
    folders = [place for place in outcome.folders.values() if (place / MODEL_FILE).exists()]
    results = [read_record(place / RESULT_FILE, SeedResult) for place in folders]
    if not folders:
        return None
    chosen = folders[representative([result for result in results if result], folders)]
    with replacing(target) as temporary:
        shutil.copyfile(chosen / MODEL_FILE, temporary)
    return target


def states(study: Study) -> dict[str, int]:
    """How many trials are in which state."""
    found: dict[str, int] = {}
    for record in study.records:
        found[record.state] = found.get(record.state, 0) + 1
    return found


def _track(
    study: Study,
    plan: StudyPlan,
    summary: SearchSummary,
    parent: TrackedRun,
    plots: list[Path],
    model: Path | None,
) -> None:
    """Put the answer onto the study's own tracked run: the UI shows the trials below it page by page."""
    run_files = sorted(study.folder.glob("best*.yaml"))
    parent.log_artifacts([*run_files, Path(summary.leaderboard), Path(summary.page)])
    parent.log_artifacts(plots, "plots")
    parent.set_tags(
        {
            "study": study.name,
            "objective": summary.objective,
            "champion": f"trial {summary.champion}",
            "trials": ", ".join(f"{count} {state}" for state, count in summary.trials.items()),
            **{f"best.{key}": str(value) for key, value in flatten(summary.sample).items()},
            "mlflow.note.content": note(summary),
        }
    )
    step = sum(summary.trials.values())
    parent.log_metrics(
        {
            "objective/best": summary.value,
            "search/epochs": float(summary.epochs),
            "search/trials": float(step),
            **{f"final/{name}": value for name, value in summary.final.items()},
            **{f"final_sd/{name}": value for name, value in summary.final_sd.items()},
        },
        step=step,
    )
    if model:
        example = plan.dataset.samples.read(np.arange(min(EXAMPLES, len(plan.dataset.samples))))
        parent.log_model(
            model,
            input_example=example,
            num_clusters=plan.dataset.num_clusters,
            step=step,
            register_as=study.search.base.tracking.register_model or study.name,
            alias=_CHAMPION,
        )


def note(summary: SearchSummary) -> str:
    """The description that MLflow shows at the head of the run, as Markdown."""
    lines = [
        f"Champion: trial {summary.champion} of {sum(summary.trials.values())}, by {summary.objective}",
        "",
    ]
    lines += ["| setting | value |", "|---|---|"]
    lines += [
        f"| `{key}` | {value:.6g} |" if isinstance(value, float) else f"| `{key}` | {value} |"
        for key, value in summary.sample.items()
    ]
    if summary.final:
        lines += ["", f"Over {summary.seeds} fresh seeds:", "", "| criterion | mean | sd |", "|---|---|---|"]
        lines += [
            f"| {name} | {value:.4f} | {summary.final_sd.get(name, 0):.4f} |"
            for name, value in summary.final.items()
        ]
    return "\n".join(lines)
