"""The Ray cluster that a run would join: its address and its token. Ray is not started for it."""

from __future__ import annotations

import os
from pathlib import Path

from cce_ray.doctor.check import Check, broken, first_line


def ray_address(address: str | None) -> Check:
    """Whether the cluster that a run would join answers. Ray is not started for it."""
    from cce_ray.distributed import address_of, check_answers

    name, wanted = "ray address", address_of(address)
    if wanted == "local":
        return Check(name, None, "none: Ray is started on this machine")
    if "://" in wanted:
        remedy = "to join a cluster give HOST:PORT of its head; from outside use ray job submit"
        if wanted.startswith("http") and not address:
            return Check(name, None, f"RAY_ADDRESS={wanted}: for ray job submit, not for cce", remedy)
        return Check(name, False, f"{wanted}: not an address that cce can join", remedy)
    if wanted == "auto":
        wanted = first_line("/tmp/ray/ray_current_cluster")
        if not wanted:
            return Check(name, False, "auto: no cluster was started on this machine", "ray start --head")
    try:
        check_answers(wanted)
    except ValueError as error:
        return broken(name, str(error).removeprefix("--address "))
    return Check(name, True, f"{wanted} answers")


def ray_token(address: str | None) -> Check:
    """Whether there is a token for Ray's authentication, and Ray will use it. It is never shown."""
    from cce_ray.distributed import address_of

    name, mode = "ray token", os.environ.get("RAY_AUTH_MODE", "").lower()
    joins = address_of(address) not in ("local", "auto")
    named, given = os.environ.get("RAY_AUTH_TOKEN_PATH"), os.environ.get("RAY_AUTH_TOKEN")
    file = Path(named or Path.home() / ".ray" / "auth_token")
    source = "RAY_AUTH_TOKEN" if given else str(file)
    if mode == "disabled":
        found = "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports can run code"
        return Check(name, None, found, "unset RAY_AUTH_MODE")
    if not given and not first_line(file):
        copy = "copy the cluster's ~/.ray/auth_token here, and export RAY_AUTH_MODE=token"
        if named:
            return Check(
                name, False, f"RAY_AUTH_TOKEN_PATH={named}: not there, or empty", "correct or unset it"
            )
        if joins and mode:
            return Check(name, False, f"RAY_AUTH_MODE={mode}, and no token here", copy)
        if joins:
            return Check(name, None, "none: a cluster that asks for one will refuse", copy)
        return Check(name, None, "none: Ray makes one when it is started here")
    if joins and not mode:
        found = f"in {source}, which Ray does not show to a given address by itself"
        return Check(name, None, found, "export RAY_AUTH_MODE=token")
    if not given and seen_by_all(file):
        return Check(name, None, f"in {file}, which every user here can read", f"chmod 600 {file}")
    return Check(name, True, f"in {source}")


def seen_by_all(file: Path) -> bool:
    """Whether other users of the machine can read it."""
    return bool(file.stat().st_mode & 0o004) and all(
        path.stat().st_mode & 0o001 for path in file.absolute().parents
    )
