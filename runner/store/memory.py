"""MemoryStore: what FolderStore does, over dicts, for tests of the rule book and the loop.

Written apart from it, and plainly: each command is done at once, with none of FolderStore's planning ahead. A test
drives both with the same random commands and finds the same jobs. Must not share code with `steps.py`: what both had
from one place would agree, right or wrong. Knows no inbox, no other process and no power cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from runner.core.commands import Bind, Create, Deliver, Discard, Distrust, Move, Relist, Rewish, StoreCommand
from runner.core.model import UNFINISHED, Json, Proposal, Status
from runner.errors import BadJobFile, Busy, StateError
from runner.store import codec
from runner.store.codec import Brief, JobFile

_WISH = ("task", "params", "after", "found_by", "submitted", "depth")


class MemoryStore:
    """Jobs as objects in a dict for each folder; `outputs` and `trash` stand for the user's files."""

    def __init__(self, *, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.path = "/state"
        self.root = "/"
        self.tmp_path = "/state/tmp"
        self.run = ""
        self.one_filesystem = True
        self.clock = clock
        self.folders: dict[Status, dict[str, JobFile]] = {status: {} for status in Status}
        self.reasons: dict[str, str] = {}  # of what is in quarantine/
        self.tmp: dict[str, bytes] = {}
        self.outputs: dict[str, bytes] = {}
        self.trash: dict[str, bytes] = {}
        self.syncs = 0
        self._serial = 0
        self._held: Mapping[str, Json] | None = None

    def close(self) -> None:
        """Nothing is open."""

    # ------------------------------------------------------------------------------------------------- the lock

    @contextmanager
    def lock(self, info: Mapping[str, Json] | None = None) -> Iterator[None]:
        """Raises Busy if it is held."""
        if self._held is not None:
            raise Busy("another runner is alive on this MemoryStore")
        self._held = info or {}
        try:
            yield
        finally:
            self._held = None

    def announce(self, info: Mapping[str, Json]) -> None:
        """Say more about the holder."""
        self._held = info

    def holder(self) -> None:
        """No other process can look."""

    # --------------------------------------------------------------------------------------------------- changes

    def carry_out(self, commands: Sequence[StoreCommand]) -> None:
        """Do the commands, one after the other."""
        for command in commands:
            self.do(command)

    def do(self, command: StoreCommand) -> None:
        """Do one command."""
        match command:
            case Create(proposal, after):
                self._create(proposal, after)
            case Rewish(proposal, after, status):
                if status is not Status.QUARANTINE:
                    self._change(proposal.id, status, self._wish(proposal, after, self._get(proposal.id, status)))
            case Bind(id, status, after):
                self._change(id, status, {"after": after})
            case Relist(id, found, dropped):
                result = {**(self._get(id, Status.DONE).result or {}), "found": list(found)}
                result.pop("dropped", None)
                more = {"dropped": {"run": self.run, "ids": list(dropped)}} if dropped else {}
                self._change(id, Status.DONE, {"result": result | more})
            case Distrust(id, status):
                known = self._get(id, status).result
                if known is not None:
                    self._change(id, status, {"result": known | {"invalidated": codec.stamp(self.clock())}})
            case Move():
                self._move(command)
            case Deliver():
                self._deliver(command)
            case Discard(names):
                for name in names:
                    self.tmp.pop(name, None)

    def _create(self, proposal: Proposal, after: tuple[str, ...]) -> None:
        if proposal.staged is None:
            fresh = {
                name: getattr(proposal, name) for name in ("id", "task", "params", "found_by", "submitted", "depth")
            }
            job = JobFile(after=after, **fresh)
        else:
            job = replace(codec.decode(self.tmp.pop(proposal.staged), proposal.id), after=after)
        self.folders[Status.PENDING][proposal.id] = job

    def _wish(self, proposal: Proposal, after: tuple[str, ...], job: JobFile) -> dict[str, Any]:
        wish = {name: getattr(proposal, name) for name in _WISH} | {"after": after}
        wish["submitted"] = wish["submitted"] or job.submitted
        told = [name for name in ("task", "params", "submitted") if codec.same(wish[name], getattr(job, name))]
        unchanged = len(told) == 3 and set(job.after) == set(after)
        if unchanged and (job.found_by is not None or proposal.found_by is None):
            return {}
        wish["found_by"] = wish["found_by"] or job.found_by
        return wish

    def _move(self, move: Move) -> None:
        job = self._get(move.id, move.source)
        if move.record is not None:
            record = codec.decode(self.tmp.pop(move.record), move.id)
            # The file's wish is the worker's own, or a newer one.
            job = replace(record, **{name: getattr(job, name) for name in _WISH})
        if move.change is not None:
            job = self._with_change(job, move)
        del self.folders[move.source][move.id]
        self.folders[move.target][move.id] = job

    def _with_change(self, job: JobFile, move: Move) -> JobFile:
        change = move.change
        assert change is not None
        attempts = list(job.attempts)
        if change.attempt is not None:
            seconds = change.attempt.seconds
            attempts.append(
                {
                    "run": self.run,
                    "started": codec.stamp(self.clock() - (seconds or 0.0)),
                    "seconds": seconds,
                    "outcome": change.attempt.outcome,
                    "error": {"type": change.attempt.type, "message": change.attempt.message, "traceback": ""},
                    **({} if change.retry_in is None else {"retry_in": change.retry_in}),
                }
            )
        counted = [] if change.reset_retries else attempts[job.retries_from :]
        history = attempts[: len(attempts) - len(counted)]
        while history and len(history) + len(counted) > codec.KEPT_ATTEMPTS:
            del history[0]
        not_before = None if change.retry_in is None else codec.stamp(self.clock() + change.retry_in)
        return replace(job, attempts=history + counted, retries_from=len(history), not_before=not_before)

    def _deliver(self, command: Deliver) -> None:
        for staging, final in command.pairs:
            if staging in self.outputs:
                self.outputs[final] = self.outputs.pop(staging)
            elif final not in self.outputs:
                raise StateError(f"{command.id}: neither {staging} nor {final} is there")
        for path in command.trash:
            if path in self.outputs:
                free, number = f"{self.run or 'no-run'}/{path}", 1
                while free in self.trash:
                    number += 1
                    free = f"{self.run or 'no-run'}/{path}.{number}"
                self.trash[free] = self.outputs.pop(path)

    def _get(self, id: str, status: Status) -> JobFile:
        try:
            return self.folders[status][id]
        except KeyError:
            raise FileNotFoundError(f"{status}/{id}.json") from None

    def _change(self, id: str, status: Status, fields: dict[str, Any]) -> None:
        self.folders[status][id] = replace(self._get(id, status), **fields)

    def sync(self, staged: Iterable[str] = ()) -> None:
        """Counted."""
        self.syncs += 1

    def take_leftovers(self) -> list[str]:
        """There are none."""
        return []

    def tidy(self) -> None:
        """Nothing to do."""

    def tmp_name(self, id: str) -> str:
        """A name in tmp/ that nobody else uses."""
        self._serial += 1
        return f"1-1.{self._serial}.{id}"

    def stage(self, id: str, data: bytes) -> str:
        """Put a file into tmp/, and give its name."""
        name = self.tmp_name(id)
        self.tmp[name] = data
        return name

    def quarantine(self, folder: str, name: str, reason: str) -> str:
        """Move a job to quarantine/."""
        id = name.removesuffix(".json")
        self.folders[Status.QUARANTINE][id] = self.folders[Status(folder)].pop(id)
        self.reasons[name] = reason
        return name

    def recover(
        self, visit: Callable[[JobFile, Status, bool], None] | None = None
    ) -> tuple[dict[str, Status], list[tuple[JobFile, Status, bool]]]:
        """As FolderStore's, after a crash: all writers are gone, and what they left in tmp/."""
        self.tmp.clear()
        self._held = None
        found = [
            (job, status, status is Status.RUNNING and self._is_finished(job))
            for status in UNFINISHED
            for job in self.folders[status].values()
        ]
        if visit is None:
            return self.scan(), found
        for each in found:
            visit(*each)
        return self.scan(), []

    def _is_finished(self, job: JobFile) -> bool:
        counted = job.attempts[job.retries_from :]
        if not counted or job.result is None or counted[-1]["outcome"] != "done":
            return False
        sizes = {path: digest["bytes"] for path, digest in job.result.get("outputs", {}).items() if digest}
        there = {path: len(self.outputs[path]) for path in sizes if path in self.outputs}
        return counted[-1].get("run") == job.result.get("run") and sizes == there

    # --------------------------------------------------------------------------------------------------- looking

    def scan(self) -> dict[str, Status]:
        """Every id with its status."""
        return {id: status for status in reversed(Status) for id in self.folders[status]}

    def find(self, id: str) -> Status | None:
        """Where one job is."""
        return self.scan().get(id)

    def read(self, id: str, status: Status) -> JobFile:
        """The job. Raises FileNotFoundError, or BadJobFile for what is no id."""
        if not codec.is_id(id):
            raise BadJobFile(f"{id!r} is no job id")
        return self._get(id, status)

    def brief(self, id: str, status: Status) -> Brief:
        """As much of the job as a judgement needs."""
        return codec.brief(self.read(id, status))

    def keep(self, job: Brief) -> None:
        """A done job as somebody else read it. Here a job is not read, so there is nothing to save."""

    def read_bytes(self, id: str, status: Status) -> bytes:
        """The job as the bytes of its file."""
        return codec.encode(self.read(id, status))
