"""`check`: whether every guarantee of the contract that can be seen from the disk holds, over the whole state.

Theory of operation. One scan of names, then every job file is read once. Beside a live runner a job moves between any
two looks, so nothing found on the way is called a fault yet: its job is a suspect, looked at again from scratch with
growing pauses, and only what is still wrong at the last look is reported. What was there once is proof enough that a
job exists, whatever happens later; what was not is asked for by name.

A kill at any moment leaves no fault: what the next start puts right by itself is a warning (`leftovers.py`), and so
is an output that was lost, as its job is due. What the disk does not tell, it does not prove: who moved a file, how
often a task ran, whether a child's wish is the one its finder gave, whether a class is still there, what the id of a
job is to be that never was done. Must not change anything; waits a second at the most, and only if something looked
wrong.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from runner.core.ledger import output_hash
from runner.core.model import FLOW_ORDER, UNFINISHED, Status
from runner.errors import BadJobFile, NewerSchema, StateError
from runner.store.codec import SCHEMA, JobFile
from runner.store.folders import FolderStore
from runner.store.names import job_ids
from runner.store.runs import RunFile, Runs, that_name
from runner.store.shelf import INBOX, LOCKS, RUNS, STATUS_FOLDERS
from runner.views.examine import MEND, Examiner, Finding, invalid_name
from runner.views.leftovers import left_behind
from runner.views.reading import names, quarantined, read_job, reason
from runner.views.status import live_runner

PAUSES = (0.0, 0.05, 0.2, 0.7)
"""Seconds before each new look at what seems wrong beside a live runner; without one, a single look at once."""

_MAX_CYCLES = 20
_CANCELLED = (Status.CANCELLED, Status.QUARANTINE)
_T = TypeVar("_T")
_Pair: TypeAlias = tuple[str | None, str, str]  # an output path (None: the first of both), and two owners of it


class Report(Struct, frozen=True, kw_only=True):
    """What `check` found. `live`: beside a runner at work. `outputs`: files whose size (or digest) was compared."""

    schema: int = SCHEMA
    state: str
    jobs: int
    outputs: int
    runs: int
    verified: bool
    live: bool
    seconds: float
    faults: list[Finding]
    warnings: list[Finding]


def check(
    store: FolderStore,
    *,
    verify: bool = False,
    modules: Collection[str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Look at everything. `verify`: hash the outputs. `modules`: those whose tasks may run; None: not compared.

    Raises NewerSchema for a file of a newer version, StateError.
    """
    return Check(store, verify=verify, modules=modules, sleep=sleep).report()


