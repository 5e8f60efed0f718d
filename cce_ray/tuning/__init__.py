"""Search spaces, trials, the Ray Tune + Optuna search, leaderboards."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.tuning.search_settings import Search, load_search

if TYPE_CHECKING:
    from cce_ray.tuning.finals import read_outcome
    from cce_ray.tuning.objectives import OBJECTIVES, merit, value_of
    from cce_ray.tuning.publishing import SUMMARY_FILE, SearchSummary
    from cce_ray.tuning.records import read_trials, trial_folder
    from cce_ray.tuning.search import Options, run_search
    from cce_ray.tuning.study import SEARCH_FILE
else:
    # These need torch and ray, for which a mistake in a search space should not have to wait.
    __getattr__ = lazy(
        __name__,
        {
            "finals": ["read_outcome"],
            "objectives": ["OBJECTIVES", "merit", "value_of"],
            "publishing": ["SUMMARY_FILE", "SearchSummary"],
            "records": ["read_trials", "trial_folder"],
            "search": ["Options", "run_search"],
            "study": ["SEARCH_FILE"],
        },
    )

__all__ = [
    "OBJECTIVES",
    "SEARCH_FILE",
    "SUMMARY_FILE",
    "Options",
    "Search",
    "SearchSummary",
    "load_search",
    "merit",
    "read_outcome",
    "read_trials",
    "run_search",
    "trial_folder",
    "value_of",
]
