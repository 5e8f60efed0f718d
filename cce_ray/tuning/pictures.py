"""Optuna's plots of a study, rebuilt from its records."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress

from cce_ray.tuning.optuna_searcher import make_study
from cce_ray.tuning.study import Study

_FEWEST_TRIALS = 4
"""Below this the importance of a setting means nothing."""


def pictures(study: Study) -> dict[str, bytes]:
    """{name: PNG} of the history, importance, slices and parallel coordinates; fewer for few trials."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    known = make_study(study.search, study.records)
    if len(known.trials) < _FEWEST_TRIALS:
        return {}
    kinds = {
        "history": plots.plot_optimization_history,
        "importance": plots.plot_param_importances,
        "slices": plots.plot_slice,
        "parallel_coordinates": plots.plot_parallel_coordinate,
    }
    found: dict[str, bytes] = {}
    for name, plot in kinds.items():
        # A setting that never varied, or values that are all equal, have no importance.
        with warnings.catch_warnings(), suppress(ValueError, RuntimeError, ZeroDivisionError):
            warnings.simplefilter("ignore")
            axes = plot(known)
            figure = pyplot.gcf()
            width, height = (5.0 * axes.size, 4.2) if hasattr(axes, "size") else (8.5, 4.8)
            figure.set_size_inches(width, height)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
            found[name] = buffer.getvalue()
        pyplot.close("all")
    return found
