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

from runner.core.ledger import output_hash
from runner.core.model import UNFINISHED, Status
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
_TASK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*\Z")
_ID_AT_END = re.compile(r"(?:^|\.)(\w+-[0-9a-f]{16})\.json\Z")

Code = Literal[
    # faults
    "invalid", "name", "double", "vanished", "child", "upstream", "root", "no record", "not finished", "cycle",
    "two owners", "run record", "lock file",
    # warnings
    "output", "task", "identity", "upstream of cancelled", "orphan", "left running", "quarantine", "no reason",
    "folder", "untold",
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
    """Looks at jobs one by one. `known`: where each was when the state was scanned."""

    def __init__(
        self, store: FolderStore, known: dict[str, Status], *, verify: bool, modules: Collection[str] | None
    ) -> None:
        self._store = store
        self._verify = verify
        self._modules = modules
        self._elsewhere: set[str] | None = None
        self.known = known
        self.waits: dict[str, tuple[str, ...]] = {}  # unfinished job -> what it comes after
        self.several: dict[str, str] = {}  # output path that is not the first of its job -> done job
        self.shared: list[tuple[str, str, str]] = []  # (path, done job, another done job)
        self.foreign: dict[str, set[str]] = {}  # module that is not allowed -> unfinished jobs of it
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
        elif status is Status.FAILED and not job.attempts:
            what = "it failed, and no attempt of it says why"
            findings.append(
                Finding(code="untold", where=where, what=what, do=f"to try it again: `runner retry {id}`", id=id)
            )
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
            else:
                yield Finding(code="upstream", where=where, what=what, do=_remake(upstream), id=job.id, guarantee=2)
        if status is not Status.DONE or job.result is None:
            return
        for child in job.result.get("found", ()):
            if not self.there(child):
                what = f"it found {child}, which is nowhere"
                yield Finding(code="child", where=where, what=what, do=_remake(child), id=job.id, guarantee=6)

    def _task(self, job: JobFile, status: Status, where: str) -> Iterator[Finding]:
        if _TASK.match(job.task) is None:
            what = f"its task is {job.task!r}, not module:Class, and cannot run"
            yield Finding(code="task", where=where, what=what, do="put a right one into inbox/", id=job.id, guarantee=9)
            return
        module, _, qualname = job.task.partition(":")
        if job.id[:-17] != qualname.rpartition(".")[2]:
            what = f"its id is not that of a {job.task}"
            yield Finding(code="identity", where=where, what=what, do="see where it came from", id=job.id)
        if status in UNFINISHED and self._modules is not None and not _allowed(module, self._modules):
            self.foreign.setdefault(module, set()).add(job.id)

    def _done(self, job: JobFile, where: str) -> Iterator[Finding]:
        if job.result is None:
            what = "it is done, without a record of what it made"
            do = f"{MEND} puts it back to pending/"
            yield Finding(code="no record", where=where, what=what, do=do, id=job.id, guarantee=5)
            return
        # Superseded: a runner died between writing that down and setting the job aside. It is as done as it was.
        if job.attempts and (last := job.attempts[-1]["outcome"]) not in ("done", "superseded"):
            what = f"it is in done/, but its last attempt ended as {last!r}: it was moved by hand"
            do = f"{MEND} puts it back to pending/"
            yield Finding(code="not finished", where=where, what=what, do=do, id=job.id, guarantee=5)
        recorded = job.result.get("outputs", {})
        for number, (path, made) in enumerate(recorded.items()):
            if number == 0 and output_hash(path) != job.id[-16:]:
                what = f"its first output is {path}, which is not what its id stands for"
                yield Finding(code="identity", where=where, what=what, do="see where it came from", id=job.id)
            if made is None:
                continue
            self.outputs += 1
            if number > 0:
                other = self.several.setdefault(path, job.id)
                if other != job.id:
                    self.shared.append((path, other, job.id))
            wrong = self._output(path, made["bytes"], made["sha256"])
            if wrong:
                do = "it is due: the next run that reaches it makes it again"
                yield Finding(code="output", where=where, what=f"output {path} {wrong}", do=do, id=job.id, guarantee=5)

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
    do = f"{MEND} puts it into quarantine/"
    return Finding(code="name", where=f"{status}/{name}", what=what, do=do, guarantee=3)


def _invalid(where: str, id: str, what: str) -> Finding:
    wrong_id = what.startswith("`$.id` is")
    do = f"{MEND} puts it into quarantine/; then {AGAIN}"
    return Finding(code="invalid", where=where, what=what, do=do, id=id, guarantee=3 if wrong_id else 1)


def _double(id: str, found: list[Status]) -> Finding:
    what = f"the job is in {' and in '.join(f'{status}/' for status in found)}"
    do = f"{MEND} keeps the most advanced copy, and puts the others into quarantine/"
    return Finding(code="double", where=f"{found[-1]}/{id}.json", what=what, do=do, id=id, guarantee=2)


def _remake(id: str) -> str:
    return f"{AGAIN}, or put {id}.json into inbox/ from a backup"


def _allowed(module: str, modules: Collection[str]) -> bool:
    return any(module == allowed or module.startswith(allowed + ".") for allowed in modules)
