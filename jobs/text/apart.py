"""A page that could take more than its share, read by a process of its own, with limits for memory and time.

No rule for what may be parsed is safe: a tag of a million attributes, names that are never used again, a selector that
counts siblings each cost far more than their bytes, and what a parser has once allocated, its thread may keep for ever.
A process gives all back, and its limits hold for what nobody has thought of. It is forked from a small one that has all
imported: that takes some milliseconds, and a twentieth of a second for the first page. So this package imports little,
and nothing of what fetches pages. One at a time: the threads of a worker must not add up.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
from multiprocessing.connection import Connection

from lxml import etree

from jobs.text import Extract, Rules, extract_here

MEMORY = 230 << 20  # bytes, beside some 40 MB for the interpreter and its libraries
SECONDS = 20  # of computing

_one = threading.Lock()
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def extract_apart(utf8: bytes, rules: Rules, plain: bool) -> Extract:
    """As `extract_here`. Raises ValueError for a page that takes more memory or time than there is for one."""
    with _one:
        ours, theirs = _context.Pipe()
        process = _context.Process(target=_read, args=(theirs, rules, plain), daemon=True)
        with ours, theirs:
            process.start()
            theirs.close()  # so that its end is seen here
            try:
                ours.send_bytes(utf8)
                about, text = json.loads(ours.recv_bytes()), ours.recv_bytes()
            except (EOFError, OSError):  # it has ended, by a limit or by a defect
                about, text = {}, b""
        process.join()
    size = f"a page of {len(utf8) / 1e6:.1f} MB"
    if process.exitcode == -signal.SIGXCPU:
        raise ValueError(f"{size} that takes more than {SECONDS} s to read")
    if not about:
        raise ValueError(f"{size} that cannot be read: exit code {process.exitcode}")
    if about.get("memory"):
        raise ValueError(f"{size} that takes more than {MEMORY >> 20} MB to read")
    if "fault" in about:
        raise ValueError(about["fault"])
    return Extract(text, **about)


def _read(pipe: Connection, rules: Rules, plain: bool) -> None:
    """In the process of its own. Never returns."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):  # whatever a library prints is for nobody
        os.dup2(nowhere, descriptor)
    gc.disable()
    _limit()
    about: dict[str, object]
    text = b""
    try:
        page = extract_here(pipe.recv_bytes(), rules, plain)
        about, text = {"title": page.title, "lang": page.lang, "words": page.words}, page.utf8
    except ValueError as fault:
        about = {"fault": str(fault)}
    except (MemoryError, etree.LxmlError, SystemError):  # as which libraries report that there is none left
        about = {"memory": True}
    except EOFError:  # who asked is gone
        os._exit(1)
    pipe.send_bytes(json.dumps(about).encode())
    pipe.send_bytes(text)
    os._exit(0)  # to take a large tree apart would take its time


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
