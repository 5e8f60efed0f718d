"""Search spaces, trials, the Ray Tune + Optuna search, leaderboards."""

from typing import TYPE_CHECKING

from cce_ray.lazy import lazy
from cce_ray.tuning.search_settings import Search, load_search

if TYPE_CHECKING:
    from cce_ray.tuning.publishing import SearchSummary
    from cce_ray.tuning.search import Options, run_search
else:
    # These need torch and ray, for which a mistake in a search space should not have to wait.
    __getattr__ = lazy(__name__, {"publishing": ["SearchSummary"], "search": ["Options", "run_search"]})

__all__ = ["Options", "Search", "SearchSummary", "load_search", "run_search"]