class Check:
    """One check of one state."""

    def __init__(
        self,
        store: FolderStore,
        *,
        verify: bool,
        modules: Collection[str] | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._verify = verify
        self._modules = modules
        self._sleep = sleep
        self._live = self._runner_lives()

    def report(self) -> Report:
        began = time.monotonic()
        runs, findings = self._runs()
        odd, twice, listed = self._list()
        known = listed | self._store.scan()
        del listed
        jobs = [(id, status) for id, status in known.items() if status is not Status.QUARANTINE]
        self._goes_on = any(run.ended is None for run in runs)
        self._examiner = Examiner(
            self._store,
            known,
            verify=self._verify,
            modules=self._allowed(runs),
            may_come=self._goes_on or bool(names(self._store, INBOX)),
        )
        suspects: dict[str, list[Finding]] = {id: [] for id in twice}
        for id, status in jobs:
            if id not in twice and (wrong := self._examiner.job(id, status)):
                suspects[id] = wrong
        findings += self._settle(suspects)
        findings += self._still(odd)
        findings += self._roots(runs)
        findings += self._owners()
        findings += self._cycles()
        findings += self._rest()
        return Report(
            state=self._store.path,
            jobs=len(jobs),
            outputs=self._examiner.outputs,
            runs=len(runs),
            verified=self._verify,
            live=self._live,
            seconds=time.monotonic() - began,
            faults=[finding for finding in findings if _is_fault(finding)],
            warnings=[finding for finding in findings if not _is_fault(finding)],
        )

    # ------------------------------------------------------------------------------------------------------ the jobs

    def _list(self) -> tuple[list[tuple[Status, str]], set[str], dict[str, Status]]:
        """Names that are no job's, ids that were seen in two folders, and where each id was seen last."""
        odd: list[tuple[Status, str]] = []
        twice: set[str] = set()
        seen: dict[str, Status] = {}
        fds, files = self._store.shelf.fds, self._store.shelf.files
        for status in STATUS_FOLDERS:
            if status not in fds:
                continue
            ids, others = job_ids(files.names(fds[status]))
            odd += [(status, name) for name in others]
            for id in ids:
                if id in seen:
                    twice.add(id)
                seen[id] = status
        return odd, twice, seen

    def _runner_lives(self) -> bool:
        runner = live_runner(self._store)
        return runner is not None and runner.pid != os.getpid()

    def _settle(self, found: dict[str, list[Finding]]) -> list[Finding]:
        """Look again at what seemed wrong, until it is right or the last look is over.

        A warning is looked at once more beside a runner, and at rest it stands: there may be one for every job.
        """
        counted = self._examiner.outputs
        for number, pause in enumerate(self._pauses()):
            first = number == 0
            looked_at = [
                id for id, wrong in found.items() if any(map(_is_fault, wrong)) or (first and (self._live or not wrong))
            ]
            if not looked_at:
                break
            if pause:
                self._sleep(pause)
            self._examiner.refresh()
            for id in looked_at:
                found[id] = self._examiner.again(id)
        self._examiner.outputs = counted
        return [finding for each in found.values() for finding in each]

    def _still(self, odd: Iterable[tuple[Status, str]]) -> Iterator[Finding]:
        for status, name in odd:
            self._examiner.heed_schema(status, name)
            if self._store.shelf.files.exists(self._store.shelf.fds[status], name):
                yield invalid_name(status, name)

    def _pauses(self) -> tuple[float, ...]:
        self._live = self._live or self._runner_lives()  # one may have started meanwhile
        return PAUSES if self._live else PAUSES[:1]

    def _lasting(self, candidates: Iterable[_T], wrong: Callable[[_T], bool]) -> list[_T]:
        """Those that are wrong at every look."""
        left = list(candidates)
        for pause in self._pauses():
            if not left:
                break
            if pause:
                self._sleep(pause)
            self._examiner.refresh()
            left = [candidate for candidate in left if wrong(candidate)]
        return left

    def _owners(self) -> Iterator[Finding]:
        """An output has one owner that is not cancelled; an id's hash is that of its job's first output."""
        first: dict[str, str] = {}
        pairs: list[_Pair] = list(self._examiner.shared)
        for id, status in self._examiner.known.items():
            if status not in _CANCELLED and (other := first.setdefault(id[-16:], id)) != id:
                pairs.append((None, other, id))
        for output, id in self._examiner.several.items():
            if (other := first.get(output_hash(output), id)) != id:
                pairs.append((output, id, other))
        for path, one, two in self._lasting(dict.fromkeys(pairs), self._both_own):
            what = f"{one} has the same output" + (f": {path}" if path else "")
            do = "start a new run of the one that is right: it supersedes the other"
            where = f"{self._store.find(two)}/{two}.json"
            yield Finding(code="two owners", where=where, what=what, do=do, id=two, guarantee=7)

    def _both_own(self, pair: _Pair) -> bool:
        path, *ids = pair
        for id in ids:
            status = self._store.find(id)
            if status is None or status in _CANCELLED:
                return False
            if path is None or output_hash(path) == id[-16:]:
                continue
            found = self._read(id, status)
            if found is None or found[1] is not Status.DONE or path not in (found[0].result or {}).get("outputs", {}):
                return False
        return True

    def _cycles(self) -> Iterator[Finding]:
        waits = self._examiner.waits
        graph = {id: [upstream for upstream in after if upstream in waits] for id, after in waits.items()}
        graph = {id: after for id, after in graph.items() if after}
        chains: list[list[str]] = []
        while len(chains) < _MAX_CYCLES:
            try:
                TopologicalSorter(graph).prepare()
            except CycleError as error:
                chains.append(error.args[1][::-1])
                del graph[chains[-1][0]]
            else:
                break
        for chain in self._lasting(chains, self._waits_for_itself):
            what = "jobs wait for each other: " + " -> ".join(chain)
            do = "`python -m runner resume` fails them; then hand one in with another `after`"
            where = f"{self._store.find(chain[0])}/{chain[0]}.json"
            yield Finding(code="cycle", where=where, what=what, do=do, id=chain[0])

    def _waits_for_itself(self, chain: list[str]) -> bool:
        for id, upstream in pairwise(chain):
            found = self._read(id, self._examiner.known.get(id, Status.PENDING))
            if found is None or found[1] not in UNFINISHED or upstream not in found[0].after:
                return False
        return True

    def _read(self, id: str, status: Status) -> tuple[JobFile, Status] | None:
        try:
            return read_job(self._store, id, status)
        except (BadJobFile, OSError):
            return None

    # ------------------------------------------------------------------------------------------- runs and the rest

    def _runs(self) -> tuple[list[RunFile], list[Finding]]:
        """All run records, newest first, and those that are damaged. Only those whose roots count have them."""
        found: list[RunFile] = []
        damaged: list[Finding] = []
        runs = Runs(self._store)

        def read() -> Iterator[RunFile]:
            for id in reversed(runs.ids()):
                try:
                    run = runs.read(id)
                except FileNotFoundError:
                    continue  # pruned meanwhile
                except NewerSchema:
                    raise
                except StateError as error:
                    damaged.append(_damaged(id, str(error).removeprefix(f"{self._store.path}/{RUNS}/{id}.json: ")))
                else:
                    found.append(replace(run, roots=[]))  # a thousand nights have a thousand times a million
                    yield run

        naming = {run.id: run for run in that_name(read())}
        return [naming.get(run.id, run) for run in found], damaged

    def _allowed(self, runs: Iterable[RunFile]) -> set[str] | None:
        """The modules of the settings, and those that a person named as a target."""
        if self._modules is None:
            return None
        return {*self._modules, *(run.target.partition(":")[0].partition(".")[0] for run in runs if run.target)}

    def _roots(self, runs: Iterable[RunFile]) -> Iterator[Finding]:
        """What the runs were admitted with whose roots count is there."""
        there = self._examiner.there
        missing = {(root, run.id, run.target) for run in runs for root in run.roots if run.admitted and not there(root)}
        for root, run, target in self._lasting(sorted(missing), lambda each: not there(each[0])):
            what = f"the run was admitted with {root}, which is nowhere"
            do = f"`python -m runner run {target}` makes it anew" if target else "run its task again"
            yield Finding(code="root", where=f"{RUNS}/{run}.json", what=what, do=do, id=root, guarantee=2)

    def _rest(self) -> Iterator[Finding]:
        """What is no fault of a job's: the lock, workers left behind, what lies in quarantine/."""
        store, fds = self._store, self._store.shelf.fds
        if self._live and LOCKS in fds and not store.shelf.files.exists(fds[LOCKS], "runner.lock"):
            what = "a runner is alive, and its lock file is gone: a second one could start beside it"
            do = "`python -m runner stop`, then `resume`"
            yield Finding(code="lock file", where=f"{LOCKS}/runner.lock", what=what, do=do, guarantee=4)
        if not self._live:
            yield from left_behind(store, self._examiner, goes_on=self._goes_on)
        for module, ids in sorted(self._examiner.foreign.items()):
            what = f"{len(ids):,} unfinished jobs are of the module {module}, which is not allowed: they cannot run"
            do = "add it to modules in pyproject.toml, [tool.runner]"
            yield Finding(code="module", where="pending", what=what, do=do, guarantee=9)
        missing = [status.value for status in FLOW_ORDER if status not in fds]
        if missing and len(missing) < len(FLOW_ORDER):
            what = f"there is no folder {', '.join(missing)}"
            yield Finding(code="folder", where=missing[0], what=what, do="nothing: the next run makes it")
        aside = quarantined(store)
        untold = [name for name in aside if not reason(store, name)]
        if aside:
            what = f"{len(aside):,} files lie in quarantine"
            do = "see NAME.reason.txt there; put what is right again into inbox/"
            yield Finding(code="quarantine", where=Status.QUARANTINE.value, what=what, do=do)
        for name in untold:
            what = "nothing says why it is here"
            yield Finding(code="no reason", where=f"{Status.QUARANTINE}/{name}", what=what, do="see what it is")


def _damaged(run: str, what: str) -> Finding:
    what = what.partition(": move it away")[0]
    do = f"{MEND} puts it into quarantine/: that run is forgotten, no job is lost"
    return Finding(code="run record", where=f"{RUNS}/{run}.json", what=what, do=do)


_WARNINGS = frozenset(
    {"output", "module", "upstream of cancelled", "upstream to come", "cut short", "by hand", "orphan", "left running"}
    | {"left pending", "to be blocked", "to be unblocked", "leftover", "quarantine", "no reason", "folder"}
)


def _is_fault(finding: Finding) -> bool:
    return finding.code not in _WARNINGS
