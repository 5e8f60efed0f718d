"""What surrounds every verb: interruptions, and mistakes as one line."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

import typer

from cce_ray.cli.verbs import app

_INTERRUPTED = 130
_RESUME = "the same command goes on with --resume"
_INTERRUPTIONS = {
    "predict": "nothing was written",
    "embed": "nothing was written",
    "experiment": "the same command goes on",
}
"""What is said of these verbs; of all others RESUME."""
_REMEDIES = {
    errno.ENOSPC: "make room on that disk and run again",
    errno.EDQUOT: "make room in your quota and run again",
    errno.EACCES: "get the right to it, or choose another place",
    errno.EROFS: "choose another place",
}


def one_line(error: BaseException) -> str:
    """The error as one line; what the system refused, with its file and a remedy."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        remedy = f"; {_REMEDIES[error.errno]}" if error.errno in _REMEDIES else ""
        text = f"{place}{error.strerror}{remedy}"
    return " ".join(text.split()) or error.__class__.__name__


def main() -> Any:
    """Entry point: a user's mistake or a full disk is one line and exit code 2, never a traceback."""
    # Before torch is loaded. Its threads spin while they wait, which slows a run down several times when
    # anything else wants the same cores. Digits, 12 epochs, two threads: 1.4 s alone, 19 s beside two busy
    # processes with GOMP's default; 1.5 s and 3.1 s with this; 1.8 s and 4.7 s without any spinning.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an interruption too: schedulers send it
    try:
        app()
    except (ValueError, OSError) as error:
        typer.echo(f"error: {one_line(error)}", err=True)
        sys.exit(2)
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        typer.echo("error: optimizer.batch_size: the device's memory is full; lower it", err=True)
        sys.exit(2)
    except (SystemExit, KeyboardInterrupt) as end:
        # Typer turns most interruptions into an exit; one that strikes in typer's own code comes as it is.
        if isinstance(end, SystemExit) and end.code != _INTERRUPTED:
            raise
        remedy = _INTERRUPTIONS.get(sys.argv[1] if len(sys.argv) > 1 else "", _RESUME)
        typer.echo(f"error: interrupted; {remedy}", err=True)
        # An interruption that passed through code run from text (dataclasses make their methods so) leaves
        # Python with a mark, and `python -m` would die of SIGINT instead of this exit code. Running any other
        # text takes the mark away.
        exec("")
        sys.exit(_INTERRUPTED)
