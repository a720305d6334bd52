"""The file primitives, and the seam where a test makes the N-th of them fail.

Every system call of the store goes through an instance of `Files`: a few calls, relative to the descriptor of an open
folder, so that no path is walked twice and no symlink on the way is followed. They decide nothing, know no job, and
let every OSError through as it is. A failed sync is never tried again: the kernel may have dropped the pages and
would call the second try a success.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import count
from typing import NamedTuple

from runner.errors import BadJobFile

MODE = 0o644  # for files; a group that may write a job file could choose the parameters of code that runs as its owner
FOLDER_MODE = 0o755
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # NONBLOCK: to open a FIFO must not hang
_CHANGE = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_TRACE = _READ | getattr(os, "O_NOATIME", 0)  # saves most of what a first read of many small files costs
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_NOT_REGULAR = {errno.ELOOP: "is a symlink", errno.ENXIO: "is no regular file"}
_RENAME_EXCHANGE = 2
_NO_LINK = frozenset({errno.EEXIST, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP})
_NO_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP})
AGENT = "@"  # stands between a process and the agent that it works for
_TOKEN = re.compile(rf"([0-9]{{1,11}})-([0-9]+)(?:{AGENT}([0-9a-f]{{8}})([0-9a-f]+))?\.")
_serial = count(1)
_USER = os.geteuid()


class Files:
    """What the store asks of the operating system. `folder` is the descriptor of an open folder."""

    def open_folder(self, path: str, parent: int | None = None, *, follow: bool = False) -> int:
        """A descriptor for the folder. Without `follow`, ENOTDIR or ELOOP for a symlink."""
        return os.open(path, _FOLDER if follow else _FOLDER | os.O_NOFOLLOW, dir_fd=parent)

    def mkdir(self, folder: int, name: str, mode: int = FOLDER_MODE) -> None:
        os.mkdir(name, mode, dir_fd=folder)

    def make_folders(self, folder: int, path: str, mode: int = FOLDER_MODE) -> None:
        """Make the folder, and those it is to lie in, where they are not there."""
        try:
            self.mkdir(folder, path, mode)
        except FileExistsError:
            pass  # or something else: whoever puts a file into it will hear
        except FileNotFoundError:
            parent = os.path.dirname(path)
            if not parent:
                raise
            self.make_folders(folder, parent, mode)
            with suppress(FileExistsError):
                self.mkdir(folder, path, mode)

    def close(self, folder: int) -> None:
        os.close(folder)

    def write(self, folder: int, name: str, data: bytes) -> None:
        """Create the file, which must not exist, whole. An error at the close counts: some disks tell only then."""
        descriptor = os.open(name, _CREATE, MODE, dir_fd=folder)
        try:
            done = os.write(descriptor, data)
            while done < len(data):
                done += os.write(descriptor, data[done:])
        except BaseException:
            os.close(descriptor)
            raise  # what was written lies in tmp/ under this process' name: a recovery sweeps it
        os.close(descriptor)

    def append(self, folder: int, name: str, data: bytes) -> None:
        """Add to the end of the file, which is made if need be. A crash may leave a part of it."""
        descriptor = os.open(name, _CHANGE | os.O_APPEND, MODE, dir_fd=folder)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def overwrite(self, folder: int, name: str, data: bytes) -> None:
        """Replace the first bytes in place: for a few bytes that are always written and read whole."""
        descriptor = os.open(name, _CHANGE, MODE, dir_fd=folder)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def rename(self, folder: int, name: str, to_folder: int, to_name: str) -> None:
        """Replaces what has that name already, in one step."""
        os.rename(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder)

    def exchange(self, folder: int, name: str, to_folder: int, to_name: str) -> bool:
        """Swap two files in one step. False: this platform or file system cannot, and nothing was done."""
        exchange = _exchange()
        return exchange is not None and exchange(folder, name, to_folder, to_name)

    def link(self, folder: int, name: str, to_folder: int, to_name: str) -> bool:
        """A second name for the file. False: another file has it already, or this file system knows no such thing."""
        try:
            os.link(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        return True

    def copy(self, folder: int, name: str, to_folder: int, to_name: str) -> None:
        """Copy the file's contents, durably, to a new file: for what cannot be renamed to another disk."""
        source = os.open(name, _READ, dir_fd=folder)
        with open(source, "rb") as reader:
            target = os.open(to_name, _CREATE, MODE, dir_fd=to_folder)
            with open(target, "wb") as writer:
                shutil.copyfileobj(reader, writer)
                writer.flush()
                os.fsync(target)

    def unlink(self, folder: int | None, name: str) -> None:
        """`folder` None: the path as it is."""
        os.unlink(name, dir_fd=folder)

    def rmdir(self, folder: int, name: str) -> None:
        """Delete an empty folder."""
        os.rmdir(name, dir_fd=folder)

    def read(self, folder: int, name: str, cap: int) -> bytes:
        """The whole file. BadJobFile if it is no regular file, not this user's to read, or larger than `cap` bytes."""
        try:
            descriptor = self._open(folder, name)
        except PermissionError:
            raise BadJobFile("may not be read by this user") from None
        except OSError as error:
            if error.errno in _NOT_REGULAR:
                raise BadJobFile(_NOT_REGULAR[error.errno]) from None
            raise
        try:
            found = os.fstat(descriptor)
            _check_regular(found, cap)
            data = os.read(descriptor, found.st_size + 1)
            while len(data) < found.st_size and (more := os.read(descriptor, found.st_size - len(data))):
                data += more
            return data
        finally:
            os.close(descriptor)

    @staticmethod
    def _open(folder: int, name: str) -> int:
        try:
            return os.open(name, _NO_TRACE, dir_fd=folder)
        except PermissionError:  # a file of somebody else's may be read, but not without a trace
            return os.open(name, _READ, dir_fd=folder)

    def names(self, folder: int) -> list[str]:
        """All names in the folder, in no order."""
        # A descriptor of its own: one that two threads list shares its position between them.
        descriptor = os.open(".", _FOLDER, dir_fd=folder)
        try:
            return os.listdir(descriptor)
        finally:
            os.close(descriptor)

    def stat(self, folder: int, name: str, *, follow: bool = False) -> os.stat_result:
        """Of the name itself, if it is a symlink, unless told to `follow`."""
        return os.stat(name, dir_fd=folder, follow_symlinks=follow)

    def exists(self, folder: int, name: str) -> bool:
        try:
            self.stat(folder, name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def sync_file(self, folder: int, name: str) -> None:
        """Make the file's contents durable; not its name."""
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, folder: int) -> None:
        """Make the folder's names durable."""
        os.fsync(folder)

    def sync_filesystem(self, folder: int) -> bool:
        """Make everything on that file system durable. False: this platform cannot, nothing was done."""
        syncfs = _syncfs()
        if syncfs is None:
            return False
        syncfs(folder)
        return True


