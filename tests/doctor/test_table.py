"""The table of the checks."""

import io
from typing import Any

import pytest

from cce_ray.doctor.check import Check
from cce_ray.doctor.table import show


def test_the_table_folds_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut off."""
    from rich.console import Console

    shown = io.StringIO()

    def narrow(**_: Any) -> Console:
        return Console(file=shown, width=60, force_terminal=True, color_system=None)

    monkeypatch.setattr("rich.console.Console", narrow)
    show([Check("ray token", False, "word " * 30 + "end", "mend " * 30 + "so")])
    words = shown.getvalue().split()
    assert words.count("word") == 30 and words.count("mend") == 30 and "so" in words
