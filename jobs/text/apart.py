"""A page that could take more than its share, read by a process of its own, with limits for memory and time.

No rule for what may be parsed is safe: a tag of a million attributes, names that are never used again, a selector that
counts siblings each cost far more than their bytes, and what a parser has once allocated, its thread may keep for ever.
A process gives all back, and its limits hold for what nobody has thought of. It costs a twentieth of a second, for one
page in a hundred: so this package imports little, and nothing of what fetches pages. One at a time: the threads of a
worker must not add up.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace

from lxml import etree

from jobs.text import Extract, Rules, extract_here

MEMORY = 230 << 20  # bytes, beside some 40 MB for the interpreter and its libraries
SECONDS = 20  # of computing

_one = threading.Lock()


def extract_apart(utf8: bytes, rules: Rules, plain: bool) -> Extract:
    """As `extract_here`. Raises ValueError for a page that takes more memory or time than there is for one."""
    order = json.dumps({"size": len(utf8), "plain": plain, "rules": asdict(rules)})
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    with _one:
        process = subprocess.run(
            [sys.executable, "-m", __name__, order],
            input=utf8,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": path},
        )
    said = process.stderr.decode("utf-8", "replace").splitlines()[-1:]
    size = f"a page of {len(utf8) / 1e6:.1f} MB"
    if process.returncode == -signal.SIGXCPU:
        raise ValueError(f"{size} that takes more than {SECONDS} s to read")
    if process.returncode:
        raise ValueError(f"{size} that cannot be read: {said[0] if said else f'exit code {process.returncode}'}")
    about = json.loads(said[0])
    if about is None:
        raise ValueError(f"{size} that takes more than {MEMORY >> 20} MB to read")
    if "fault" in about:
        raise ValueError(about["fault"])
    return Extract(process.stdout, **about)


def main(order: str) -> None:
    """In the process of its own: the page comes on stdin, its text goes to stdout, the rest is the last line of stderr.
    Never returns.
    """
    told = json.loads(order)
    rules = Rules(**told["rules"])
    rules = replace(rules, select=tuple(rules.select), drop=tuple(rules.drop))
    text = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no text
    gc.disable()
    _limit()
    about: dict[str, object] | None
    try:
        utf8 = sys.stdin.buffer.read(told["size"])
        if len(utf8) < told["size"]:
            os._exit(1)  # who asked is gone
        page = extract_here(utf8, rules, told["plain"])
        del utf8
        with os.fdopen(text, "wb") as file:
            file.write(page.utf8)
        about = {"title": page.title, "lang": page.lang, "words": page.words}
    except ValueError as fault:
        about = {"fault": str(fault)}
    except (MemoryError, etree.LxmlError, SystemError):  # as which libraries report that there is none left
        about = None
    print(f"\n{json.dumps(about)}", file=sys.stderr, flush=True)  # a library may not have ended its line
    os._exit(0)  # to take a large tree apart would take its time


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


if __name__ == "__main__":
    main(sys.argv[1])
