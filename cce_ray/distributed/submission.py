"""A command of this package as a job of a cluster, checked before it is handed over."""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0
_DASHBOARD_PORT = 8265
_TOO_LARGE = "413"
"""HTTP status of a working directory over the job server's 100 MiB."""


def submit(
    line: Sequence[str], address: str, *, wait: bool = True, show: Callable[[str], None] = lambda _: None
) -> tuple[str, str]:
    """Submit `python -m cce_ray.cli LINE` with the current folder as its working directory.

    Args:
        line: words of the command, without `cce`; files are relative to the current folder.
        address: of the job server (the dashboard), http://HOST:8265.
        wait: whether to follow the job to its end; `show` gets its output, a piece at a time.

    Returns:
        (id of the job, its status).

    Raises:
        ValueError: one line, with nothing submitted: no server there, no or a wrong token, another version of
            Ray, a file outside the folder, a folder too large to send.
    """
    address = checked(address)
    for word in line:
        if Path(word).suffix in (".yaml", ".yml") and Path(word).exists():
            inside(Path(word))
    client = connect(address)
    entrypoint = shlex.join(["python", "-m", "cce_ray.cli", *line])
    try:
        job = client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": "."})
    except RuntimeError as error:
        if _TOO_LARGE in str(error):
            raise ValueError(
                f"{Path.cwd()}: over 100 MiB, too large to send; name data in .rayignore"
            ) from None
        raise ValueError(
            f"--address {address}: the job was refused: {' '.join(str(error).split())[:200]}"
        ) from None
    if wait:
        follow(client, job, show)
    return job, str(client.get_job_status(job).value)


def checked(address: str) -> str:
    """The address of a job server that something answers at; ValueError otherwise."""
    if "://" not in address:
        address = f"http://{address}"
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"--address {address}: give the job server's, http://HOST:{_DASHBOARD_PORT}")
    try:
        socket.create_connection((parts.hostname, parts.port or _DASHBOARD_PORT), CONNECT_SECONDS).close()
    except OSError as error:
        raise ValueError(
            f"--address {address}: nothing answers there ({error.strerror or error}); start the cluster, or "
            "open the way to it with `ray dashboard cluster.yaml`"
        ) from None
    return address if parts.port else f"{address}:{_DASHBOARD_PORT}"


def inside(file: Path) -> None:
    """ValueError for a file that does not travel with the current folder."""
    if not file.resolve().is_relative_to(Path.cwd()):
        raise ValueError(f"{file}: outside {Path.cwd()}, which is all that is sent; copy it here")


def connect(address: str) -> Any:
    """A client of the job server; ValueError if it does not take us, or runs another Ray."""
    import ray
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        theirs = client.get_version()
    except AuthenticationError:
        raise ValueError(
            f"--address {address}: the cluster wants its token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
            "to what `ray get-auth-token` prints there"
        ) from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"--address {address}: no Ray job server there ({reason}); see `ray start --head`"
        ) from None
    known = getattr(client, "_server_ray_version", None)
    if known and known != ray.__version__:
        raise ValueError(
            f"--address {address}: the cluster runs Ray {known}, this machine {ray.__version__}; install the "
            f"same (job interface {theirs})"
        )
    return client


def follow(client: Any, job: str, show: Callable[[str], None]) -> None:
    """Show the job's output until it ends. A lost connection ends the watching, not the job."""

    async def tail() -> None:
        async for piece in client.tail_job_logs(job):
            show(piece)

    with suppress(RuntimeError, OSError):
        asyncio.run(tail())
