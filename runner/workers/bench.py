"""What all attempts in one worker process share: the settings, the classes, and open folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runner.batch import load_class
from runner.core.model import Status
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.files import Files, tmp_name
from runner.store.shelf import MAX_JOB_BYTES
from runner.task import TaskType, describe
from runner.workers.port import Settings

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Bench:
    """Made once in a worker. Raises OSError."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = Path(settings.root)
        self.logs = os.path.join(settings.state, "logs")
        self.checked_at = codec.stamp(settings.started)
        self._pid = os.getpid()
        self._files = Files()
        self._kinds: dict[str, TaskType] = {}
        self._root = os.open(settings.root, _FOLDER)
        self._tmp = os.open(os.path.join(settings.state, "tmp"), _FOLDER)
        self._done = os.open(os.path.join(settings.state, Status.DONE), _FOLDER)

    def write(self, job: JobFile) -> str:
        """Put a whole job file into tmp/ and return its name there."""
        data = codec.encode(job)
        name = tmp_name(job.id + ".json")
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=self._tmp)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        return name

    def unlink(self, names: Iterable[str]) -> None:
        """Remove files in tmp/; who is too late, or killed before, leaves them to the next recovery."""
        for name in names:
            with suppress(OSError):
                os.unlink(name, dir_fd=self._tmp)

    def kind(self, name: str) -> TaskType:
        """A task class by name. Raises TargetError or TypeError."""
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = describe(load_class(name, self.settings.modules))
        return kind

    def is_done(self, id: str) -> bool:
        """Whether there is a done job of that id."""
        return os.access(id + ".json", os.F_OK, dir_fd=self._done)

    def done(self, id: str) -> bytes:
        """The file of a done job. Raises OSError, BadJobFile."""
        return self._files.read(self._done, f"{id}.json", MAX_JOB_BYTES)

    def state(self, status: Status, id: str) -> str:
        return os.path.join(self.settings.state, status.value, id + ".json")

    def close(self) -> None:
        """Close the folders; the bench cannot be used any more."""
        for folder in (self._root, self._tmp, self._done):
            os.close(folder)

    def recover(self) -> None:
        """After user code: it may have forked, and it may have gone to another folder."""
        if os.getpid() != self._pid:
            os._exit(1)  # a child that it forked and that came back: there must not be two of this worker
        os.fchdir(self._root)
