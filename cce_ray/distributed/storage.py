"""Where the workers' checkpoints lie: a folder that every node sees, or a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from cce_ray.config import RunConfig
from cce_ray.runs import CONFIG_FILE, check_same_run


class RunStorage:
    """The place of one seed's checkpoints: `name` below a folder or bucket.

    Raises ValueError, one line, if there is no such kind of place.
    """

    def __init__(self, root: str, name: str) -> None:
        from pyarrow import fs

        self.root, self.name = root, name
        with self._explained():
            self._files, path = fs.FileSystem.from_uri(root)
        self._path = f"{path.rstrip('/')}/{name}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"runtime.storage: {self.root} cannot be used ({reason}); give an absolute path that every "
                "node sees, or the URI of a bucket"
            ) from None

    def check_writable(self) -> None:
        """ValueError unless files can be written here."""
        probe = f"{self._path}/.writable"
        with self._explained():
            self._write(probe, b"")
            self._files.delete_file(probe)

    def _write(self, path: str, content: bytes) -> None:
        self._files.create_dir(self._path, recursive=True)
        with self._files.open_output_stream(path) as stream:
            stream.write(content)

    def check_free(self, config: RunConfig, resume: bool) -> None:
        """ValueError if another run has the place, or if this one is there already and not to be resumed."""
        kept = self._read()
        if kept is not None and not resume:
            raise ValueError(
                f"runtime.storage: {self.root} already holds a run {self.name}; continue it with --resume or "
                "set another output_dir"
            )
        if kept is not None:
            check_same_run(config, RunConfig.from_dict(yaml.safe_load(kept)), f"{self.root}/{self.name}")

    def claim(self, config: RunConfig, resume: bool) -> None:
        """Make the place this run's; ValueError as `check_free`."""
        self.check_free(config, resume)
        with self._explained():
            self._write(f"{self._path}/{CONFIG_FILE}", config.to_yaml().encode())

    def _read(self) -> str | None:
        try:
            with self._files.open_input_stream(f"{self._path}/{CONFIG_FILE}") as stream:
                return str(stream.read().decode())
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """All of it: the results are elsewhere."""
        self._files.delete_dir(self._path)
