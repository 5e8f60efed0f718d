"""Search spaces, trials, the Ray Tune + Optuna search, leaderboards."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cce_ray.tuning.search_settings import Search, load_search

if TYPE_CHECKING:
    from cce_ray.tuning.publishing import SearchSummary
    from cce_ray.tuning.search import Options, run_search

__all__ = ["Options", "Search", "SearchSummary", "load_search", "run_search"]

# These need torch and ray, for which a mistake in a search space should not have to wait.
_LAZY = {"Options": "search", "run_search": "search", "SearchSummary": "publishing"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
