"""One run over one state folder, from the lock to the last line of its record.

The order of things is the protocol. Under the runner lock: make sure no old worker lives; read the folders (a state
of a newer version is left alone); write RUN.json, durable, before anything is admitted; ask the target (user code: if
it fails, no job has been moved); admit the roots and say so in RUN.json; work; say in RUN.json how it ended. A crash
between any two of these leaves a state that `resume` goes on with.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from runner.ask import Ask, roots_of
from runner.backlog import Backlog
from runner.bounds import NONE, Bounds
from runner.catalog import Catalog
from runner.core.engine import Engine
from runner.core.events import Recovered
from runner.core.model import Proposal, Status
from runner.errors import GO_ON, Busy, Refused, StateError, UsageError, plainly
from runner.handed import Handed
from runner.listeners import Watcher
from runner.loop import GRACE, Loop
from runner.progress import CTRL_C, Failure, Progress
from runner.rebuild import rebuild
from runner.recorder import Recorder
from runner.rounds import Rounds
from runner.settings import overrides
from runner.staff import Kind, Staff, wait_for_agents
from runner.store import codec
from runner.store.folders import FolderStore
from runner.store.mounts import doubts
from runner.store.pace import last_start
from runner.store.runs import Journal, RunFile, Runs, new_run_id
from runner.workers import orphans
from runner.workers.judge import How, Judge
from runner.workers.lease import LEASE
from runner.workers.port import Nobody
from runner.workers.port import Settings as WorkerSettings

if TYPE_CHECKING:
    from runner.workers.pilots import Pool


class Options(Struct, frozen=True, kw_only=True):
    """How to run. The same words as on the command line."""

    workers: int = 0  # processes; 0: as many as there are processors
    threads: int = 1  # tasks at once in each
    limits: dict[str, str] = {}
    rates: dict[str, str] = {}
    durability: Literal["power", "process"] = "power"
    modules: tuple[str, ...] = ()  # whose tasks may run
    force: bool = False  # all that the run reaches is due
    force_tasks: tuple[str, ...] = ()  # the jobs of these classes are
    adopt: bool = False  # outputs that are there without a record of ours are taken over
    verify: bool = False  # outputs are hashed, not only measured
    executor: Kind = "local"
    address: str = ""  # of a Dask scheduler; none: a cluster on this machine
    lease: float = LEASE  # seconds that an agent elsewhere may go unheard
    verbosity: int = 0

    @property
    def how(self) -> How:
        """How done jobs are judged."""
        return How(verify=self.verify, force=self.force, force_tasks=self.force_tasks)


class Summary(Struct, frozen=True, kw_only=True):
    """How a run ended. `exit_code` as the command line has it."""

    run: str
    state: str  # its folder
    target: str | None
    arguments: dict[str, str]  # of the target
    exit_code: int
    counts: dict[str, int]  # status -> jobs that this run reached
    ran: dict[str, int]  # task -> jobs that ran and succeeded
    changes: dict[str, int]  # new, changed, unchanged, absent -> jobs
    quarantined: int  # files
    failures: list[Failure]  # some of those that failed
    seconds: float


class Found(NamedTuple):
    """What a start finds."""

    recovered: Recovered
    damaged: int  # files that went to quarantine/
    backlog: Backlog


class Session:
    """A state folder that this process holds the lock of."""

    def __init__(
        self,
        store: FolderStore,
        root: Path,
        modules: Sequence[str],
        options: Options,
        bounds: Bounds,
        pool: Pool | None = None,
    ) -> None:
        self._store = store
        self._root = root
        self._options = options
        self._bounds = bounds
        self._runs = Runs(store)
        self._left = self._runs.unfinished()  # before anything is moved: a run record may be of a newer version
        taken_over = (module for run in self._left for module in recorded(run).modules)
        self._modules = tuple(dict.fromkeys((*modules, *taken_over)))
        self._catalog = Catalog(self._modules, root)
        self._staff = Staff(
            options.executor,
            workers=options.workers or None,
            address=options.address,
            lease=options.lease,
            pool=pool,
        )

    def close(self) -> None:
        self._staff.close()

    def start(self, ask: Ask) -> Summary:
        """A new run. It takes over what earlier runs left unfinished. Raises RunnerError."""
        self._prepare(ask.target)
        id = new_run_id(self._runs.ids(), time.time())
        found = self._rebuild()
        record = RunFile(
            id=id,
            start=codec.stamp(time.time()),
            target=ask.target,
            arguments=ask.arguments,
            options=msgspec.to_builtins(replace(self._options, modules=self._modules)),
        )
        self._runs.write(record)
        self._store.run = id
        self._store.announce({})
        return self._begin(record, ask, found)

    def resume(self) -> Summary | None:
        """Go on with the newest run that has not ended; None if there is nothing to go on with."""
        if not self._left:
            return self.start(Ask()) if self._anything_left() else None
        record = self._left[0]
        self._prepare(record.target)
        self._store.run = record.id
        self._store.announce({})
        found = self._rebuild()
        if not record.admitted:
            return self._begin(record, Ask(target=record.target, arguments=record.arguments), found)
        return self._work(record, None, found)

    def _prepare(self, target: str | None) -> None:
        """The target's module is imported while this process finds out what there is to do."""
        module = (target or "").partition(":")[0]
        self._staff.prepare(str(self._root), (module,) if self._is_allowed(module) else ())

    def _is_allowed(self, module: str) -> bool:
        return any(module == allowed or module.startswith(allowed + ".") for allowed in self._modules)

    def take_in(self) -> None:
        """Carry out what lies in inbox/, and start nothing."""
        recovered, _ = rebuild(self._store, self._catalog)
        newest = self._runs.newest()
        self._store.run = newest.id if newest is not None else ""
        engine = Engine(resuming=True)
        recorder = Recorder(Journal(self._store, self._store.run or new_run_id((), time.time())))
        handed = Handed(self._store, self._catalog, engine)
        rounds = self._rounds(engine, self._store.run, time.time())
        loop = Loop(engine, self._store, Nobody(), self._catalog, rounds, handed, [recorder])
        try:
            loop.do(recovered)
            loop.take_in()
        finally:
            recorder.close()

    def _rebuild(self) -> Found:
        backlog = Backlog(self._store, self._catalog)
        recovered, damaged = rebuild(self._store, self._catalog, backlog)
        return Found(recovered, damaged, backlog)

    def _anything_left(self) -> bool:
        statuses = self._store.scan().values()
        unfinished = any(status in (Status.PENDING, Status.RUNNING) for status in statuses)
        return unfinished or Handed.waiting(self._store)

    def _begin(self, record: RunFile, ask: Ask, found: Found) -> Summary:
        try:
            with _rare_collections():
                roots = roots_of(ask, self._modules, self._root)
            return self._work(record, roots, found)
        except (UsageError, Refused) as error:
            self._runs.write(replace(record, ended=codec.stamp(time.time()), exit=2))
            raise error if isinstance(error, UsageError) else UsageError(str(error)) from error

    def _rounds(self, engine: Engine, run: str, started: float) -> Rounds:
        judge = Judge(self._catalog, self._options.how, run=run, started=started)
        return Rounds(self._store, self._catalog, engine.ledger, judge)

    # ------------------------------------------------------------------------------------------------------ the run

    def _work(self, record: RunFile, roots: list[Proposal] | None, found: Found) -> Summary:
        """`roots` None: a run that was interrupted goes on, with those that its record names."""

        def note_admitted() -> None:
            nonlocal record
            record = replace(record, admitted=codec.stamp(time.time()))
            self._runs.write(record)

        recovered, damaged, backlog = found
        began = time.monotonic()
        started = codec.parse_stamp(record.start)
        options = self._options
        progress = Progress(record.id, verbosity=options.verbosity)
        engine = Engine(
            resuming=roots is None,
            overrides=overrides(options.limits, options.rates),
            last_start=last_start(self._store.shelf),
        )
        recorder = Recorder(Journal(self._store, record.id))
        handed = Handed(self._store, self._catalog, engine)
        rounds = self._rounds(engine, record.id, started)
        watchers: tuple[Watcher, ...] = (recorder, progress)
        executor = self._staff.executor(self._worker_settings(record, started), self._preload(), progress.say)
        loop = Loop(
            engine, self._store, executor, self._catalog, rounds, handed, watchers, backlog=backlog, bounds=self._bounds
        )
        with self._signals(loop):  # until all is recorded: what comes at the very end has nothing left to stop
            try:
                with _rare_collections():
                    loop.do(recovered)
                    if roots is None:
                        backlog.name_again(record.roots, lambda: self._runs.dropped(record))
                    else:
                        record = replace(record, roots=[proposal.id for proposal in roots])
                        loop.submit(roots, note_admitted, self._runs.dropped(record))
                        roots.clear()  # the engine has what it needs of them: a million proposals are a gigabyte
                    complete = loop.run()
                    handed.release()
            finally:
                progress.close()  # however it ends: a terminal has to be left as it was
                self._store.give_back_leftovers(executor.close())
                recorder.close()
            counts = engine.census.tally()
            quarantined = damaged + backlog.damaged + handed.quarantined
            exit_code = self._exit_code(complete, counts, quarantined)
            changes = {task: dict(kinds) for task, kinds in sorted(engine.census.changes().items())}
            self._end(record if exit_code == 3 else replace(record, changes=changes, gone=engine.gone), exit_code)
        return Summary(
            run=record.id,
            state=self._store.path,
            target=record.target,
            arguments=record.arguments,
            exit_code=exit_code,
            counts={status.value: counts[status] for status in Status if counts[status]},
            ran=dict(progress.finished),
            changes=dict(progress.changes),
            quarantined=quarantined,
            failures=progress.failures,
            seconds=time.monotonic() - began,
        )

    def _end(self, record: RunFile, exit_code: int) -> None:
        """A run that leaves work behind has not ended; one that does not has ended those it took over from, too."""
        if exit_code == 3:
            self._runs.write(replace(record, exit=exit_code))
            return
        for run in self._left:
            if run.id != record.id:
                self._runs.write(replace(run, ended=codec.stamp(time.time())))
        self._runs.write(replace(record, ended=codec.stamp(time.time()), exit=exit_code))

    @staticmethod
    def _exit_code(complete: bool, counts: Mapping[Status, int], quarantined: int) -> int:
        if not complete:
            return 3
        return 1 if quarantined or counts[Status.FAILED] or counts[Status.BLOCKED] else 0

    def _worker_settings(self, record: RunFile, started: float) -> WorkerSettings:
        devices = {os.stat(path).st_dev for path in (self._store.path, self._root)}
        return WorkerSettings(
            root=str(self._root),
            state=os.path.abspath(self._store.path),
            run=record.id,
            started=started,
            durable=self._options.durability == "power",
            devices=tuple(devices),
            modules=self._modules,
            threads=self._options.threads,
            adopt=self._options.adopt,
            how=self._options.how,
        )

    def _preload(self) -> list[str]:
        """What the fork server imports before it forks: the modules that this process has imported of those allowed."""
        return [name for name in list(sys.modules) if self._is_allowed(name)]

    @staticmethod
    def _signals(loop: Loop) -> contextlib.AbstractContextManager[None]:
        """Ctrl-C: finish what runs, then leave; twice: at once. SIGTERM and SIGHUP: the same, with a deadline."""

        def interrupt(signum: int, frame: object) -> None:
            if loop.stopping:
                loop.kill()
            else:
                loop.stop(CTRL_C)

        def terminate(signum: int, frame: object) -> None:
            if signum in terminated:
                loop.kill()
            terminated.add(signum)  # one SIGTERM and one SIGHUP may well be the same wish
            loop.stop(signal.Signals(signum).name, GRACE)

        terminated: set[int] = set()
        return _handled({signal.SIGINT: interrupt, signal.SIGTERM: terminate, signal.SIGHUP: terminate})


