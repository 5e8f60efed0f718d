"""Where the MLflow store is, decided and checked before MLflow is asked: its own retries take minutes."""

from __future__ import annotations

import os
import re
import shlex
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

_PREFIX = "sqlite:///"
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Location:
    """A tracking URI with absolute paths."""

    uri: str
    artifacts: str | None
    """Where a new experiment keeps its artifacts; None: the server decides."""

    @property
    def database(self) -> Path | None:
        """The SQLite file, if that is what the URI names."""
        return _database_of(self.uri) if self.uri.startswith(_PREFIX) else None

    @property
    def shown(self) -> str:
        """The URI as it may be shown and logged."""
        return without_password(self.uri)

    @property
    def ui(self) -> str:
        """The command that serves the store, or the server's address."""
        if self.uri.startswith("http"):
            return self.shown
        return f"mlflow ui --backend-store-uri {shlex.quote(self.shown)}"

    def page(self, experiment_id: str) -> str | None:
        """The address of an experiment's training runs, with `mlflow ui` on its default port."""
        if self.uri.startswith("databricks"):
            return None
        server = self.shown.rstrip("/") if self.uri.startswith("http") else "http://127.0.0.1:5000"
        return f"{server}/#/experiments/{experiment_id}?workflowType=machine_learning"


def without_password(uri: str) -> str:
    """The URI with *** for a password, as SQLAlchemy writes it."""
    return re.sub(r"//([^/@:]*):[^/@]*@", r"//\1:***@", uri)


def locate(uri: str | None, output_dir: Path, environment: Mapping[str, str] = os.environ) -> Location:
    """The setting, else MLFLOW_TRACKING_URI, else a SQLite file in ``output_dir``.

    Artifacts lie beside a SQLite file, since MLflow's own default is a folder below wherever the process
    started. Raises ValueError for a URI that keeps nothing or that MLflow does not support any more.
    """
    output_dir = output_dir.absolute()
    requested = uri or environment.get("MLFLOW_TRACKING_URI") or _sqlite_uri(output_dir / "mlflow.db")
    scheme = urlsplit(requested).scheme.partition("+")[0]
    if scheme == "sqlite":
        database = _database_of(requested) if requested.startswith(_PREFIX) else None
        if database is None or str(database) in (".", ":memory:"):
            raise ValueError(f"tracking.uri: {requested!r} keeps nothing; write sqlite:///FILE.db")
        database = database.expanduser().absolute()
        return Location(_sqlite_uri(database), (database.parent / "mlartifacts").as_uri())
    if scheme in ("http", "https", "databricks") or requested == "databricks":
        return Location(requested, None)
    if scheme in _PORTS:
        return Location(requested, (output_dir / "mlartifacts").as_uri())
    raise ValueError(
        f"tracking.uri: {requested!r} is no store that MLflow supports (its file store is gone);"
        " write sqlite:///FILE.db, http://HOST:PORT or postgresql://..."
    )


def _sqlite_uri(database: Path) -> str:
    """The URI that leads SQLAlchemy to a file: it decodes %, and takes what follows a ? for options."""
    return _PREFIX + str(database).replace("%", "%25").replace("?", "%3F")


def _database_of(uri: str) -> Path:
    """The file that SQLAlchemy opens for a URI."""
    return Path(unquote(uri.removeprefix(_PREFIX).partition("?")[0]))


def check(location: Location) -> None:
    """Raise a ValueError within seconds if the store cannot be written or its host does not answer."""
    if location.database:
        _check_database(location.database)
        return
    parts = urlsplit(location.uri)
    try:
        port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    except ValueError:
        raise ValueError(
            f"tracking.uri: {location.shown!r} has no valid port; write it as http://HOST:5000"
        ) from None
    if parts.hostname is None or port is None or _proxied(parts.scheme, parts.hostname):
        return
    try:
        socket.create_connection((parts.hostname, port), timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        raise ValueError(
            f"tracking.uri: no server answers at {parts.hostname}:{port} ({error});"
            " start it, correct tracking.uri, or set tracking.enabled=false"
        ) from None


@contextmanager
def single_process(location: Location) -> Iterator[None]:
    """Keep other processes from opening the same SQLite file meanwhile.

    Several that find it empty migrate its schema at once, and all but one of them die.
    """
    if location.database is None:
        yield
        return
    import fcntl

    with location.database.with_name(location.database.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_database(database: Path) -> None:
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=_TIMEOUT_SECONDS)) as connection:
            connection.execute("PRAGMA user_version").fetchone()
        if not os.access(database, os.W_OK):
            raise PermissionError("it is read-only")
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(
            f"tracking.uri: the SQLite store {database} cannot be used ({reason});"
            " choose another file in tracking.uri, or set tracking.enabled=false"
        ) from None


def _proxied(scheme: str, host: str) -> bool:
    """Whether requests leave through a proxy, so that the host itself need not answer."""
    from urllib.request import getproxies, proxy_bypass

    return scheme in getproxies() and not proxy_bypass(host)
