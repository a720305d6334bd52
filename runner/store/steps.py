"""The engine's commands, worked out into files to write and renames to do.

Theory of operation. One call of `carry_out` has three phases, and a kill or a power cut may come at any point in them:

1. Every file that the commands need is written to tmp/, whole. A crash here leaves files in tmp/ that the next
   recovery sweeps; no job was touched.
2. In power mode, if anything was written: one sync. From here on every file that is renamed is durable.
3. The renames, one at a time, strictly in the order of the commands. A crash leaves a prefix of them, and the engine
   orders its commands so that every prefix is a state it can go on from. The disk keeps that order too: the journal
   of one file system never makes a later rename durable before an earlier one.

So nothing here reads the disk for what an earlier command of the same call is going to make of it: `_content` has it.
Must not decide what is to be done (the engine did), nor sync after a rename (the next call, or `sync`, does).
"""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from runner.core.commands import Bind, Change, Create, Deliver, Discard, Distrust, Move, Relist, Rewish, StoreCommand
from runner.core.model import DONE, PENDING, QUARANTINE, RUNNING, Proposal, Status, Step
from runner.errors import BadJobFile, StateError
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.quarantine import put_aside
from runner.store.shelf import INBOX, MAX_KEPT_BYTES, RETURNABLE, TMP, TRASH, Shelf

_Do: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]