@contextlib.contextmanager
def _handled(handlers: Mapping[signal.Signals, Callable[[int, object], None]]) -> Iterator[None]:
    """Signals are handled so meanwhile. Those that are ignored stay ignored: by nohup, or as a shell's `&` has it."""
    before = {}
    with contextlib.suppress(ValueError):  # not on the main thread: whoever called decides about signals
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _leave(signum: int, frame: object) -> None:
    """Before there is anything to finish, and after it: leave as at a Ctrl-C."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """What a run allocates it keeps, by the million. It is looked through for garbage once, when it is young, some
    thousand objects at a time: workers wait meanwhile. What survives is not looked at again, which would take longer
    each time, and find nothing.
    """
    before = gc.get_threshold()
    gc.set_threshold(10_000, 1_000_000, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def recorded(run: RunFile) -> Options:
    """The options that a run was started with."""
    try:
        return msgspec.convert(run.options, Options)
    except msgspec.ValidationError:  # of another version: the defaults will do
        return Options()


@contextlib.contextmanager
def open_session(
    root: Path,
    state: Path,
    modules: Sequence[str],
    options: Options,
    bounds: Bounds = NONE,
    pool: Pool | None = None,
) -> Iterator[Session]:
    """Open the state folder, take its lock, and make sure that no worker of an earlier run lives.

    The project's root becomes the working directory meanwhile. Raises StateError, Busy.
    """
    before = os.getcwd()
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        with (
            _handled({signal.SIGTERM: _leave, signal.SIGHUP: _leave}),
            FolderStore(state, durability=options.durability, root=root) as store,
            store.lock(),
        ):
            locks = os.path.join(store.path, "locks")
            if options.verbosity >= 0:
                for doubt in doubts(store.path, str(root), durable=options.durability == "power"):
                    print(f"warning: {doubt}", file=sys.stderr)
            wait_for_agents(locks, partial(print, file=sys.stderr))
            if orphans.clear_orphans(locks):
                print("workers that an earlier run left behind were ended", file=sys.stderr)
            session = Session(store, root, modules, options, bounds, pool)
            try:
                yield session
            finally:
                session.close()
                with contextlib.suppress(Busy, OSError):  # the next run will see
                    orphans.clear_orphans(locks)
    except OSError as error:
        raise StateError(f"{state}: {plainly(error)}; {GO_ON}") from error
    finally:
        os.chdir(before)
