"""When the machine is at fault and no job: no room on the disk, a disk that fails or is read-only, permissions lost.

What a task raises does not prove it: a task may well write to a full disk of its own, or want what it never had. So the
disks that its outputs and the state are on are asked: can they be written to now?
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from runner.errors import RunnerError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENFILE, errno.EMFILE})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM})


class Hindered(RunnerError):
    """The machine hinders: nothing can be done here now, and no job is to blame."""


class Exhausted(RunnerError):
    """This process has used up what it may have; another could do the job."""


def is_machines(error: OSError, *, inside: bool) -> bool:
    """Whether an error of a write says so. `inside` the project, a lack of permission is not one job's wish."""
    return error.errno in _NO_ROOM or (inside and error.errno in _NOT_ALLOWED)


def doubtful(error: BaseException) -> OSError | None:
    """What may be the machine's doing: an error, or what it came of."""
    suspects = (each for each in _chain(error) if isinstance(each, OSError))
    return next((each for each in suspects if each.errno in _NO_ROOM | _NOT_ALLOWED), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