class Steps:
    """One call's commands. First `plan` (which writes to tmp/), then `perform`."""

    def __init__(self, shelf: Shelf, rewished: set[str]) -> None:
        self._shelf = shelf
        self._rewished = rewished  # running jobs whose wish is newer than the one their worker was given
        self._rename = shelf.files.rename
        self._fds = shelf.fds
        self._tmp = shelf.fds[TMP]
        self._steps: list[_Do] = []
        self._content: dict[str, JobFile | str] = {}  # what a job's file will hold by now: itself, or its name in tmp/
        self._fresh: dict[str, int] = {}  # new jobs that are only going to be put into pending/: by which step
        self._where: dict[str, Status] = {}  # where a file lies on disk that so far is only going to be moved
        self._backward = False
        self.needs = 0  # how many of the shelf's files must be durable before the first rename

    def plan(self, commands: Sequence[StoreCommand]) -> None:
        planners: dict[type, Callable[[Any], None]] = {
            Create: self._create,
            Move: self._move,
            Rewish: self._rewish,
            Bind: self._bind,
            Relist: self._relist,
            Distrust: self._distrust,
            Deliver: self._deliver,
            Discard: self._discard,
        }
        for command in commands:
            planners[type(command)](command)

    def perform(self) -> None:
        if self._backward:
            self._shelf.begin_backward()
        for do, arguments in self._steps:
            do(*arguments)
        if self._backward:
            self._shelf.end_backward()

    # ------------------------------------------------------------------------------------------------- planning

    def _create(self, command: Create) -> None:
        proposal, after = command.proposal, command.after
        id, staged = proposal.id, proposal.staged
        ahead = self._shelf.ahead.pop(id, None) if self._shelf.ahead else None
        if ahead is not None and (ahead.create.proposal is not proposal or ahead.create.after != after):
            self._steps.append((self._unlink, (ahead.name,)))
            ahead = None
        if ahead is not None:
            self._put(id, ahead.name)
            self.needs = max(self.needs, ahead.written)
        elif staged is not None and after == proposal.after:
            self._put(id, staged)
            if staged.startswith(self._shelf.token):
                self.needs = self._shelf.written
            else:  # a worker wrote it just so, and it was synced with its group
                self._shelf.remember(id, codec.encode(codec.new_file(proposal, after)))
        elif not codec.is_id(id):
            raise BadJobFile(f"{id!r} is no job id")
        elif staged is None:
            self._put(id, self._shelf.write_job(codec.new_file(proposal, after)))
            self.needs = self._shelf.written
        else:  # read, not made anew: a job that was handed in brings its history
            job = msgspec.structs.replace(self._parse_tmp(staged, id), after=after)
            self._write(job, PENDING, self._rename)
            self._steps.append((self._unlink, (staged,)))

    def _put(self, id: str, name: str) -> None:
        """A whole file for a new job lies in tmp/."""
        self._content[id] = name
        self._fresh[id] = len(self._steps)
        self._steps.append((self._rename, (self._tmp, name, self._fds[PENDING], f"{id}.json")))

    def _move(self, command: Move) -> None:
        id, source, target = command.id, command.source, command.target
        step = self._fresh.pop(id, None)
        if step is not None and command.step is Step.CLAIM and command.change is None and command.record is None:
            # A worker has been waiting for it: what would be two renames is one. A crash may so find it in running/
            # while what was ordered in between is not done; that is no more than a claim that came to nothing.
            rename, (tmp, written, _, name) = self._steps[step]
            self._steps[step] = (rename, (tmp, written, self._fds[target], name))
            return
        if command.change is not None or (command.record is not None and id in self._rewished):
            try:
                self._rewrite(command)
            except BadJobFile as error:
                if command.record is not None:
                    raise
                self._put_aside(id, source, error)  # nothing can be told of it any more: there is nothing to move
                return
        elif command.record is not None:
            self._content[id] = command.record
            if command.record.startswith(self._shelf.token):
                self.needs = self._shelf.written
            self._steps.append((self._replace, (self._tmp, command.record, self._fds[source], f"{id}.json")))
        else:
            self._where.setdefault(id, source)
            if source in RETURNABLE and id not in self._content:
                self._backward = True
                self._steps.append((self._take_back, (id, source, target)))
                return
        if target is PENDING:
            self._backward = True
        if self._rewished:
            self._rewished.discard(id)
        if target is not RUNNING:
            self._shelf.forget(id)
        name = f"{id}.json"
        self._steps.append((self._rename, (self._fds[source], name, self._fds[target], name)))

    def _rewrite(self, command: Move) -> None:
        id, source, record = command.id, command.source, command.record
        if record is None:
            job = self._job(id, source)
        else:
            job = self._parse_tmp(record, id)
            if id in self._rewished:
                # It holds the wish of the time its worker began; the newer one lies in the file that it replaces.
                job = codec.with_wish_of(job, self._job(id, source))
        if command.change is not None:
            job = self._changed(job, command.change)
        self._write(job, source, self._replace)
        if record is not None:
            self._steps.append((self._unlink, (record,)))

    def _rewish(self, command: Rewish) -> None:
        proposal, status = command.proposal, command.status
        if status is QUARANTINE:
            return  # what lies there is for a person to look at
        if status is DONE and self._has_this_wish(proposal, command.after):
            return
        try:
            job = self._job(proposal.id, status)
        except BadJobFile as error:
            # Damaged from outside (a power cut in process mode leaves empty files): the wish is known, its past is not.
            self._put_aside(proposal.id, status, error)
            self._write(codec.new_file(proposal, command.after), status, self._rename)
            return
        except FileNotFoundError:
            if not self._shelf.files.exists(self._fds[QUARANTINE], f"{proposal.id}.json"):
                raise
            # An earlier move of this run came upon a damaged file.
            self._write(codec.new_file(proposal, command.after), status, self._rename)
            return
        wished = codec.with_wish(job, proposal, command.after)
        if wished is not job:
            self._write(wished, status, self._replace)
            if status is RUNNING:
                self._rewished.add(proposal.id)

    def _has_this_wish(self, proposal: Proposal, after: tuple[str, ...]) -> bool:
        """Whether a done job's file says just that: so it is with most jobs, most nights, and they are judged next."""
        id = proposal.id
        if id in self._content or id in self._where:
            return False
        found, size = self._shelf.kept(id), 0
        if found is None:
            try:
                data = self._shelf.load_name(DONE, f"{id}.json")
            except BadJobFile:
                return False
            found, size = codec.skim(data, id), len(data)
        if found is None or not codec.says_nothing_new(found, proposal, after):
            return False
        if 0 < size <= MAX_KEPT_BYTES:
            self._shelf.keep(found)
        return True

    def _bind(self, command: Bind) -> None:
        job = self._job(command.id, command.status)
        if job.after == command.after:
            return
        self._write(msgspec.structs.replace(job, after=command.after), command.status, self._replace)
        if command.status is RUNNING:
            self._rewished.add(command.id)

    def _relist(self, command: Relist) -> None:
        job = self._job(command.id, DONE)
        self._write(codec.with_found(job, command.found, command.dropped, self._shelf.run), DONE, self._replace)

    def _distrust(self, command: Distrust) -> None:
        try:
            job = self._job(command.id, command.status)
        except BadJobFile:  # nobody relies on it: who reads it next puts it aside
            return
        if job.result is not None:
            at = codec.stamp(self._shelf.clock())
            job = msgspec.structs.replace(job, result={**job.result, "invalidated": at})
            self._write(job, command.status, self._replace)

    def _deliver(self, command: Deliver) -> None:
        for staging, final in command.pairs:
            self._steps.append((self._put_in_place, (command.id, staging, final)))
        for path in command.trash:
            self._steps.append((self._trash, (path,)))

    def _discard(self, command: Discard) -> None:
        for name in command.names:
            self._steps.append((self._unlink, (name,)))

    def _changed(self, job: JobFile, change: Change) -> JobFile:
        attempt = change.attempt
        entry = None
        if attempt is not None:
            entry = {
                "run": self._shelf.run,
                "started": codec.stamp(self._shelf.clock() - (attempt.seconds or 0.0)),
                "seconds": attempt.seconds,
                "outcome": attempt.outcome,
                "error": {"type": attempt.type, "message": attempt.message, "traceback": ""},
            }
        now, wait, reset = self._shelf.clock(), change.retry_in, change.reset_retries
        return codec.with_attempt(job, entry, now=now, retry_in=wait, reset_retries=reset)

    def _write(self, job: JobFile, status: Status, put: Callable[[int, str, int, str], None]) -> None:
        self._content[job.id] = job
        self._fresh.pop(job.id, None)
        name = self._shelf.write_job(job)
        self.needs = self._shelf.written
        self._steps.append((put, (self._tmp, name, self._fds[status], f"{job.id}.json")))

    def _job(self, id: str, status: Status) -> JobFile:
        """The job as the commands before this one will have left it."""
        known = self._content.get(id)
        if known is None:
            return self._read(id, self._where.get(id, status))
        return self._parse_tmp(known, id) if isinstance(known, str) else known

    def _read(self, id: str, lies: Status) -> JobFile:
        data = self._shelf.load(id, lies)
        try:
            return self._shelf.parse(data, id, lies)
        except BadJobFile as error:
            job = codec.salvaged(data, id)
            if job is None:
                raise
            self._put_aside(id, lies, error)
            self._write(job, lies, self._rename)
            return job

    def _put_aside(self, id: str, status: Status, error: BadJobFile) -> None:
        self._steps.append((put_aside, (self._shelf, status, f"{id}.json", str(error))))

    def _parse_tmp(self, name: str, id: str) -> JobFile:
        return self._shelf.parse(self._shelf.load_name(TMP, name), id, f"{TMP}/{name} for {id}")

    # ----------------------------------------------------------------------------------------------- performing

    def _replace(self, folder: int, name: str, to_folder: int, to_name: str) -> None:
        """Put a file in the place of another.

        By an exchange, where there is one: ext4 writes a file out there and then when it is renamed over another,
        which takes longer than all the rest. Either way a reader finds the old or the new file, whole; what was
        replaced is unlinked from tmp/ later, by us, by a worker, or by the next recovery.
        """
        try:
            if self._shelf.files.exchange(folder, name, to_folder, to_name):
                self._shelf.leftovers.append(name)
                return
        except FileNotFoundError:
            pass  # a person has moved the job back into inbox/, where its content was read: it comes back here
        self._rename(folder, name, to_folder, to_name)

    def _take_back(self, id: str, source: Status, target: Status) -> None:
        """Rename out of failed/, blocked/ or cancelled/, or out of inbox/ if a person put it there meanwhile."""
        name = f"{id}.json"
        try:
            self._rename(self._fds[source], name, self._fds[target], name)
        except FileNotFoundError:
            try:
                self._rename(self._fds[INBOX], name, self._fds[target], name)
            except FileNotFoundError:
                what = f"{id}: its file is gone from {source}/"
                raise StateError(f"{what}: start again, and the folders are taken as they are") from None

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._shelf.files.unlink(self._tmp, name)

    def _put_in_place(self, id: str, staging: str, final: str) -> None:
        root = self._shelf.root_fd
        try:
            self._rename(root, staging, root, final)
        except FileNotFoundError:
            # A class that is asked for its children published its outputs itself, before it was asked.
            if not self._shelf.files.exists(root, final):
                raise StateError(f"{id}: neither {staging} nor {final} is there") from None

    def _trash(self, path: str) -> None:
        """Move an output to trash/RUN/, under the same path; what is there already stays."""
        files, root, trash = self._shelf.files, self._shelf.root_fd, self._fds[TRASH]
        inside = [part for part in path.split("/") if part not in ("", ".", "..")]
        target = posixpath.join(self._shelf.run or "no-run", *inside)
        if not files.exists(root, path):
            return
        files.make_folders(trash, posixpath.dirname(target))
        free = target
        number = 1
        while files.exists(trash, free):
            number += 1
            free = f"{target}.{number}"
        try:
            files.rename(root, path, trash, free)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            name = self._shelf.tmp_name("trash")
            files.copy(root, path, self._tmp, name)
            files.rename(self._tmp, name, trash, free)
            files.unlink(root, path)