def _check_regular(found: os.stat_result, cap: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise BadJobFile("is no regular file")
    if found.st_uid != _USER:
        raise BadJobFile(f"belongs to uid {found.st_uid}, not to this user ({_USER})")
    if found.st_size > cap:
        raise BadJobFile(f"has {found.st_size} bytes, and {cap} are allowed")


@cache
def _syncfs() -> Callable[[int], None] | None:
    import ctypes  # here, as it costs several milliseconds that no look verb needs

    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        return None

    def syncfs(folder: int) -> None:
        if function(folder) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"syncfs: {os.strerror(number)}")

    return syncfs


@cache
def _exchange() -> Callable[[int, str, int, str], bool] | None:
    import ctypes

    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None

    def exchange(folder: int, name: str, to_folder: int, to_name: str) -> bool:
        if function(folder, os.fsencode(name), to_folder, os.fsencode(to_name), _RENAME_EXCHANGE) == 0:
            return True
        number = ctypes.get_errno()
        if number in _NO_EXCHANGE:
            return False
        raise OSError(number, os.strerror(number), name, None, to_name)

    return exchange


# ------------------------------------------------------------------------------------------- who writes, and is alive


def process_start(pid: int) -> str | None:
    """When the process started, in the kernel's own ticks: with the pid, it names a process for good. None: it is gone.

    "0" where there is no /proc and a process of that pid is alive: pids alone must do there.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists("/proc/self/stat"):
            return None
    else:
        return None if state in b"ZX" else fields[18].decode()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "0"


def ground() -> str:
    """What this process stands on, in 8 hex digits: processes with the same kernel and the same process ids see each
    other, and have one clock. (Containers of one machine may have one host name, and two of one name may be two.)
    """
    return _ground(os.getpid())


@cache
def _ground(pid: int) -> str:
    from hashlib import sha256  # here, as no look verb needs it

    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            kernel = file.read().strip()
        ids = os.readlink("/proc/self/ns/pid")
    except OSError:
        kernel, ids = os.uname().nodename, ""
    return sha256(f"{kernel} {ids}".encode()).hexdigest()[:8]


_agent = ""


def write_for(agent: str) -> None:
    """From now on this process, and what it forks, writes for an agent of that name."""
    global _agent
    _agent = agent
    _token.cache_clear()


@cache
def _token(pid: int) -> str:
    return f"{pid}-{process_start(pid) or 0}{AGENT + ground() + _agent if _agent else ''}."


def writer_token() -> str:
    """What names in tmp/ begin with: this process, so that a recovery knows whose files nobody will want any more."""
    return _token(os.getpid())  # asked anew each time: a fork inherits the cache, and is another writer


def tmp_name(label: str) -> str:
    """A name for tmp/ that no other process, store or thread uses; `label` is for whoever looks in."""
    return f"{_token(os.getpid())}{next(_serial)}.{label}"


class Writer(NamedTuple):
    """The process that a name begins with. `agent`: "", or for whom it works; `ground`: where, then."""

    pid: int
    start: str
    ground: str
    agent: str

    @property
    def near(self) -> bool:
        """Whether it is, or was, on our ground."""
        return not self.agent or self.ground == ground()


def writer_of(name: str) -> Writer | None:
    """The writer whose token a name begins with, if any."""
    match = _TOKEN.match(name)
    return Writer(int(match[1]), match[2], match[3] or "", match[4] or "") if match is not None else None


def writer_is_gone(name: str) -> bool:
    """Whether the process that a name in tmp/ begins with has ended. False for any other name. Those on another ground
    are: whoever may ask has made sure that their agents are at rest.
    """
    writer = writer_of(name)
    return writer is not None and not (writer.near and process_start(writer.pid) == writer.start)
