"""One whole run: configuration -> seeds -> training -> metrics -> report -> tracker; and prediction."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.runs.folder import (
    CONFIG_FILE,
    check_same_run,
    free_names,
    latest,
    locked,
    matching,
    numbered,
    occupied,
    open_folder,
)
from cce_ray.runs.listener import Listener, LogListener
from cce_ray.runs.named import load_run

if TYPE_CHECKING:
    from cce_ray.runs.artifacts import label_command, launcher, short, ui_command
    from cce_ray.runs.embedding import embed_file
    from cce_ray.runs.prediction import load_model, predict_data, predict_file
    from cce_ray.runs.run import SUMMARY_FILE, check_fits, final_metrics, run_training
    from cce_ray.runs.seeds import (
        CLUSTERS_FILE,
        MODEL_FILE,
        RESULT_FILE,
        InProcess,
        SeedJob,
        SeedResult,
        SeedRunner,
        representative,
        train_seed,
    )
    from cce_ray.runs.summary import RunSummary
    from cce_ray.runs.tracked import finishing, run_tags, tracked_run
else:
    # These need torch, for which a mistake in a configuration should not have to wait.
    __getattr__ = lazy(
        __name__,
        {
            "artifacts": ["label_command", "launcher", "short", "ui_command"],
            "embedding": ["embed_file"],
            "prediction": ["load_model", "predict_data", "predict_file"],
            "run": ["SUMMARY_FILE", "check_fits", "final_metrics", "run_training"],
            "seeds": [
                "CLUSTERS_FILE",
                "InProcess",
                "MODEL_FILE",
                "RESULT_FILE",
                "SeedJob",
                "SeedResult",
                "SeedRunner",
                "representative",
                "train_seed",
            ],
            "summary": ["RunSummary"],
            "tracked": ["finishing", "run_tags", "tracked_run"],
        },
    )

__all__ = [
    "CLUSTERS_FILE",
    "CONFIG_FILE",
    "MODEL_FILE",
    "RESULT_FILE",
    "SUMMARY_FILE",
    "InProcess",
    "Listener",
    "LogListener",
    "RunSummary",
    "SeedJob",
    "SeedResult",
    "SeedRunner",
    "check_fits",
    "check_same_run",
    "embed_file",
    "final_metrics",
    "finishing",
    "free_names",
    "label_command",
    "latest",
    "launcher",
    "load_model",
    "load_run",
    "locked",
    "matching",
    "numbered",
    "occupied",
    "open_folder",
    "predict_data",
    "predict_file",
    "representative",
    "run_tags",
    "run_training",
    "short",
    "tracked_run",
    "train_seed",
    "ui_command",
]
