"""One job file, held against the contract's guarantees: what `check` does for each.

It asks the disk anew whenever something looks wrong, so an answer is about one moment; whoever asks twice, with a
pause, knows what a live runner's moves have to do with it. Must not change anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Literal

from msgspec import Struct

from runner.core.ledger import nature_hash, output_hash
from runner.core.model import UNFINISHED, Status
from runner.core.policy import CHARGED
from runner.errors import BadJobFile, NewerSchema
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.folders import FolderStore
from runner.store.inbox import MAX_BYTES
from runner.store.shelf import INBOX
from runner.views.reading import names, places, quarantined, read_job
from runner.views.show import output_size

AGAIN = "start a new run of its target, which proposes it again"
MEND = "`python -m runner check --repair`"
_PUT_BACK = f"{MEND} puts it back to pending/"
_ASIDE = f"{MEND} puts it into quarantine/"
_GOES_ON = "nothing: `resume`, or the next run, goes on with it if it is still to be"
_TASK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*\Z")
_CANCELLATIONS = frozenset({"cancelled", "superseded", "gone"})
_UNCHARGED = _CANCELLATIONS | {"later", "interrupted"}
_ID_AT_END = re.compile(r"(?:^|\.)(\w+-[0-9a-f]{16})\.json\Z")

Code = Literal[
    # faults
    "invalid", "name", "double", "vanished", "child", "upstream", "root", "no record", "not finished", "untold",
    "identity", "task", "cycle", "two owners", "run record", "lock file",
    # warnings
    "output", "module", "upstream of cancelled", "upstream to come", "cut short", "by hand", "orphan", "left running",
    "left pending", "to be blocked", "to be unblocked", "leftover", "quarantine", "no reason", "folder",
]  # fmt: skip


class Finding(Struct, frozen=True, kw_only=True):
    """Something that is not as it should be. `guarantee`: its number in section 6 of the contract."""

    code: Code
    where: str  # a path within the state folder
    what: str
    do: str
    id: str | None = None
    guarantee: int | None = None
    mended: str | None = None  # what `--repair` did about it


class Examiner:
    """Looks at jobs one by one. `known`: where each was when the state was scanned. `may_come`: what others name may
    be about to be admitted, as a run has not ended, or something is handed in.
    """

    def __init__(
        self,
        store: FolderStore,
        known: dict[str, Status],
        *,
        verify: bool,
        modules: Collection[str] | None,
        may_come: bool = False,
    ) -> None:
        self._store = store
        self._verify = verify
        self._modules = modules
        self._may_come = may_come
        self._makes: set[str] | None = None  # the hashes of all ids, once they are asked for
        self._elsewhere: set[str] | None = None
        self.known = known
        self.waits: dict[str, tuple[str, ...]] = {}  # unfinished job -> what it comes after
        self.several: dict[str, str] = {}  # output path that is not the first of its job -> done job
        self.shared: list[tuple[str, str, str]] = []  # (path, done job, another done job)
        self.foreign: dict[str, set[str]] = {}  # module that is not allowed -> unfinished jobs of it
        self.folders: set[str] = set()  # where outputs lie
        self.outputs = 0

    def refresh(self) -> None:
        """Look at inbox/ and quarantine/ anew when they are next asked."""
        self._elsewhere = None

    def there(self, id: str) -> bool:
        """Whether the job is anywhere: in a status folder, back in inbox/, or in quarantine/."""
        if id in self.known or self._store.find(id) is not None:
            return True
        if self._elsewhere is None:
            self._elsewhere = set(self._set_aside())
        return id in self._elsewhere

    def _set_aside(self) -> Iterator[str]:
        for name in quarantined(self._store):
            found = _ID_AT_END.search(name)  # a second file of that name has a number before it
            if found:
                yield found[1]
        for name in names(self._store, INBOX):
            found = _ID_AT_END.search(name)
            if found:
                yield found[1]
            elif name.endswith(".json"):  # moved back under another name
                try:
                    data = self._store.shelf.files.read(self._store.shelf.fds[INBOX], name, MAX_BYTES)
                    yield codec.decode_handed_in(data).id
                except (BadJobFile, OSError):
                    continue

    # --------------------------------------------------------------------------------------------------- one job

    def again(self, id: str) -> list[Finding]:
        """All that is wrong with a job now, wherever it is by now."""
        found = places(self._store, id)
        if len(found) > 1:
            self.waits.pop(id, None)
            for status in found:
                self.heed_schema(status, f"{id}.json")
            return [_double(id, found)]
        if found:
            return self.job(id, found[0])
        self.waits.pop(id, None)
        self.known.pop(id, None)
        if self.there(id):
            return []
        what = f"{id} was here, and is in no folder any more"
        return [Finding(code="vanished", where=f"{id}.json", what=what, do=AGAIN, id=id, guarantee=2)]

    def heed_schema(self, status: Status, name: str) -> None:
        """Raise NewerSchema if a newer version wrote the file, whatever else there is to be said about it."""
        with suppress(BadJobFile, OSError):
            try:
                codec.decode(self._store.shelf.load_name(status, name))
            except NewerSchema as error:
                raise NewerSchema(f"{status}/{name}: {error}") from None

    def job(self, id: str, status: Status) -> list[Finding]:
        """All that is wrong with a job. Raises NewerSchema."""
        where = f"{status}/{id}.json"
        try:
            found = read_job(self._store, id, status)
        except BadJobFile as error:
            return [_invalid(where, id, str(error).removeprefix(f"{where}: "))]
        except OSError as error:
            what = f"it cannot be read: {error.strerror}"
            return [
                Finding(
                    code="invalid", where=where, what=what, do="see its permissions, and its disk", id=id, guarantee=1
                )
            ]
        if found is None:
            return [Finding(code="vanished", where=where, what="it is gone", do=AGAIN, id=id, guarantee=2)]
        job, status = found
        if status in UNFINISHED:
            self.waits[id] = job.after
        else:
            self.waits.pop(id, None)
        where = f"{status}/{id}.json"
        findings = [*self._references(job, status, where), *self._task(job, status, where)]
        if status is Status.DONE:
            findings += self._done(job, where)
        elif status is Status.FAILED and _outcome(_last_try(job, _UNCHARGED)) not in CHARGED:
            what = "it is in failed/, and no attempt of it says why: it was moved by hand"
            findings.append(Finding(code="untold", where=where, what=what, do=_PUT_BACK, id=id))
        elif status is Status.CANCELLED and _outcome(_last_try(job)) not in _CANCELLATIONS:
            what = "it was not the runner that cancelled it"
            do = f"nothing; to have it tried again: `python -m runner retry {id}`"
            findings.append(Finding(code="by hand", where=where, what=what, do=do, id=id))
        return findings

    def _references(self, job: JobFile, status: Status, where: str) -> Iterator[Finding]:
        for upstream in job.after:
            if self.there(upstream):
                continue
            what = f"it comes after {upstream}, which is nowhere"
            if status is Status.CANCELLED:
                yield Finding(
                    code="upstream of cancelled", where=where, what=what, do="nothing, unless it is", id=job.id
                )
            elif self.is_to_come(upstream):
                what = f"it comes after {upstream}, which is about to take over another's output"
                yield Finding(
                    code="upstream to come", where=where, what=what, do="`python -m runner resume`", id=job.id
                )
            else:
                yield Finding(code="upstream", where=where, what=what, do=_remake(upstream), id=job.id, guarantee=2)
        if status is not Status.DONE or job.result is None:
            return
        for child in job.result.get("found", ()):
            if not self.there(child):
                what = f"it found {child}, which is nowhere"
                yield Finding(code="child", where=where, what=what, do=_remake(child), id=job.id, guarantee=6)

    def is_to_come(self, id: str) -> bool:
        """Whether a job that is nowhere may not have come yet: a runner that was killed while one made the output of
        another its own had told their readers, and not more.
        """
        if not self._may_come:
            return False
        if self._makes is None:
            self._makes = {known[-16:] for known in self.known}
        return id[-16:] in self._makes

    def _task(self, job: JobFile, status: Status, where: str) -> Iterator[Finding]:
        if _TASK.match(job.task) is None:
            what = f"its task is {job.task!r}, not module:Class, and cannot run"
            yield Finding(code="task", where=where, what=what, do=_ASIDE, id=job.id, guarantee=9)
            return
        module, _, qualname = job.task.partition(":")
        if job.id[:-17] != qualname.rpartition(".")[2]:
            yield _misnamed(job, where, f"its id is not that of a {job.task}")
        if status in UNFINISHED and self._modules is not None and not _allowed(module, self._modules):
            self.foreign.setdefault(module, set()).add(job.id)

    def _identity(self, job: JobFile, result: codec.Object, where: str) -> Iterator[Finding]:
        """A job is known by what it makes. Of one that is not done the disk does not tell what that is for certain."""
        first = next(iter(result.get("outputs", ())), None)
        if first is None:
            params, hints = result.get("params", {}), result.get("hints", {})
            # If there are others it has Inputs, or a Hint since then: what its id was made of is not to be seen.
            whole = "params" in result and job.params.keys() == params.keys() | hints.keys()
            if whole and nature_hash(job.task, params) != job.id[-16:]:
                yield _misnamed(job, where, "its id is not that of its parameters")
        elif output_hash(first) != job.id[-16:]:
            yield _misnamed(job, where, f"its first output is {first}, which is not what its id stands for")
        elif not any(value == first or (type(value) is list and first in value) for value in job.params.values()):
            yield _misnamed(job, where, f"its record is of {first}, which its parameters do not name")

    def _done(self, job: JobFile, where: str) -> Iterator[Finding]:
        if job.result is None:
            what = "it is done, without a record of what it made"
            yield Finding(code="no record", where=where, what=what, do=_PUT_BACK, id=job.id, guarantee=5)
            return
        yield from self._finished(job, job.result, where)
        yield from self._identity(job, job.result, where)
        for number, (path, made) in enumerate(job.result.get("outputs", {}).items()):
            self.folders.add(path.rpartition("/")[0])
            if made is None:
                if output_size(self._store, path) is None:
                    continue
                wrong = "was absent, and is there now"
            else:
                self.outputs += 1
                if number > 0:
                    other = self.several.setdefault(path, job.id)
                    if other != job.id:
                        self.shared.append((path, other, job.id))
                wrong = self._output(path, made["bytes"], made["sha256"])
            if wrong:
                do = "it is due: the next run that reaches it makes it again"
                yield Finding(code="output", where=where, what=f"output {path} {wrong}", do=do, id=job.id, guarantee=5)

    def _finished(self, job: JobFile, result: codec.Object, where: str) -> Iterator[Finding]:
        """It came here with its last attempt, which made what is recorded."""
        last = _last_try(job, _CANCELLATIONS)
        if last is None:
            what = "no attempt at it is noted"
        elif last["outcome"] != "done":
            what = f"its last attempt ended as {last['outcome']!r}"
        elif last.get("run") != result.get("run"):
            what = f"its last attempt was of run {last.get('run')}, and its record is of {result.get('run')}"
        else:
            if last is not job.attempts[-1]:  # its file says so first, then it goes to cancelled/
                what = f"a runner was killed that was about to cancel it ({job.attempts[-1]['outcome']})"
                yield Finding(code="cut short", where=where, what=what, do=_GOES_ON, id=job.id)
            return
        what = f"it is in done/, but {what}: it was moved by hand"
        yield Finding(code="not finished", where=where, what=what, do=_PUT_BACK, id=job.id, guarantee=5)

    def _output(self, path: str, size: int, sha256: str) -> str:
        now = output_size(self._store, path)
        if now is None:
            return "is not there"
        if now != size:
            return f"has {now:,} bytes, not {size:,}"
        if self._verify:
            from runner.workers.staging import digest

            try:
                made = digest(os.path.join(self._store.root, path))
            except OSError as error:
                return f"cannot be read: {error.strerror}"
            if made.sha256 != sha256:
                return "holds other bytes than were recorded"
        return ""


def invalid_name(status: Status, name: str) -> Finding:
    """A file that no job's file can be called."""
    what = "its name is no job id: TaskName-<16 hex digits>.json"
    return Finding(code="name", where=f"{status}/{name}", what=what, do=_ASIDE, guarantee=3)


