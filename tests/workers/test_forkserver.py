"""The process that forks workers: it tells of their deaths, and it takes them with it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runner import Task
from runner.workers.child import Done, Work
from runner.workers.forkserver import ForkServer
from runner.workers.frames import Frames, frame
from runner.workers.tickets import Tickets
from tests.workers.support import Yard, alive, wait_for
from tests.workers.tasks import Frozen, Noop


class Line:
    """The scheduler's end of a worker's stream."""

    def __init__(self, server: ForkServer, settings: str) -> None:
        self.socket, theirs = socket.socketpair()
        self.tickets = Tickets()
        with theirs:
            self.pid = server.fork((theirs.fileno(), self.tickets.fileno()), settings)
        self.frames = Frames(self.socket.fileno())

    def ask(self, yard: Yard, task: Task) -> int:
        """Have it do a job, and answer."""
        self.socket.sendall(frame(msgspec.json.encode(Work([yard.order(task)]))))
        self.tickets.book()
        self.tickets.give()
        found: list[bytes] = []
        while not found:
            found += self.frames.read()
            assert not self.frames.eof
        reply = msgspec.json.decode(found[0], type=Done).reply
        value: int = (yard.written(reply.event.record).result or {})["value"]  # type: ignore[union-attr]
        return value

    def close(self) -> None:
        self.socket.close()
        self.tickets.close()


@pytest.fixture
def settings(yard: Yard) -> str:
    return msgspec.json.encode(yard.settings()).decode()


@pytest.fixture
def server(yard: Yard) -> Iterator[ForkServer]:
    server = ForkServer(str(yard.root), ("tests.workers.tasks",))
    yield server
    server.close()


def test_a_worker_works_and_ends_with_its_stream(yard: Yard, server: ForkServer, settings: str) -> None:
    line = Line(server, settings)
    assert [line.ask(yard, Noop(number)) for number in (1, 2)] == [1, 2]
    line.close()
    assert server.status(line.pid, timeout=10) == 0
    assert not alive(line.pid)


def test_what_was_imported_is_not_looked_through_for_garbage(yard: Yard, server: ForkServer, settings: str) -> None:
    line = Line(server, settings)
    assert line.ask(yard, Frozen()) > 10_000
    line.close()


def test_a_death_is_told_with_its_cause(server: ForkServer, settings: str) -> None:
    lines = [Line(server, settings) for _ in range(3)]
    os.kill(lines[1].pid, signal.SIGKILL)
    status = server.status(lines[1].pid, timeout=10)
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert server.status(lines[0].pid, timeout=0.05) is None, "it lives"
    assert alive(lines[0].pid)
    os.kill(lines[0].pid, signal.SIGKILL)
    wait_for("it is heard of", lambda: server.hear() or lines[0].pid in server.died)
    assert not server.gone
    line = Line(server, settings)
    assert alive(line.pid), "and it goes on forking"


def test_when_it_is_killed_its_workers_are_gone_at_once(server: ForkServer, settings: str) -> None:
    lines = [Line(server, settings) for _ in range(3)]
    os.kill(server._process.pid, signal.SIGKILL)
    wait_for("all workers are gone", lambda: not any(alive(line.pid) for line in lines), 1.0)
    assert all(list(line.frames.read()) == [] and line.frames.eof for line in lines)
    assert server.status(lines[0].pid, timeout=5) is None
    assert server.gone
    with pytest.raises(ConnectionError):
        Line(server, settings)


def test_when_its_control_closes_it_ends_and_its_workers_with_it(server: ForkServer, settings: str) -> None:
    lines = [Line(server, settings) for _ in range(2)]
    server.close()
    assert server._process.returncode == 0
    wait_for("all workers are gone", lambda: not any(alive(line.pid) for line in lines), 1.0)
    server.close()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_neither_it_nor_its_workers_heed_what_a_terminal_or_systemd_sends(
    yard: Yard, server: ForkServer, settings: str, signum: signal.Signals
) -> None:
    line = Line(server, settings)
    assert line.ask(yard, Noop(1)) == 1
    for _ in range(3):
        os.kill(server._process.pid, signum)
        os.kill(line.pid, signum)
    assert line.ask(yard, Noop(2)) == 2
    assert Line(server, settings).ask(yard, Noop(3)) == 3


def test_it_has_a_session_of_its_own_and_each_worker_a_group(server: ForkServer, settings: str) -> None:
    first, second = Line(server, settings), Line(server, settings)
    wait_for(
        "both have their groups", lambda: os.getpgid(first.pid) == first.pid and os.getpgid(second.pid) == second.pid
    )
    assert os.getsid(first.pid) == os.getsid(second.pid) == server._process.pid != os.getsid(0)


def test_no_worker_holds_the_stream_of_another(server: ForkServer, settings: str) -> None:
    first = Line(server, settings)
    second = Line(server, settings)
    os.kill(first.pid, signal.SIGKILL)
    assert list(first.frames.read()) == []
    assert first.frames.eof
    assert alive(second.pid)


def test_a_program_that_has_very_many_files_open_can_have_workers_too(yard: Yard, settings: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("needs a limit of 2048 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        server = ForkServer(str(yard.root), ())
        try:
            assert Line(server, settings).ask(yard, Noop(1)) == 1
        finally:
            server.close()
    finally:
        for fd in many:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_module_that_cannot_be_preloaded_is_the_job_s_trouble_and_not_the_server_s(yard: Yard, settings: str) -> None:
    Path("broken.py").write_text("raise SystemExit(1)")
    server = ForkServer(str(yard.root), ("broken", "no.such.module", "tests.workers.tasks"))
    try:
        assert Line(server, settings).ask(yard, Noop(1)) == 1
    finally:
        server.close()


def test_what_a_module_prints_when_it_is_imported_is_no_data_of_the_runner_s(yard: Yard) -> None:
    Path("chatty.py").write_text("print('here I am')")
    Path("script.py").write_text(
        "from runner.workers.forkserver import ForkServer\n"
        "import socket\n"
        f"server = ForkServer({str(yard.root)!r}, ('chatty',))\n"
        "ours, theirs = socket.socketpair()\n"
        "server.fork((theirs.fileno(), theirs.fileno()), '{}')\n"
        "server.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    assert done.stdout == ""
    assert "here I am" in done.stderr


def test_where_it_cannot_be_it_says_so_in_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server = ForkServer(str(tmp_path / "nowhere"), ())
    with pytest.raises(ConnectionError):
        Line(server, "")
    server.close()
    said = capfd.readouterr().err
    assert said.startswith("the process that forks the workers cannot go on: [Errno 2]")
    assert said.count("\n") == 1
