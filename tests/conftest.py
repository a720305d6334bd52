"""For all tests: what needs root, nginx or strace is skipped, with the reason, where it is missing; one seed for all.

A test that makes faults strike counts them in the fixture `struck`; it fails if there were none, and the summary shows
how many there were. (Where a number is not enough, `record_property("struck", ...)` takes a line of words.)
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

SEED = "RUNNER_TEST_SEED"
REPORTED = "struck"  # the property in which a test says how many faults struck

NEEDS: dict[str, Callable[[], bool]] = {
    "root": lambda: os.geteuid() == 0,
    "nginx": lambda: shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is not None,
    "strace": lambda: shutil.which("strace") is not None,
    "chromium": lambda: shutil.which("chromium") is not None,
    "tmux": lambda: shutil.which("tmux") is not None,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project, and the working directory; what rigs in it hold open is closed with the test."""
    from tests.rig import Rig  # here, as most tests need none of what it imports

    monkeypatch.chdir(tmp_path)
    yield tmp_path
    Rig.close_all()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long this thread would have slept, each time, in seconds: it does not. Others do, as servers of tests before
    this one may still be dripping."""
    seconds: list[float] = []
    here, sleep = threading.current_thread(), time.sleep

    def pause(each: float) -> None:
        if threading.current_thread() is here:
            seconds.append(each)
        else:
            sleep(each)

    monkeypatch.setattr(time, "sleep", pause)
    return seconds


@pytest.fixture
def struck() -> Counter[str]:
    """How many faults of each kind really struck: `struck["kill"] += 1`. None at all fails the test."""
    return Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield
    struck = getattr(item, "funcargs", {}).get("struck")
    if struck is not None:
        assert struck.total(), "no fault struck: this test has shown nothing"
        item.user_properties.append((REPORTED, dict(struck)))


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(SEED, str(secrets.randbelow(10**6)))  # pytest-xdist hands the environment on to its workers
    os.environ.pop("RUNNER_STATE", None)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN and not hasattr(config, "workerinput"):
            signal.signal(number, lambda *_: None)  # by nohup, say; what is started from here is not to inherit it


def pytest_report_header(config: pytest.Config) -> str:
    return f"{SEED}={os.environ[SEED]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = {name for name, there in NEEDS.items() if not there()}
    for item in items:
        for name in sorted(missing):
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"needs {name} (.ci/run has all that is needed)"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A fault test that passed tells how often its fault struck: a test that cannot fail would show here as none."""
    words: list[str] = []
    counts: dict[str, Counter[str]] = {}
    for report in terminalreporter.getreports("passed"):
        for key, value in report.user_properties:
            if key == REPORTED and isinstance(value, dict):
                counts.setdefault(report.nodeid.partition("[")[0], Counter()).update(value)
            elif key == REPORTED:
                words.append(f"{report.nodeid}: {value}")
    for test, struck in counts.items():
        words.append(f"{test}: {', '.join(f'{kind} {count}' for kind, count in sorted(struck.items()))}")
    if words:
        terminalreporter.section(f"faults that struck ({SEED}={os.environ[SEED]})")
        for line in sorted(words):
            terminalreporter.line(line)
