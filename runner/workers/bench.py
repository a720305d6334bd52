"""What all attempts in one worker process share: the settings, the classes, and open folders."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.batch import load_class
from runner.core.events import Began
from runner.core.model import Status
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.files import Files, tmp_name
from runner.store.pace import note_start, steady
from runner.store.shelf import LOCKS, MAX_JOB_BYTES
from runner.task import TaskType, describe
from runner.workers.hindrance import Exhausted, Hindered, doubtful, is_machines
from runner.workers.port import Settings
from runner.workers.staging import remove

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PROBE = bytes(1 << 16)
_TRIES = 5
_PROMPT = 0.001  # seconds
_PROCESS = {
    errno.EMFILE: "its worker had too many open files",
    errno.EBADF: "a task has closed what its worker had open",
}

_CELL = struct.Struct("d")
_last = mmap.mmap(-1, _CELL.size)
"""When anybody was found to be hindered last, as time.monotonic has it. All workers of a fork server share it. It is
written before what was staged is removed, which makes room."""


class Bench:
    """Made once in a worker. `tell` has the scheduler hear of what begins. Raises OSError."""

    def __init__(
        self, settings: Settings, files: Files | None = None, tell: Callable[[Began], object] = lambda began: None
    ) -> None:
        self.settings = settings
        self._tell = tell
        self.root = Path(settings.root)
        self.logs = os.path.join(settings.state, "logs")
        self.checked_at = codec.stamp(settings.started)
        self._pid = os.getpid()
        self.files = Files() if files is None else files
        self._kinds: dict[str, TaskType] = {}
        self._root = os.open(settings.root, _FOLDER)
        self._tmp = os.open(os.path.join(settings.state, "tmp"), _FOLDER)
        self._done = os.open(os.path.join(settings.state, Status.DONE), _FOLDER)
        self._locks = os.open(os.path.join(settings.state, LOCKS), _FOLDER)

    def begin(self, id: str) -> None:
        """A job with a rate is about to begin: the scheduler is told, and the next one will know. Raises Hindered.

        To say so may take the processor away from who says it. If it did for long, it was said too early.
        """
        for _ in range(_TRIES):
            try:
                at = steady() if self.settings.afar else note_start(self.files, self._locks)
            except OSError as error:
                raise self._blamed(error, os.path.join(self.settings.state, LOCKS)) from error
            self._tell(Began(id, at))
            if steady() - at < _PROMPT:
                break

    def write(self, job: JobFile) -> str:
        """Put a whole job file into tmp/ and return its name there. Raises Hindered."""
        name = tmp_name(job.id + ".json")
        try:
            self.files.write(self._tmp, name, codec.encode(job))
            if self.settings.afar and self.settings.durable:
                self.files.sync_file(self._tmp, name)
        except OSError as error:
            raise self._blamed(error, os.path.join(self.settings.state, "tmp")) from error
        return name

    def draft(self, name: str) -> JobFile:
        """A job file that was put into tmp/. Raises Hindered."""
        try:
            return codec.decode(self.files.read(self._tmp, name, MAX_JOB_BYTES))
        except (OSError, BadJobFile) as error:
            raise Hindered(f"{os.path.join(self.settings.state, 'tmp', name)}: {error}") from error

    def unlink(self, names: Iterable[str]) -> None:
        """Remove files in tmp/; who is too late, or killed before, leaves them to the next recovery."""
        for name in names:
            with suppress(OSError):
                self.files.unlink(self._tmp, name)

    def make_folder(self, path: str) -> None:
        """Make the folder of an output, if it is not there. Raises Hindered, OSError."""
        if path and not os.access(path, os.F_OK):  # a file is there: the task will hear when it opens its own
            with self._hearing(path):
                self.files.make_folders(self._root, path, 0o777)

    def publish(self, pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
        """Put staged files into their final places; gives each when it is there. Raises Hindered, OSError."""
        durable, folders = self.settings.durable, set()
        for path, final in pairs:
            with self._hearing(final):
                if durable:
                    self.sync(path)
                self.files.rename(self._root, path, self._root, final)
            yield final
            folders.add(os.path.dirname(final) or ".")
        for folder in folders if durable else ():
            with self._hearing(folder):
                descriptor = self.files.open_folder(folder, self._root, follow=True)
                try:
                    self.files.sync_folder(descriptor)
                finally:
                    self.files.close(descriptor)

    def sync(self, path: str) -> None:
        """Make a staged file's contents durable. Raises OSError."""
        self.files.sync_file(self._root, path)

    def discard(self, paths: Iterable[str]) -> None:
        """Remove staged files that will not be delivered. Raises Hindered: the scheduler sweeps up then."""
        for path in paths:
            with suppress(OSError), self._hearing(path):
                remove(self.files, [path])

    def hindrance(self, error: BaseException, probes: Iterable[str], since: float) -> Hindered | None:
        """Whether the machine is at fault for what an attempt raised, and no job could do better now. Or could have
        done since the attempt began: another one may have made room again, as it was hindered itself.

        `probes`: staging paths where its outputs are to lie. `since`: as time.monotonic has it. Raises Exhausted if
        this process is at fault.
        """
        hindered = self._hindrance(error, probes)
        if hindered is not None:
            _CELL.pack_into(_last, 0, time.monotonic())
        elif _CELL.unpack_from(_last)[0] >= since and (cause := doubtful(error)) is not None:
            return Hindered(f"{self.settings.root}: {cause.strerror}")
        return hindered

    def _hindrance(self, error: BaseException, probes: Iterable[str]) -> Hindered | None:
        if isinstance(error, Hindered):
            return error
        try:
            for folder in self._folders:
                os.fstat(folder)
        except OSError:
            raise Exhausted(_PROCESS[errno.EBADF]) from error
        if doubtful(error) is None:
            return None
        tmp = os.path.join(self.settings.state, "tmp", tmp_name("probe"))
        for path, inside in ((tmp, True), *((path, not os.path.isabs(path)) for path in probes)):
            try:
                self.files.write(self._root, path, _PROBE)
            except OSError as found:
                if is_machines(found, inside=inside):
                    return self._blamed(found, os.path.dirname(path) or ".")
            finally:
                with suppress(OSError):
                    self.files.unlink(self._root, path)
        return None

    @contextmanager
    def _hearing(self, path: str) -> Iterator[None]:
        """What we do with an output ourselves: if the machine hinders that, the job is not to blame."""
        try:
            yield
        except OSError as error:
            if is_machines(error, inside=not os.path.isabs(path)):
                raise self._blamed(error, path) from error
            raise

    @staticmethod
    def _blamed(error: OSError, where: str) -> Hindered:
        if error.errno in _PROCESS:
            raise Exhausted(_PROCESS[error.errno]) from error
        return Hindered(f"{where}: {error.strerror}")

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
        return self.files.read(self._done, f"{id}.json", MAX_JOB_BYTES)

    @property
    def _folders(self) -> tuple[int, ...]:
        return self._root, self._tmp, self._done, self._locks

    def state(self, status: Status, id: str) -> str:
        return os.path.join(self.settings.state, status.value, id + ".json")

    def close(self) -> None:
        """Close the folders; the bench cannot be used any more."""
        for folder in self._folders:
            os.close(folder)

    def recover(self) -> None:
        """After user code: it may have forked, and it may have gone to another folder."""
        if os.getpid() != self._pid:
            os._exit(1)  # a child that it forked and that came back: there must not be two of this worker
        os.fchdir(self._root)
