"""A page that could take more than its share, read by a process of its own, with limits for memory and time.

No rule for what may be parsed is safe: a tag of a million attributes, names that are never used again, a selector that
counts siblings each cost far more than their bytes, and what a parser has once allocated, its thread may keep for ever.
A process gives all back, and its limits hold for what nobody has thought of. It is forked by a reader: a small process
that has all imported, has one thread, and lives as long as we do. That takes some milliseconds, and a twentieth of a
second for the first page; so this package imports little, and nothing of what fetches pages. One page at a time: the
threads of a worker must not add up.

The reader is told what to do on its stdin, and answers on its stdout; each message has its length before it. The page
itself goes to the process that it has forked. Where that does not end well, so does the reader, and says why by its
exit code: whatever is left in its pipes goes with it.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, NoReturn

from lxml import etree

from jobs.text import Extract, Rules, extract_here

MEMORY = 230 << 20  # bytes, beside some 40 MB for the interpreter and its libraries
SECONDS = 20  # of computing
KILLED = 128  # and the signal, as a shell says it
PIECE = 1 << 20  # bytes that are read at once

_LENGTH = struct.Struct("=Q")
_one = threading.Lock()
_reader: tuple[int, subprocess.Popen[bytes]] | None = None  # and the process whose it is


# ------------------------------------------------------------------------------------------------------- on our side


def extract_apart(utf8: bytes, rules: Rules, plain: bool) -> Extract:
    """As `extract_here`. Raises ValueError for a page that takes more memory or time than there is for one."""
    order = json.dumps({"plain": plain, "rules": asdict(rules)}).encode()
    with _one:
        reader = _started()
        try:
            about, text = _asked(reader, _framed(order) + _framed(utf8))
        except EOFError:
            about, text = {"code": reader.wait()}, b""
            _stop()
        except BaseException:  # the page is half read
            _stop()
            raise
    size = f"a page of {len(utf8) / 1e6:.1f} MB"
    if about.get("code") == KILLED + signal.SIGXCPU:
        raise ValueError(f"{size} that takes more than {SECONDS} s to read")
    if "code" in about:
        raise ValueError(f"{size} that cannot be read: exit code {about['code']}")
    if "memory" in about:
        raise ValueError(f"{size} that takes more than {MEMORY >> 20} MB to read")
    if "fault" in about:
        raise ValueError(about["fault"])
    return Extract(text, **about)


def _asked(reader: subprocess.Popen[bytes], question: bytes) -> tuple[dict[str, Any], bytes]:
    assert reader.stdin is not None
    assert reader.stdout is not None
    with suppress(BrokenPipeError):  # it has ended: its exit code says why
        reader.stdin.write(question)
        reader.stdin.flush()
    return json.loads(_read(reader.stdout.fileno())), _read(reader.stdout.fileno())


def _started() -> subprocess.Popen[bytes]:
    """This process' reader; a new one, if there is none, or none any more."""
    global _reader
    if _reader is not None and _reader[1].poll() is not None:
        _stop()
    if _reader is None or _reader[0] != os.getpid():
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        _reader = (
            os.getpid(),
            subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # whatever a library prints is for nobody
                env=os.environ | {"PYTHONPATH": path},
            ),
        )
    return _reader[1]


@atexit.register
def _stop() -> None:
    global _reader
    if _reader is not None and _reader[0] == os.getpid():
        reader, _reader = _reader[1], None
        reader.kill()
        with suppress(OSError):  # what was not written goes with it
            reader.communicate()


def _framed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _read(descriptor: int) -> bytes:
    """The next message. Raises EOFError if the other side is gone."""
    (length,) = _LENGTH.unpack(_exactly(descriptor, _LENGTH.size))
    return _exactly(descriptor, length)


def _exactly(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = os.read(descriptor, min(size - len(data), PIECE))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


# --------------------------------------------------------------------------------------------------- the reader's side


def main() -> None:
    """Read pages, each in a process of its own, until nobody is there who could ask."""
    answers = os.dup(1)
    os.dup2(2, 1)
    while True:
        try:
            order = json.loads(_read(0))
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            _answer(order, answers)
        _, status = os.waitpid(child, 0)
        if status:
            code = os.waitstatus_to_exitcode(status)
            sys.exit(KILLED - code if code < 0 else code)


def _answer(order: dict[str, Any], answers: int) -> NoReturn:
    """In the process of its own."""
    about: dict[str, object]
    text = b""
    try:
        gc.disable()
        most = _size() + MEMORY
        utf8 = _read(0)  # all of it before the limits hold: what is left of it would be the next order
        _limit(most)
        rules = Rules(**order["rules"])
        rules = replace(rules, select=tuple(rules.select), drop=tuple(rules.drop))
        page = extract_here(utf8, rules, order["plain"])
        about, text = {"title": page.title, "lang": page.lang, "words": page.words}, page.utf8
    except ValueError as fault:
        about = {"fault": str(fault)}
    except (MemoryError, etree.LxmlError, SystemError):  # as which libraries report that there is none left
        about = {"memory": True}
    except BaseException:  # who asked is gone, or it is a defect
        os._exit(1)
    with open(answers, "wb") as file:
        file.write(_framed(json.dumps(about).encode()) + _framed(text))
    os._exit(0)  # to take a large tree apart would take its time


def _size() -> int:
    """Bytes of address space that this process has; 0 where nothing is limited by that."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _limit(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
