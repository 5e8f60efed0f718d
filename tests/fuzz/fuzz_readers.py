"""Damage valid files at random and let every reader read them, in child processes that may die of it.

    python tests/fuzz/fuzz_readers.py --mutations 1000
    python tests/fuzz/fuzz_readers.py --reader "npz deflated" --only 17 --keep broken.npz

A damaged file is read whole, or refused with a ValueError or OSError of one line that names the file (or the
setting); everything else is a failure: other exceptions, a native crash, a hang, too much memory.

Memory is limited twice. The peak of resident memory is measured for each file (VmHWM, set back before each):
that is what a machine runs out of. RLIMIT_DATA, which counts what a process may write, ends allocations that
would endanger the machine itself; RLIMIT_AS would also count mapped files and the reserves of torch and
Arrow, tens of gigabytes of addresses that cost nothing.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import functools
import json
import os
import queue
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
DATA_LIMIT = 4 * 2**30
"""Bytes that a child may have writable, beyond those it starts with."""
SILENCE = 300.0
"""Seconds after which a child that says nothing counts as hanging: hundreds of times what a file takes."""


@dataclass
class Row:
    """What became of the damaged files of one reader."""

    mutations: int = 0
    refused: int = 0
    accepted: int = 0
    failures: list[str] = field(default_factory=list)
    peak_bytes: int = 0
    seconds: float = 0.0


# The child


def memory(name: str) -> int:
    line = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert line
    return int(line[1]) * 1024


def read_one(name: str, number: int, seed: int, folder: Path) -> dict[str, object]:
    """Read damaged file `number`: {"outcome": refused, accepted or failed, "text": why, "peak": bytes}."""
    from readers import READERS

    reader = READERS[name]
    data, random = reader.mutant(number, seed)
    place = folder / name.replace(" ", "_")
    place.mkdir(exist_ok=True)
    path = place / f"damaged{reader.suffix}"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of resident memory starts anew
    before = memory("VmRSS")
    outcome, text, started = "accepted", "", time.perf_counter()
    try:
        reader.read(path, random)
    except (ValueError, OSError) as error:
        text = str(error)
        named = path.name in text or (reader.names and re.match(reader.names, text))
        outcome = "refused" if len(text.splitlines()) == 1 and named else "failed"
        if type(error).__name__ not in ("ValueError", "FileNotFoundError") and not isinstance(error, OSError):
            outcome = "failed"
        if outcome == "failed":
            text = f"{type(error).__name__}: {text[:300]!r} " + trace(error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome, text = "failed", f"{type(error).__name__}: {str(error)[:300]!r} {trace(error)}"
    peak = memory("VmHWM") - before
    if peak > reader.memory and outcome != "failed":
        outcome, text = "failed", f"took {peak / 2**20:.0f} MiB of memory, then {outcome}: {text[:200]!r}"
    return {"outcome": outcome, "text": text, "peak": peak, "seconds": time.perf_counter() - started}


def trace(error: BaseException) -> str:
    """The last places of this project, and the very last."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "cce_ray" in frame.filename and "site-packages" not in frame.filename]
    shown = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*own[-2:], *frames[-1:])]
    return "at " + " > ".join(dict.fromkeys(shown))


def child(seed: int, work: list[tuple[str, int, int]]) -> None:
    """Read the files of `work`, (reader, first, last + 1), and say before and after each how it goes."""
    faulthandler.enable()
    sys.path.insert(0, str(HERE.parents[1]))
    from readers import READERS

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries may print
    limit = memory("VmData") + DATA_LIMIT
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    for reader in READERS.values():  # made once; a damaged file starts from them
        object.__setattr__(reader, "valid", functools.cache(reader.valid))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder  # where unpacked copies go
        for name, first, last in work:
            warm_up(name, Path(folder))
            for number in range(first, last):
                answers.write(json.dumps({"reader": name, "number": number}) + "\n")
                answers.write(json.dumps(read_one(name, number, seed, Path(folder))) + "\n")


def warm_up(name: str, folder: Path) -> None:
    """Read the valid files, which all readers accept: imports are no memory of the first damaged one."""
    import numpy as np
    from readers import READERS

    reader = READERS[name]
    for data in reader.valid():
        place = folder / "valid" / name.replace(" ", "_")
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"valid{reader.suffix}"
        path.write_bytes(data)
        reader.read(path, np.random.default_rng(0))


# The parent