def _invalid(where: str, id: str, what: str) -> Finding:
    wrong_id = what.startswith("`$.id` is")
    do = f"{_ASIDE}; then {AGAIN}"
    return Finding(code="invalid", where=where, what=what, do=do, id=id, guarantee=3 if wrong_id else 1)


def _misnamed(job: JobFile, where: str, what: str) -> Finding:
    return Finding(code="identity", where=where, what=what, do=f"{_ASIDE}; then {AGAIN}", id=job.id, guarantee=3)


def _double(id: str, found: list[Status]) -> Finding:
    what = f"the job is in {' and in '.join(f'{status}/' for status in found)}"
    do = f"{MEND} keeps the most advanced copy, and puts the others into quarantine/"
    return Finding(code="double", where=f"{found[-1]}/{id}.json", what=what, do=do, id=id, guarantee=2)


def _remake(id: str) -> str:
    return f"{AGAIN}, or put {id}.json into inbox/ from a backup"


def _last_try(job: JobFile, besides: Collection[str] = ()) -> codec.Object | None:
    """Its last attempt that did not end as one of these."""
    return next((attempt for attempt in reversed(job.attempts) if attempt["outcome"] not in besides), None)


def _outcome(attempt: codec.Object | None) -> str | None:
    return None if attempt is None else attempt["outcome"]


def _allowed(module: str, modules: Collection[str]) -> bool:
    return any(module == allowed or module.startswith(allowed + ".") for allowed in modules)
