"""A link to agents on a Dask cluster: each Dask worker is a place for one.

Of Dask it takes where workers are, how they are started, and how one speaks with them (TLS, too): `Client.run`, which
calls a function in a worker, once. Dask's own tasks are not used: Dask runs a task again, by itself, if its worker is
lost, or seems to be. What is called is one function of ours, with bytes of JSON; nothing of the user's is pickled.

Must not know orders.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from subprocess import PIPE, Popen
from typing import Any

from msgspec import json

from runner.errors import StateError, UsageError
from runner.workers import agent
from runner.workers.agent import StandsStill
from runner.workers.child import UNHEEDED, tie_to
from runner.workers.exchange import Request, decode_answer, encode
from runner.workers.lease import Grant
from runner.workers.link import Broke, Came, Cut, Joined, Left, Word
from runner.workers.mailbox import Mailbox

CONNECT = 10.0
"""Seconds to wait for the Dask scheduler to answer at the start."""

EVERY = 0.5
"""Seconds between two looks at which workers there are."""

LATE, ANSWER = 1.5, 10.0
"""Seconds after which such a look is late, and after which the connection is given up."""

FAREWELL = 1.0
"""Seconds for taking leave of it."""

AGAIN = 1.0
"""Seconds after which one tries again to reach a scheduler that was lost."""

INSTALL = "it takes the extra `dask`: `pip install -e .[dask]` in the repository"

_LACKING = re.compile(r"(?<=No module named ')[\w.]+")
_SECRETS = (
    "tls_ca_file",
    *(f"tls_{who}_{what}" for who in ("client", "scheduler", "worker") for what in ("cert", "key")),
)
_CALLED = "Run out-of-band function"  # what a Dask worker logs of each call


class DaskLink:
    """A Link. `address` "": a cluster on this machine, with so many workers; it ends with this process.

    Raises UsageError where Dask is not installed or the address is none, StateError where nobody answers there.
    """

    def __init__(self, address: str, workers: int) -> None:
        _distributed()
        _hush()
        self.address = address
        self.lacking = f"`dask worker {address}` starts one" if address else "it is started again"
        self._words: Mailbox[Word] = Mailbox()
        self.fd = self._words.fd
        self._lanes: dict[str, int] = {}
        self._size = workers
        self._client: Any = None
        self._calls: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._main: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="dask", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def ask(self, lane: str, agent: str, way: int, data: bytes, seconds: float) -> None:
        try:
            self._loop.call_soon_threadsafe(lambda: self._start(self._ask(lane, agent, way, data, seconds)))
        except RuntimeError:  # the loop has ended
            self._words.put(Broke(lane, agent, way))

    def take(self) -> list[Word]:
        return self._words.take()

    def close(self) -> None:
        if self._main is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()
        self._words.close()

    # ---------------------------------------------------------------------------------------------------- the thread

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as loop, suppress(asyncio.CancelledError):
            loop.run(self._serve())

    async def _serve(self) -> None:
        self._main = asyncio.current_task()
        with ExitStack() as stack:
            address, security = self.address, None
            try:
                if not address:
                    security = _distributed().Security.temporary()
                    address = stack.enter_context(_own_cluster(self._size, security))
            except Exception as error:
                self._fail(StateError(f"no Dask cluster can be started here: {error}"))
                return
            while True:
                try:
                    async with _connected(address, security) as client:
                        self._client = client
                        self._words.put(Cut(""))
                        self._ready.set()
                        await self._watch(client)
                except (ValueError, TypeError) as error:  # no address; or tls:// without Dask's settings for that
                    self._fail(UsageError(f"--address {self.address}: {error}{_hint(address)}"))
                    self._words.put(Cut(self._silent))
                except (Exception, asyncio.CancelledError) as error:  # what answers there may be anything
                    if isinstance(error, asyncio.CancelledError) and self._is_cancelled():
                        raise
                    reason = f"{self._silent} ({str(error) or type(error).__name__}{_hint(address)})"
                    self._fail(StateError(f"{reason}: start one with `dask scheduler`, then `resume`"))
                    self._words.put(Cut(self._silent))
                self._client = None
                self._forget_all()
                if self._error is not None:
                    return
                await asyncio.sleep(AGAIN)

    def _is_cancelled(self) -> bool:
        """By us. Dask, too, cancels what waits for a connection that it gives up."""
        return self._main is not None and self._main.cancelling() > 0

    def _fail(self, error: Exception) -> None:
        """Where it cannot even begin, whoever made it is to know; later it is tried again."""
        if not self._ready.is_set():
            self._error = error
            self._ready.set()

    async def _watch(self, client: Any) -> None:
        """See who comes and goes, until the scheduler is lost. Raises TimeoutError, OSError."""
        while True:
            found = await self._look(client)
            if client.status != "running":
                raise OSError("the connection was lost")
            for lane in self._lanes.keys() - found.keys():
                self._leave(lane)
            for lane in found.keys() - self._lanes.keys():
                self._lanes[lane] = found[lane]
                self._words.put(Joined(lane, found[lane]))
            await asyncio.sleep(EVERY)

    async def _look(self, client: Any) -> dict[str, int]:
        """The workers, with their threads."""
        look = asyncio.ensure_future(client.nthreads())
        done, _ = await asyncio.wait([look], timeout=LATE)
        if not done or look.exception() is not None:
            self._words.put(Cut(self._silent))
        found: dict[str, int] = dict(await asyncio.wait_for(look, ANSWER - LATE))
        if not done:
            self._words.put(Cut(""))
        return found

    @property
    def _silent(self) -> str:
        return f"no Dask scheduler answers at {self.address}"

    def _forget_all(self) -> None:
        for call in self._calls:
            call.cancel()
        for lane in list(self._lanes):
            self._leave(lane)

    def _leave(self, lane: str) -> None:
        del self._lanes[lane]
        self._words.put(Left(lane))

    def _start(self, call: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _ask(self, lane: str, agent: str, way: int, data: bytes, seconds: float) -> None:
        unfit = ""
        try:
            if self._client is not None and lane in self._lanes:
                self._words.put(Came(lane, agent, way, await _call(self._client, lane, data, seconds)))
                return
        except (OSError, TimeoutError, asyncio.CancelledError, StandsStill):
            pass
        except Exception as error:  # Dask does not always give it its own type
            lacking = _LACKING.search(str(error))
            unfit = f"it cannot be asked ({type(error).__name__}: {error})"
            if lacking is not None:
                unfit = f"it has no module {lacking[0]!r}: install the package `runner` there, with what it needs"
        self._words.put(Broke(lane, agent, way, unfit))


def _distributed() -> Any:
    """Raises UsageError where it is not installed."""
    try:
        import distributed
    except ImportError as error:
        raise UsageError(f"--executor dask: {INSTALL} ({error})") from None
    return distributed


def _hush() -> None:
    """Dask's logging goes to stderr, with tracebacks: what there is to say, the fleet says."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def _own_cluster(workers: int, security: Any) -> Iterator[str]:
    """Its address. A process apart is its scheduler, so that a Ctrl-C does not reach it, nor its workers: the runner
    lets them finish. Encrypted: else any user of this machine could run code as this one. Raises OSError, ValueError.
    """
    secrets = {name: getattr(security, name) for name in _SECRETS}
    command = [sys.executable, "-P", "-c", "from runner.workers.dask import host; host()"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with Popen(command, stdin=PIPE, stdout=PIPE, env=environment, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.encode([os.getpid(), workers, secrets]) + b"\n")
        process.stdin.flush()
        yield str(json.decode(process.stdout.readline()))
        process.stdin.close()


def host() -> None:
    """That process. It ends with its standard input, or with its parent."""
    parent, workers, secrets = json.decode(sys.stdin.buffer.readline())
    tie_to(parent)
    for number in UNHEEDED:
        signal.signal(number, signal.SIG_IGN)  # as do the workers, who inherit it
    distributed = _distributed()
    _hush()
    from distributed.deploy.utils import nprocesses_nthreads

    processes, threads = nprocesses_nthreads(workers)  # type: ignore[no-untyped-call]
    with distributed.LocalCluster(
        n_workers=processes,
        threads_per_worker=threads,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        security=distributed.Security(require_encryption=True, **secrets),
        silence_logs=logging.CRITICAL,
    ) as cluster:
        sys.stdout.buffer.write(json.encode(cluster.scheduler_address) + b"\n")
        sys.stdout.buffer.flush()
        sys.stdin.buffer.read()


@asynccontextmanager
async def _connected(address: str, security: Any = None) -> AsyncIterator[Any]:
    """A client. Raises whatever Dask does; TimeoutError where nobody answers, or not as a Dask scheduler should."""
    client = _distributed().Client(address, asynchronous=True, timeout=CONNECT, set_as_default=False, security=security)
    try:
        await asyncio.wait_for(client, CONNECT)
        yield client
    finally:
        with suppress(Exception):
            await asyncio.wait_for(client.close(), FAREWELL)


def _hint(address: str) -> str:
    secure = address.startswith(("tls://", "wss://"))
    return "; this machine needs the certificates, too: Dask's settings `distributed.comm.tls`" if secure else ""


async def _call(client: Any, lane: str, data: bytes, seconds: float) -> bytes:
    answers = await asyncio.wait_for(client.run(called, data, workers=[lane]), seconds)
    answer: bytes = answers[lane]
    return answer


def dismiss(address: str, grants: Sequence[Grant]) -> Collection[str]:
    """Ask these agents of an earlier runner to end. The names of those that have; none, if nobody answers."""
    with suppress(Exception):  # it only makes things quicker: else their leases run out
        return asyncio.run(asyncio.wait_for(_dismiss(address, grants), CONNECT))
    return ()


async def _dismiss(address: str, grants: Sequence[Grant]) -> list[str]:
    ended = []
    _hush()
    async with _connected(address) as client:
        lanes = await client.nthreads()
        for grant in grants:
            if grant.place in lanes:
                request = encode(Request(agent=grant.agent, number=1 << 62, close=True))
                answer = decode_answer(await _call(client, grant.place, request, CONNECT / 2))
                me = answer.process
                same = me is not None and (me.ground, me.pid, me.start) == (grant.ground, grant.pid, grant.start)
                if answer.closed or (answer.unknown and same):
                    ended.append(grant.agent)
    return ended


# ------------------------------------------------------------------------------------------------ in a Dask worker

_waiting: ThreadPoolExecutor | None = None


async def called(data: bytes, dask_worker: Any) -> bytes:
    """One exchange, in a Dask worker. It goes on with what else it has to do meanwhile."""
    global _waiting
    if _waiting is None:
        logging.getLogger("distributed.worker").addFilter(_is_worth_logging)
        _waiting = ThreadPoolExecutor(256, "exchange")
    threads = dask_worker.state.nthreads
    return await asyncio.get_running_loop().run_in_executor(_waiting, agent.exchange, data, threads)


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Each call is logged by Dask: several a second, all night long."""
    return not (str(record.msg).startswith(_CALLED) and str(record.args).startswith(f"('{called.__name__}'"))
