"""FolderStore: the state folder, where a job's folder is its status.

What the loop has of the disk. `carry_out` does the engine's commands in order (see `steps.py` for what survives a
crash), `recover` tells what the last runner left (see `recovery.py`), the rest reads. Only the holder of the runner
lock may call `carry_out`, `recover` or `quarantine`; anybody may look. Must not decide anything about a job.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Self

from runner.core.model import FLOW_ORDER, Json, Status
from runner.errors import BadJobFile, StateError, plainly
from runner.store import codec
from runner.store.codec import Brief, JobFile
from runner.store.files import Files
from runner.store.lock import Holder, announce, hold_lock, holder
from runner.store.names import job_ids
from runner.store.shelf import STATUS_FOLDERS, TMP, Durability, Shelf

if TYPE_CHECKING:  # what only the runner needs is imported where it is used: to look must not wait for it
    from runner.core.commands import Create, StoreCommand
    from runner.store import recovery

__all__ = ["FolderStore"]

_MAX_LEFTOVERS = 2000
_SCANS = 4  # a reader's tries, while jobs move backward under it
_FINDS = 50  # likewise, for one job: it would have to move backward under each of them


class FolderStore:
    """One state folder, opened. `root` (default: the folder that `path` is in) is what relative output paths are in.

    `create=False` makes no folder and takes missing ones as empty. Raises StateError for a folder that is not ours
    alone; OSErrors of single operations come through as they are.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "power",
        files: Files | None = None,
        clock: Callable[[], float] = time.time,
        root: str | os.PathLike[str] | None = None,
        create: bool = True,
    ) -> None:
        self.shelf = Shelf(path, durability=durability, files=files, clock=clock, root=root, create=create)
        self.path = self.shelf.path
        self.root = self.shelf.root
        self.tmp_path = self.shelf.tmp_path
        self.durable = self.shelf.durable
        self.files = self.shelf.files
        self._rewished: set[str] = set()
        self._failure = ""
        self._one_sync = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Tidy up, and close the folders."""
        if self.shelf.fds and not self._failure:
            with suppress(OSError):  # the next recovery does it; and what went wrong before is what is to be told
                self.tidy()
        self.shelf.close()

    @property
    def run(self) -> str:
        """The id of the current run: for attempts and for trash/."""
        return self.shelf.run

    @run.setter
    def run(self, run: str) -> None:
        self.shelf.run = run

    @property
    def one_filesystem(self) -> bool:
        """Whether state and project root share a file system; if not, a power cut may part a job and its outputs."""
        return self.shelf.one_filesystem

    # ------------------------------------------------------------------------------------------------- the lock

    def lock(self, info: Mapping[str, Json] | None = None) -> AbstractContextManager[None]:
        """The runner lock, for a `with`. Raises Busy, naming the holder. `info["run"]` and more go to runner.json."""
        return hold_lock(self.shelf, info or {})

    def announce(self, info: Mapping[str, Json]) -> None:
        """Say more about the lock's holder than `lock` could: its run, once it has one."""
        announce(self.shelf, info)

    def holder(self) -> Holder | None:
        """Who holds the lock, or held it last: see `Holder.alive`."""
        return holder(self.shelf)

    # --------------------------------------------------------------------------------------------------- changes

    def carry_out(self, commands: Sequence[StoreCommand]) -> None:
        """Do the commands, in order. When it returns, a killed process loses nothing of it; `sync` adds power cuts."""
        from runner.store.steps import Steps

        if self._failure:
            raise StateError(self._failure)
        rewished = set(self._rewished)
        steps = Steps(self.shelf, rewished)
        try:
            steps.plan(commands)
            if self.shelf.durable and steps.needs > self.shelf.synced:
                self.sync()
            self._rewished = rewished
            steps.perform()
            if len(self.shelf.leftovers) > _MAX_LEFTOVERS:
                self.tidy()
        except BadJobFile:  # of the planning: nothing was done yet
            self.shelf.forget_all()
            raise
        except (OSError, StateError) as error:  # what was done and what was not, only the folders tell
            self._failure = self._failure or f"{self.path}: {plainly(error)} (nothing is moved any more)"
            raise

    def write_ahead(self, commands: Iterable[Create]) -> bool:
        """Write the files of Creates to come, so that a `sync` in between covers them. False: there was none to write.

        A Create that turns out to be another one is carried out as if nothing had been written.
        """
        written = False
        for command in commands:
            if command.proposal.staged is None and codec.is_id(command.proposal.id):
                self.shelf.write_ahead(command)
                written = True
        return written

    def sync(self, staged: Iterable[str] = ()) -> None:
        """Make everything so far durable; with durability "process" nothing is done. May run beside `carry_out`.

        `staged`: output paths to sync one by one where the platform cannot sync a whole file system. After a failure
        the store refuses all further work: what the disk holds is not known any more.
        """
        if not self.shelf.durable:
            return
        if self._failure:
            raise StateError(self._failure)
        with self._one_sync:  # the kernel tells of an error once: another sync beside this one would not hear of it
            if self._failure:
                raise StateError(self._failure)
            written = self.shelf.written  # what is written while it runs may miss it
            try:
                self._sync(staged)
            except OSError as error:
                self._failure = f"{self.path}: a sync failed ({plainly(error)}): nothing is moved any more"
                raise
            self.shelf.synced = max(self.shelf.synced, written)

    def _sync(self, staged: Iterable[str]) -> None:
        files, fds = self.shelf.files, self.shelf.fds
        if files.sync_filesystem(fds["."]):
            if not self.one_filesystem:
                files.sync_filesystem(self.shelf.root_fd)
            return
        for path in staged:
            files.sync_file(self.shelf.root_fd, path)
        for name in files.names(fds[TMP]):
            try:
                files.sync_file(fds[TMP], name)
            except FileNotFoundError:
                continue  # renamed since: it was synced before that, or it is for a later sync
        for descriptor in fds.values():
            files.sync_folder(descriptor)

    def take_leftovers(self) -> list[str]:
        """Names in tmp/ that nobody needs any more, to be unlinked by whoever takes them, or given back."""
        taken, self.shelf.leftovers = self.shelf.leftovers, []
        return taken

    def give_back_leftovers(self, names: Iterable[str]) -> None:
        """Whoever took them has not unlinked them, or not all."""
        self.shelf.leftovers += names

    def tidy(self) -> None:
        """Unlink what replaced files left in tmp/: for idle moments. It happens by itself when it grows large."""
        for name in self.take_leftovers():
            with suppress(FileNotFoundError):
                self.shelf.files.unlink(self.shelf.fds[TMP], name)

    def stage(self, id: str, data: bytes) -> str:
        """Write a file into tmp/, for a later Create (`staged`) or Move (`record`), and give its name there."""
        return self.shelf.write_tmp(id, data)

    def quarantine(self, folder: str, name: str, reason: str) -> str:
        """Move a file to quarantine/, with NAME.reason.txt; gives its name there. Nothing is overwritten."""
        from runner.store.quarantine import put_aside

        return put_aside(self.shelf, folder, name, reason)

    def recover(
        self, visit: recovery.Visit | None = None, leave: recovery.Leave | None = None
    ) -> tuple[dict[str, Status], list[tuple[JobFile, Status, bool]]]:
        """Every id with its status, and each unfinished job as (job, status, finished), read and checked.

        With `visit`, each is given to that instead, and the list is empty: a million decoded jobs take a gigabyte.
        `leave`: of which pending jobs a glance is enough. Sweeps tmp/, and quarantines what is no valid job. Raises
        NewerSchema, and then nothing was moved.
        """
        from runner.store import recovery

        found: list[tuple[JobFile, Status, bool]] = []

        def keep(job: JobFile, status: Status, finished: bool) -> None:
            found.append((job, status, finished))

        return recovery.recover(self.shelf, visit or keep, leave), found

    # --------------------------------------------------------------------------------------------------- looking

    def scan(self) -> dict[str, Status]:
        """Every id with its status, by names only. Beside a runner that moves jobs backward, see `survey`."""
        return self.survey()[0]

    def survey(self) -> tuple[dict[str, Status], bool]:
        """The same, and whether it is complete for certain: not if jobs moved backward under each of its passes."""
        union: dict[str, Status] = {}
        last = -1
        for _ in range(_SCANS):
            before = self.shelf.generation()
            seen = self._scan_once()
            still = self.shelf.generation() == before
            if still and before % 2 == 0:
                return seen, True
            union |= seen
            # Odd, and yet the same for two passes: a large group of moves, or the runner died in one. In a group no job
            # goes back twice, so one pass or the other has it.
            if sure := still and before == last:
                break
            last = before if still else -1
        for id in union.keys() - seen.keys():  # what one pass had and the last one missed is looked up by name
            status = self.find(id)
            if status is not None:
                seen[id] = status
        return seen, sure

    def _scan_once(self) -> dict[str, Status]:
        # In the order of the flow: a job that moves on meanwhile is seen twice, and the later sighting counts.
        seen: dict[str, Status] = {}
        files, fds = self.shelf.files, self.shelf.fds
        for status in STATUS_FOLDERS:
            for id in job_ids(files.names(fds[status]))[0] if status in fds else ():
                seen[id] = status
        if Status.QUARANTINE in fds:  # last, and weakest: a double was put there, and the job itself lives on
            for id in job_ids(files.names(fds[Status.QUARANTINE]))[0]:
                seen.setdefault(id, Status.QUARANTINE)
        return seen

    def find(self, id: str) -> Status | None:
        """Where one job is; None: in no status folder (perhaps back in inbox/)."""
        if not codec.is_id(id):
            return None
        last = -1
        for _ in range(_FINDS):
            before = self.shelf.generation()
            for status in FLOW_ORDER:
                if status in self.shelf.fds and self.shelf.files.exists(self.shelf.fds[status], f"{id}.json"):
                    return status
            if self.shelf.generation() != before:  # it may have moved backward while it was looked for
                last = -1
            elif before % 2 == 0 or before == last:
                break
            else:
                last = before
        return None

    def read(self, id: str, status: Status, *, remember: bool = False) -> JobFile:
        """The job file. Raises FileNotFoundError, BadJobFile, NewerSchema. `remember`: its claim comes soon."""
        data = self.shelf.load(id, status)
        job = self.shelf.parse(data, id, status)
        if remember:
            self.shelf.remember(id, data)
        return job

    def brief(self, id: str, status: Status) -> Brief:
        """As much of the job file as a judgement needs; free if its wish was just compared. Raises as `read` does."""
        return self.shelf.brief(id, status)

    def keep(self, job: Brief) -> None:
        """A done job as somebody else read it from its file just now: that need not be read again so soon."""
        self.shelf.keep(job)

    def read_bytes(self, id: str, status: Status) -> bytes:
        """The job file as it is, unchecked. Cheap right after it was written: what a claim needs."""
        if status is Status.RUNNING:
            data = self.shelf.forget(id)  # the worker has it now, nobody will ask again
            if data is not None:
                return data
        return self.shelf.load(id, status)
