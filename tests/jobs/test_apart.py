"""Pages that are read in processes of their own: one small process forks them, and is replaced when it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.text import Rules, apart, extract_here
from jobs.text.apart import extract_apart

ROOT = Path(apart.__file__).parents[2]
SLOW = Rules(drop=("p:nth-last-child(3n)",))  # it counts siblings
LIST = b"<div>" + b"<p>word" * 40_000
PAGE = b"<title>T</title><article>" + b"<p>some words of a page that is not large at all</p>" * 50 + b"</article>"


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    apart._stop()


def pid() -> int:
    assert apart._reader is not None
    return apart._reader[1].pid


def test_it_says_what_would_be_said_here() -> None:
    for page, plain in ((PAGE, False), (PAGE, True), (b"", False), (b"\0x" * 70_000, True)):
        assert extract_apart(page, Rules(), plain) == extract_here(page, Rules(), plain)
    rules = Rules(select=(".a",), drop=("b",), extractor="soup")
    page = b"<div class=a>yes <b>no</b></div> no"
    assert extract_apart(page, rules, False) == extract_here(page, rules, False)
    for read in (extract_apart, extract_here):
        with pytest.raises(ValueError, match="cannot be parsed: Excessive depth"):
            read(b"<div>" * 5_000, Rules(), False)


def test_one_reader_for_many_pages_and_all_threads() -> None:
    extract_apart(PAGE, Rules(), False)
    first = pid()
    with ThreadPoolExecutor(4) as threads:
        pages = [PAGE + b"<p>%d" % number for number in range(20)]
        found = threads.map(lambda page: extract_apart(page, Rules(), False), pages)
        assert [*found] == [extract_here(page, Rules(), False) for page in pages]
    assert pid() == first


def test_it_may_be_killed_between_two_pages() -> None:
    extract_apart(PAGE, Rules(), False)
    os.kill(pid(), signal.SIGKILL)
    os.waitid(os.P_PID, pid(), os.WEXITED | os.WNOWAIT)
    assert extract_apart(PAGE, Rules(), False).title == "T"


@pytest.mark.parametrize("killed", ["the reader", "the page's process"])
def test_it_may_be_killed_while_it_reads(killed: str) -> None:
    extract_apart(PAGE, Rules(), False)
    before = pid()
    children = Path(f"/proc/{before}/task/{before}/children")
    deadline = time.monotonic() + 20
    while children.read_text():  # the one that has just answered
        assert time.monotonic() < deadline

    def kill() -> None:
        while not (forked := children.read_text().split()) and time.monotonic() < deadline:
            time.sleep(0.0005)
        os.kill(before if killed == "the reader" else int(forked[0]), signal.SIGKILL)

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(kill)
        if killed == "the reader":
            assert extract_apart(LIST, SLOW, False).words > 20_000, "what it has forked goes on"
        else:
            with pytest.raises(ValueError, match=r"a page of 0.3 MB that cannot be read: exit code 137"):
                extract_apart(LIST, SLOW, False)
        done.result()
    assert extract_apart(PAGE, Rules(), False).title == "T"
    assert pid() != before


def test_time_and_memory_are_bounded_for_each_page(tmp_path: Path) -> None:
    """Limits of what the reader forks: the reader goes on, and so do those that come after."""
    (tmp_path / "sitecustomize.py").write_text("import jobs.text.apart as a\na.SECONDS, a.MEMORY = 1, 64 << 20\n")
    code = (
        "from jobs.text import Rules, apart\n"
        "slow = Rules(drop=('p:nth-last-child(3n)',))\n"
        "def read(data, rules):\n"
        "    try:\n"
        "        print(apart.extract_apart(data, rules, False).utf8)\n"
        "    except ValueError as error:\n"
        "        print(error)\n"
        "read(b'<div>' + b'<p>word' * 40000, slow)\n"
        "read(b'<p>x' * 400000, Rules())\n"
        "before = apart._reader[1].pid\n"
        "read(b'x' * 80_000_000, Rules())\n"
        "read(b'<p>fine', slow)\n"
        "print(apart._reader[1].pid == before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "a page of 0.3 MB that takes more than 1 s to read",
        "a page of 1.6 MB that takes more than 64 MB to read",
        "a page of 80.0 MB that takes more than 64 MB to read",
        "b'fine\\n'",
        "True",
    ]
    assert done.stderr == ""


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    """When who has asked ends, however that ends; and what it forks has a reader of its own."""
    code = (
        "import os, sys, time\n"
        "from jobs.text import Rules, apart\n"
        "apart.extract_apart(b'<p>x', Rules(), False)\n"
        "print(apart._reader[1].pid, flush=True)\n"
        "if sys.argv[1] == 'forked':\n"
        "    if os.fork() == 0:\n"
        "        assert apart.extract_apart(b'<p>y', Rules(), False).utf8 == b'y\\n'\n"
        "        print(apart._reader[1].pid, flush=True)\n"
        "        sys.exit()\n"
        "    assert os.wait()[1] == 0\n"
        "    assert apart.extract_apart(b'<p>z', Rules(), False).utf8 == b'z\\n'\n"
        "elif sys.argv[1] == 'killed':\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    for how in ("ended", "forked", "killed"):
        done = subprocess.run(
            [sys.executable, "-c", code, how],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (-9 if how == "killed" else 0, "")
        pids = [*map(int, done.stdout.split())]
        assert len(pids) == len({*pids}) == 1 + (how == "forked")
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline, f"{how}: a reader is left"
            time.sleep(0.01)
        assert not [*tmp_path.iterdir()]
