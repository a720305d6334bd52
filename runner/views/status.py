"""How the state stands: counts, the live run or the last one, and what to type next. By names and one record only.

Takes a scan of names, whatever the number of jobs; reads no job file. Must not change anything, nor wait.
"""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import Literal

import msgspec
from msgspec import Struct

from runner.core.model import Json, Status
from runner.errors import BadJobFile, NewerSchema, StateError
from runner.store import codec
from runner.store.codec import SCHEMA
from runner.store.folders import FolderStore
from runner.store.lock import Holder
from runner.store.runs import Runs
from runner.store.shelf import INBOX, RUNS, STATUS_FOLDERS
from runner.views import journal
from runner.views.reading import names, quarantined

_task_of = itemgetter(slice(-17))  # an id: it ends in a dash and 16 hex digits


class Runner(Struct, frozen=True, kw_only=True):
    """The live process that holds the runner lock. `run` "": none yet, or it does something else (`verb`)."""

    pid: int
    host: str
    run: str
    verb: str = ""


class RunState(Struct, frozen=True, kw_only=True):
    """The live run, or else the newest. Times are stamps; `rate` in jobs per second, `seconds_left` by that rate."""

    id: str
    how: Literal["live", "done", "failed", "unusable", "stopped", "interrupted", "taken over"]
    start: str
    ended: str | None
    exit: int | None
    target: str | None
    arguments: dict[str, Json]
    finished: int  # jobs that ran and succeeded in it, by its journal
    rate: float | None = None
    seconds_left: float | None = None


class State(Struct, frozen=True, kw_only=True):
    """Counts of jobs; `inbox` and `quarantine` count files. `next`: the verb to type next, in words; none: nothing."""

    schema: int = SCHEMA
    state: str
    total: int
    moving: bool  # jobs moved backward all the time that they were counted: a few may not be in the numbers
    statuses: dict[str, int]  # all of them, in the order of the flow
    tasks: dict[str, dict[str, int]]  # class name -> status -> jobs
    inbox: int
    quarantine: int
    runner: Runner | None
    run: RunState | None
    problem: str | None  # with the run records
    next: list[str]


class _Head(Struct, kw_only=True):
    """As much of a run record as is shown: its roots may be a million ids."""

    schema: int = SCHEMA
    id: str
    start: str
    target: str | None = None
    arguments: dict[str, Json] = {}
    ended: str | None = None
    exit: int | None = None


_decode = msgspec.json.Decoder(_Head).decode


def look(store: FolderStore, now: float) -> State:
    """The state at `now`, in seconds since the epoch. Raises NewerSchema for the record of a newer version."""
    runner = live_runner(store)
    known, sure = store.survey()
    pairs = Counter(zip(map(_task_of, known), known.values(), strict=True))
    pairs = Counter({pair: count for pair, count in pairs.items() if pair[1] is not Status.QUARANTINE})
    tasks: dict[str, dict[str, int]] = {}
    for status in STATUS_FOLDERS:
        for (task, its), count in sorted(pairs.items()):
            if its is status:
                tasks.setdefault(task, {})[status.value] = count
    statuses = {s.value: sum(n for (_, its), n in pairs.items() if its is s) for s in STATUS_FOLDERS}
    newest, unfinished, problem = None, False, None
    try:
        newest, unfinished = _newest(store)
    except NewerSchema:
        raise
    except StateError as error:
        problem = str(error)
    open_jobs = statuses[Status.PENDING] + statuses[Status.RUNNING]
    inbox = len(names(store, INBOX))
    return State(
        state=store.path,
        total=pairs.total(),
        moving=not sure,
        statuses=statuses,
        tasks=dict(sorted(tasks.items())),
        inbox=inbox,
        quarantine=len(quarantined(store)),
        runner=runner,
        run=_run(store, newest, runner, open_jobs, now),
        problem=problem,
        next=[] if runner is not None else _next(statuses, newest is None, unfinished or bool(open_jobs or inbox)),
    )


def live_runner(store: FolderStore) -> Runner | None:
    """Who holds the runner lock, told by who said so: to try the lock itself could be in a runner's way."""
    holder = store.holder()
    if holder is None or not holder.alive or _is_over(store, holder):
        return None
    return Runner(pid=holder.pid, host=holder.host, run=holder.run, verb=str(holder.info.get("verb", "")))


def _is_over(store: FolderStore, holder: Holder) -> bool:
    """Whether the holder's run has ended: a program that called `runner.run` lives on after it."""
    try:
        head = _head(store, holder.run) if holder.run else None
    except (OSError, StateError):
        return False
    return head is not None and head.ended is not None


def _newest(store: FolderStore) -> tuple[_Head | None, bool]:
    """The newest run, and whether any has not ended."""
    newest: _Head | None = None
    for id in reversed(Runs(store).ids()):
        try:
            head = _head(store, id)
        except FileNotFoundError:
            continue  # pruned meanwhile
        newest = newest or head
        if head.ended is None:
            return newest, True
        if head.exit in (0, 1):  # it has ended all before it, too
            break
    return newest, False


def _head(store: FolderStore, id: str) -> _Head:
    """Raises FileNotFoundError, NewerSchema and StateError."""
    try:
        head = _decode(store.shelf.load_name(RUNS, f"{id}.json"))
        codec.parse_stamp(head.start)
        if head.schema == SCHEMA and head.id == id:
            return head
    except (ValueError, RecursionError, BadJobFile):
        pass
    run = Runs(store).read(id)  # strictly, for what is wrong with it
    arguments = run.arguments
    return _Head(id=id, start=run.start, target=run.target, arguments=arguments, ended=run.ended, exit=run.exit)


def _run(store: FolderStore, newest: _Head | None, runner: Runner | None, left: int, now: float) -> RunState | None:
    head = newest
    if runner is not None and runner.run and (head is None or head.id != runner.run):
        try:
            head = _head(store, runner.run)  # an older one was resumed
        except (FileNotFoundError, StateError):
            head = newest
    if head is None:
        return None
    live = runner is not None and runner.run == head.id
    speed = journal.rate(store, head.id, now) if live else None
    return RunState(
        id=head.id,
        how="live" if live else _how(head),
        start=head.start,
        ended=head.ended,
        exit=None if live else head.exit,
        target=head.target,
        arguments=head.arguments,
        finished=journal.count_finished(store, head.id),
        rate=speed,
        seconds_left=left / speed if speed else None,
    )


def _how(head: _Head) -> Literal["done", "failed", "unusable", "stopped", "interrupted", "taken over"]:
    if head.ended is None:
        return "stopped" if head.exit == 3 else "interrupted"
    match head.exit:
        case 0:
            return "done"
        case 1:
            return "failed"
        case 2:
            return "unusable"
        case _:
            return "taken over"


def _next(statuses: dict[str, int], untouched: bool, unfinished: bool) -> list[str]:
    if unfinished:
        return ["resume"]
    for status in (Status.FAILED, Status.BLOCKED):
        if statuses[status]:
            return ["list", "--status", status.value]
    return ["run"] if untouched and not any(statuses.values()) else []