def fuzz(readers: list[str], first: int, last: int, seed: int = 0) -> dict[str, Row]:
    """Read damaged files `first` to `last` - 1 of each reader; after a child that dies comes another one."""
    rows = {name: Row() for name in readers}
    work = [(name, first, last) for name in readers]
    while work:
        with tempfile.TemporaryFile("w+") as errors:
            command = [sys.executable, __file__, "--child", json.dumps(work), "--seed", str(seed)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            begun: dict[str, object] | None = None
            for line in lines_of(process):
                answer = json.loads(line)
                if "reader" in answer:
                    begun = answer
                else:
                    assert begun is not None
                    count(rows[str(begun["reader"])], int(str(begun["number"])), answer)
                    work = left_of(work, str(begun["reader"]), int(str(begun["number"])))
                    begun = None
            status = process.wait()
            errors.seek(0)
            last_words = " | ".join(errors.read().splitlines()[-40:])[-1500:]
        if begun is not None:
            name, number = str(begun["reader"]), int(str(begun["number"]))
            end = signal.Signals(-status).name if status < 0 else f"exit code {status}"
            text = f"the process ended: {end} {last_words}"
            count(rows[name], number, {"outcome": "failed", "text": text, "peak": 0, "seconds": 0})
            work = left_of(work, name, number)
        elif work:
            raise RuntimeError(f"a child ended before its work did ({status}): {last_words}")
    return rows


def count(row: Row, number: int, answer: dict[str, object]) -> None:
    row.mutations += 1
    row.peak_bytes = max(row.peak_bytes, int(str(answer["peak"])))
    row.seconds += float(str(answer["seconds"]))
    row.refused += answer["outcome"] == "refused"
    row.accepted += answer["outcome"] == "accepted"
    if answer["outcome"] == "failed":
        row.failures.append(f"#{number} {answer['text']}")


def left_of(work: list[tuple[str, int, int]], name: str, number: int) -> list[tuple[str, int, int]]:
    """The work without damaged file `number` of `name` and those before it."""
    assert work[0][0] == name
    return [(name, number + 1, work[0][2]), *work[1:]] if number + 1 < work[0][2] else work[1:]


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    """What a child says until it ends; one that is silent for too long, once it has begun, is killed."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    assert process.stdout is not None

    def listen(stream: IO[str]) -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=listen, args=(process.stdout,), daemon=True).start()
    with contextlib.suppress(queue.Empty):
        silence = None  # imports take as long as they take
        while (line := lines.get(timeout=silence)) is not None:
            yield line
            silence = SILENCE
        return
    process.kill()


def table(rows: dict[str, Row]) -> str:
    columns = ("mutations", "refused", "accepted", "failures", "peak MiB", "seconds")
    cells = {
        name: (row.mutations, row.refused, row.accepted, len(row.failures), row.peak_bytes >> 20, row.seconds)
        for name, row in rows.items()
    }
    by_column = list(zip(*cells.values(), strict=True))
    cells["all"] = (*map(sum, by_column[:4]), max(by_column[4]), sum(by_column[5]))  # type: ignore[assignment]
    lines = [f"{'reader':20}" + "".join(f"{column:>10}" for column in columns)]
    lines += [f"{name:20}" + "".join(f"{round(cell):10}" for cell in row) for name, row in cells.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=50, help="of each reader")
    parser.add_argument("--reader", action="append", help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="only this mutation")
    parser.add_argument("--keep", type=Path, help="write the damaged file here (with --reader and --only)")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.seed, json.loads(options.child))
        return
    from readers import READERS

    names = options.reader or list(READERS)
    if options.keep:
        options.keep.write_bytes(READERS[names[0]].mutant(options.only, options.seed)[0])
        return
    first, last = (0, options.mutations) if options.only is None else (options.only, options.only + 1)
    rows = fuzz(names, first, last, options.seed)
    if options.json:
        sys.stdout.write(json.dumps({name: asdict(row) for name, row in rows.items()}) + "\n")
        return
    sys.stdout.write(table(rows) + "\n")
    for name, row in rows.items():
        for text, numbers in grouped(row.failures).items():
            sys.stdout.write(f"\n{name} {', '.join(numbers[:6])} ({len(numbers)}): {text}\n")


def grouped(failures: list[str]) -> dict[str, list[str]]:
    """Failures of one text and place, by it (numbers in the text aside)."""
    kinds: dict[str, list[str]] = collections.defaultdict(list)
    shown: dict[str, str] = {}
    for failure in failures:
        number, _, text = failure.partition(" ")
        kind = re.sub(r"'.*' at", "' at", re.sub(r"\d+ MiB", "", text))[:150]
        shown.setdefault(kind, text)
        kinds[kind].append(number)
    return {shown[kind]: numbers for kind, numbers in kinds.items()}


if __name__ == "__main__":
    main()
