"""The open folders of one state, and job files as bytes in them: the ground that FolderStore stands on.

Opens every folder once and keeps its descriptor, refuses a state that others could write to, reads job files, writes
new ones to tmp/, and counts the backward moves for readers. Must not move a job: `steps.py` does.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from runner.core.model import BLOCKED, CANCELLED, DONE, FAILED, FLOW_ORDER, QUARANTINE, Status
from runner.errors import BadJobFile, StateError
from runner.store import codec
from runner.store.codec import Brief, JobFile
from runner.store.files import FOLDER_MODE, Files, tmp_name, writer_token

if TYPE_CHECKING:
    from runner.core.commands import Create

Durability: TypeAlias = Literal["process", "power"]

INBOX, RUNS, LOGS, TRASH, TMP, LOCKS = "inbox", "runs", "logs", "trash", "tmp", "locks"
STATUS_FOLDERS = tuple(status for status in FLOW_ORDER if status is not QUARANTINE)  # where jobs live
FOLDERS = (INBOX, *(status.value for status in FLOW_ORDER), RUNS, LOGS, TRASH, TMP, LOCKS, "cache")
RETURNABLE = frozenset({FAILED, BLOCKED, CANCELLED})  # may be moved back into inbox/ by anybody
MAX_JOB_BYTES = 1 << 30  # what is in a status folder came in under a tighter cap, and its history grew since

_CACHE_JOBS = 8192
_CACHE_BYTES = 16 << 20
_KEPT_BRIEFS = 4096  # more than are read ahead
MAX_KEPT_BYTES = 8192  # of a job file; a `value` of megabytes is read again
_GENERATION = "generation"


class Ahead(NamedTuple):
    """A new job file that was written ahead."""

    create: Create
    name: str  # in tmp/
    written: int  # the shelf's count with it


class Shelf:
    """Open folders. `create=False`: make nothing, and take what is missing as empty (a look, or a plan)."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "power",
        files: Files | None = None,
        clock: Callable[[], float],
        root: str | os.PathLike[str] | None = None,
        create: bool = True,
    ) -> None:
        self.path = os.path.abspath(path)
        self.root = os.path.dirname(self.path) if root is None else os.path.abspath(root)
        self.tmp_path = os.path.join(self.path, TMP)
        self.run = ""
        self.durable = durability == "power"
        self.files = Files() if files is None else files
        self.clock = clock
        self.written = 0  # files written to tmp/ by this object; the first `synced` of them are durable
        self.synced = 0
        self.token = writer_token()  # what the names of our files in tmp/ begin with
        self.ahead: dict[str, Ahead] = {}  # new job files, by id, whose Create is still to come
        self.recent: dict[str, bytes] = {}  # job files as this process just wrote them, to be read by the next claim
        self._recent_bytes = 0
        self._briefs: dict[str, Brief] = {}  # done jobs whose wish is as it was: most are judged at once
        self.leftovers: list[str] = []  # names in tmp/ that hold what was replaced
        self._generation = 0  # 0: to be read
        self.fds: dict[str, int] = {}
        self.root_fd = -1
        try:
            self._open(create)
        except BaseException:
            self.close()
            raise

    # -------------------------------------------------------------------------------------------------- opening

    def _open(self, create: bool) -> None:
        if create:
            os.makedirs(self.path, FOLDER_MODE, exist_ok=True)
        try:
            state = self.fds["."] = self.files.open_folder(self.path, follow=True)
        except (FileNotFoundError, NotADirectoryError):
            raise StateError(f"{self.path} is no state folder") from None
        self._check("", state)
        self._is_one(state)
        made = False
        for name in FOLDERS:
            try:
                descriptor = self.files.open_folder(name, state)
            except FileNotFoundError:
                if not create:
                    continue
                with suppress(FileExistsError):  # another process opens the same new state
                    self.files.mkdir(state, name)
                descriptor = self.files.open_folder(name, state)
                made = True
            except OSError as error:
                raise StateError(
                    f"{self.path}/{name} is no folder of its own ({error.strerror}): move it away"
                ) from None
            self.fds[name] = descriptor
            self._check(name, descriptor)
        self.root_fd = self.files.open_folder(self.root, follow=True)
        if made:  # or a power cut takes the folder away under files that were durable in it
            self.files.sync_folder(state)
            parent = self.files.open_folder(os.path.dirname(self.path), follow=True)
            self.files.sync_folder(parent)
            self.files.close(parent)

    def _is_one(self, state: int) -> None:
        """Not a folder of somebody else: to a mistyped name nothing is added, and nothing there is taken for jobs."""
        names = os.listdir(state)
        others = sorted(name for name in names if not name.startswith((".", "README")))
        if others and {*names}.isdisjoint(FOLDERS):
            raise StateError(
                f"{self.path} is no state folder: there is {others[0]}, and no pending/ (--state: another one)"
            )

    def _check(self, name: str, descriptor: int) -> None:
        # By the descriptor, not by the name: what was checked is what is used.
        found = os.fstat(descriptor)
        where = os.path.join(self.path, name) if name else self.path
        if found.st_uid != os.geteuid():
            raise StateError(f"{where} belongs to uid {found.st_uid}, not to this user ({os.geteuid()})")
        group_may = found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid)
        if found.st_mode & stat.S_IWOTH or group_may:
            raise StateError(
                f"{where} can be written by others, who could so run code as this user: chmod go-w {where}"
            )

    def close(self) -> None:
        """Close all folders; the store cannot be used any more."""
        for descriptor in (*self.fds.values(), self.root_fd):
            if descriptor >= 0:
                self.files.close(descriptor)
        self.fds.clear()
        self.root_fd = -1

    @property
    def one_filesystem(self) -> bool:
        """Whether the state and the project root are on one file system: only then are renames ordered among them."""
        return os.fstat(self.fds["."]).st_dev == os.fstat(self.root_fd).st_dev

    # -------------------------------------------------------------------------------------------------- job files

    def tmp_name(self, id: str) -> str:
        """A name for tmp/ that nobody else uses; it begins with this process' own token."""
        return tmp_name(id)

    def write_tmp(self, label: str, data: bytes) -> str:
        """Write a whole file into tmp/, and give its name. Durable only after the next sync."""
        name = tmp_name(label)
        self.files.write(self.fds[TMP], name, data)
        self.written += 1
        return name

    def write_job(self, job: JobFile) -> str:
        """Write the job file into tmp/ for the rename to come, and remember its bytes."""
        data = codec.encode(job)
        name = self.write_tmp(job.id, data)
        self.remember(job.id, data)
        return name

    def remember(self, id: str, data: bytes) -> None:
        """The bytes of a job file that is about to be put in its place: the claim will ask for them."""
        self.forget(id)
        # What is full stays as it is: the oldest are the next to be claimed.
        if len(self.recent) < _CACHE_JOBS and self._recent_bytes + len(data) <= _CACHE_BYTES:
            self.recent[id] = data
            self._recent_bytes += len(data)

    def write_ahead(self, create: Create) -> None:
        """Write a new job file before its Create comes."""
        name = self.write_job(codec.new_file(create.proposal, create.after))
        self.ahead[create.proposal.id] = Ahead(create, name, self.written)

    def kept(self, id: str) -> Brief | None:
        """A done job as its file holds it, if that is known."""
        return self._briefs.get(id)

    def keep(self, job: Brief) -> None:
        """A done job as its file holds it, which is about to be judged."""
        if len(self._briefs) >= _KEPT_BRIEFS:  # those that have to wait for others are read again
            self._briefs.clear()
        self._briefs[job.id] = job

    def brief(self, id: str, status: Status) -> Brief:
        """As much of the job file as a judgement needs. Raises as `load` and `parse` do."""
        kept = self._briefs.pop(id, None) if status is DONE else None
        if kept is not None:
            return kept
        data = self.load(id, status)
        return codec.skim(data, id) or codec.brief(self.parse(data, id, status))

    def forget(self, id: str) -> bytes | None:
        """Drop what is remembered of a job, and give its bytes."""
        self._briefs.pop(id, None)
        data = self.recent.pop(id, None)
        if data is not None:
            self._recent_bytes -= len(data)
        return data

    def forget_all(self) -> None:
        """Drop all that is remembered: some may be of files that were never put in their place."""
        self._briefs.clear()
        self.recent.clear()
        self._recent_bytes = 0

    def load(self, id: str, status: Status) -> bytes:
        """The bytes of a job file. FileNotFoundError if it is not there, BadJobFile if it is no file of ours."""
        if self.recent and (data := self.recent.get(id)) is not None:
            return data
        if not codec.is_id(id):
            raise BadJobFile(f"{id!r} is no job id")
        name = f"{id}.json"
        try:
            return self.load_name(status, name)
        except FileNotFoundError:
            if status not in RETURNABLE:
                raise
        # A person may move it back into inbox/ at any time, also between a scan and now: that is where it lies.
        return self.load_name(INBOX, name)

    def load_name(self, folder: str, name: str) -> bytes:
        """The bytes of any file in one of the folders, with the same errors."""
        if folder not in self.fds:
            raise FileNotFoundError(f"{self.path}/{folder}")
        try:
            return self.files.read(self.fds[folder], name, MAX_JOB_BYTES)
        except BadJobFile as error:
            raise BadJobFile(f"{folder}/{name}: {error}") from None

    def parse(self, data: bytes, id: str, where: str) -> JobFile:
        """`codec.decode`, with the file named in its errors."""
        try:
            return codec.decode(data, id)
        except (BadJobFile, StateError) as error:
            raise type(error)(f"{where}/{id}.json: {error}") from None

    # ------------------------------------------------------------------------------------------ backward moves

    def took_lock(self) -> None:
        """Another holder may have counted on meanwhile."""
        self._generation = 0
        if not self.files.exists(self.fds[LOCKS], _GENERATION):  # a full disk takes no new file, and this one it must
            self.end_backward()

    def begin_backward(self) -> None:
        """Before jobs move against the flow: a reader who scans meanwhile is to scan again."""
        self._generation = ((self._generation or self.generation()) + 1) | 1
        self.files.overwrite(self.fds[LOCKS], _GENERATION, b"%020d\n" % self._generation)

    def end_backward(self) -> None:
        """After it."""
        self._generation = ((self._generation or self.generation()) | 1) + 1
        self.files.overwrite(self.fds[LOCKS], _GENERATION, b"%020d\n" % self._generation)

    def generation(self) -> int:
        """How often jobs moved against the flow; odd while they do, or where a runner died in the midst of it."""
        try:
            return int(self.files.read(self.fds[LOCKS], _GENERATION, 64))
        except (FileNotFoundError, KeyError):
            return 0
        except (BadJobFile, ValueError):
            return 1


def same_job(one: JobFile, other: JobFile) -> bool:
    """Whether two files are copies of one job, perhaps of different age."""
    return one.id == other.id and msgspec.json.encode(one.params) == msgspec.json.encode(other.params)


def _is_private(gid: int) -> bool:
    """Whether the group is this user's own, as most systems make one for each user (and a umask of 002 relies on)."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
