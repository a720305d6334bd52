"""Meets a fault of the table: the real tasks under the real runner (without its processes), against a real server.

What comes of it is an Outcome; `path`, a digest of the lines that were run, tells two faults apart that end alike.
`main`, for a process of its own, meets those that are hostile, and tells what memory they took:

    {"name": "127.0.0.1:port", ...} on stdin -> one Outcome a line on stdout
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import resource
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from jobs.scrape import CollectUrls, FetchPage, ParsePage, wire
from jobs.scrape.fetch import get
from jobs.scrape.listing import Entry, Listing
from jobs.scrape.sites import Policy
from jobs.scrape.wire import begin
from runner import Task
from tests.jobs.faults.row import Fault
from tests.rig import Rig, id_of

DAY = 86_400.0
NEXT = b"the next page"
TRACED = ("/jobs/scrape/", "/jobs/text/", "/protego/", "/http/client.py", "/urllib3/response.py")
CLASSES = {"Transient": "transient", "Damaged": "transient", "Permanent": "permanent", "Gone": "permanent"}
STATUSES = ("pending", "done", "failed", "blocked")
ENDED = {"transient": "pending", "permanent": "failed", "later": "pending"}  # where the runner must have put the job


@dataclass(frozen=True)
class Outcome:
    """`more`, for pages: raw, text, url, content_type, charset, bad_bytes, asked, sent (the conditions of the last
    request), seconds (of "later"). For sites: pages (with lastmod and standing, if they have any), skipped, delay,
    asked, alarm, fetches (how often each end)."""

    ends: str
    said: str
    path: str
    more: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    megabytes: float = 0.0


class OnlyCollect(CollectUrls):
    """For maps of many pages: finds none of their jobs."""

    def downstream_tasks(self) -> Iterator[Task]:
        return iter(())


def meet(
    fault: Fault, place: str, nightfall: Callable[[int], None] = lambda night: None, certificate: Path | None = None
) -> Outcome:
    """In the working directory, which is empty. `nightfall` is called before each night, with its number.
    `certificate`: the server's, which is to be trusted."""
    here = f"http{'s' if fault.tls else ''}://{place}"
    port = place.rpartition(":")[2]
    options = {"hosts": (place.rpartition(":")[0],), "allow_private": True, "audit": 0.0} | dict(fault.policy)
    policy = Policy("runner-scrape/1.0 (+test)", **options)
    with _world(fault) as closed, Trail() as trail:
        start = fault.start.replace("PORT", port).replace("CLOSED", str(closed))
        url = start if "://" in start else here + start
        if certificate:
            begin(url, 1, 1, policy.allow_private).verify = str(certificate)
        started = time.monotonic()
        ends, said, more = (_page if fault.door in ("page", "night") else _site)(fault, url, policy, nightfall)
        seconds = time.monotonic() - started
    if fault.door == "page" and not fault.greeting and not fault.tls:
        with get(f"{here}/next", Policy("test", (place.rpartition(":")[0],), True)) as answer:
            assert b"".join(answer.body) == NEXT, "what this server says next is not affected"
    hide = {here: "HERE", place: "HERE", port: "PORT", str(closed): "CLOSED"}
    for shown, hidden in hide.items():
        said = said.replace(shown, hidden)
        more = json.loads(json.dumps(more).replace(shown, hidden))
    return Outcome(ends, said, trail.digest(), more, seconds)


# --------------------------------------------------------------------------------------------------------- a page


def _page(fault: Fault, url: str, policy: Policy, nightfall: Callable[[int], None]) -> tuple[str, str, dict[str, Any]]:
    raw, about = Path("data/s/raw/p.html"), Path("data/s/raw/p.json")
    text, sidecar = Path("data/s/text/p.txt"), Path("data/s/text/p.json")
    parse = ParsePage(url, raw, about, text, sidecar)
    for number in range(len(fault.nights)):
        nightfall(number)
        before = _content(raw), _content(text)
        fetch = FetchPage(url, raw, about, policy, **(fault.task if number == len(fault.nights) - 1 else {}))
        _night([fetch, parse], number, len(fault.nights))
    ends, said, more = _ended(fetch)
    if ends in ("new", "changed"):
        parsed, problem, _ = _ended(parse)
        if parsed not in ("new", "changed"):
            ends, said = ("no text", "") if parsed == "absent" else ("unparsable", problem)
        elif _content(text) == before[1] and _content(raw) != before[0]:
            ends = "markup only"
    more |= {"raw": _content(raw), "text": _content(text)}
    for key, path in (("url", about), ("content_type", about), ("charset", about), ("bad_bytes", sidecar)):
        more[key] = json.loads(path.read_bytes())[key] if path.exists() else None
    return ends, said, more


def _content(path: Path) -> str | int | None:
    """What is in a file; its length, if it is long."""
    if not path.exists():
        return None
    data = path.read_bytes()
    if len(data) > 10_000:
        return len(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


# --------------------------------------------------------------------------------------------------------- a site


def _site(fault: Fault, url: str, policy: Policy, nightfall: Callable[[int], None]) -> tuple[str, str, dict[str, Any]]:
    kind = CollectUrls if len(fault.nights) > 1 else OnlyCollect
    tsv = Path("data/s/urls.tsv")
    collect = kind(site="s", start=(url,), output_filepath=tsv, policy=policy, max_crawl_delay=10.0)
    with mock.patch("jobs.scrape.sitemap.time.sleep"):
        for number in range(len(fault.nights)):
            nightfall(number)
            _night([collect], number, len(fault.nights))
    ends, said, more = _ended(collect)
    if tsv.exists():
        pages = [_entry(one, url) for one in Listing.read(tsv)]
        more["pages"] = pages if len(pages) < 100 else len(pages)
    if "value" in more:
        value = more.pop("value")
        ends = "doubt" if value["doubt"] else "done"
        said = "; ".join(filter(None, [*value["problems"], value["doubt"], value["distrusted"]]))
        more |= {"skipped": value["skipped"], "delay": next(iter(value["crawl_delay"].values()), 0)}
    jobs = [(status, job) for status in STATUSES for job in map(_read, Path("state", status).glob("*.json"))]
    more["alarm"] = any(job["task"] == "jobs.scrape:Alarm" and status == "failed" for status, job in jobs)
    fetches = [(status, job) for status, job in jobs if job["task"] == "jobs.scrape:FetchPage"]
    more["fetches"] = Counter(job["result"]["change"] if status == "done" else status for status, job in fetches)
    return ends, said, more


def _entry(entry: Entry, url: str) -> str:
    """The path of a page, its lastmod, and how it stands, unless that is as it should be."""
    path = entry.url.removeprefix(url.removesuffix("/"))
    return " ".join(filter(None, (path, entry.lastmod, entry.standing if entry.standing != "listed" else "")))


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


# ----------------------------------------------------------------------------------------------------- the runner


def _night(tasks: list[Any], number: int, nights: int) -> None:
    """A run in one of so many nights, the last of which is tonight. What would be tried again later is left."""
    for path in Path("state/pending").glob("*.json"):  # a day is over, and so are the waits for a retry
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"not_before": None}))
    started = time.time() - (nights - 1 - number) * DAY
    rig = Rig(run=f"202611{number + 1:02}T020000Z", started=started, modules=("jobs", "tests"))

    def leave() -> bool:
        if not rig.executor.orders and rig.executor.waits[-1]:
            rig.loop.stop("test")
            return True
        return False

    rig.executor.while_waiting = leave
    rig.work(tasks)
    rig.store.close()


def _ended(task: Task) -> tuple[str, str, dict[str, Any]]:
    """How a job has ended, what was said, and its value."""
    (path,) = Path("state").glob(f"*/{id_of(task)}.json")
    job, where = json.loads(path.read_bytes()), path.parent.name
    last = job["attempts"][-1] if job["attempts"] else {"outcome": where}
    if where == "done":
        value = job["result"]["value"]
        reason = value.get("reason", "") if isinstance(value, dict) else ""
        missing = isinstance(value, dict) and value.get("missing")
        return (
            "missing" if missing else job["result"]["change"],
            reason,
            {"value": value} if "doubt" in (value or ()) else {},
        )
    error = last["error"]
    ends = "later" if last["outcome"] == "later" else CLASSES.get(error["type"], error["type"])
    if error["type"] == "ValueError" and "no page in any sitemap" in error["message"]:
        ends = "nothing"
    elif ENDED.get(ends) != where:
        ends = f"{where}: {error['type']}"
    return ends, error["message"], {"seconds": last["retry_in"]} if ends == "later" else {}


# ------------------------------------------------------------------------------------------------------ the world


@contextlib.contextmanager
def _world(fault: Fault) -> Iterator[int]:
    """Connections of its own, the constants and the names of a fault; and a port where nobody listens."""
    with contextlib.ExitStack() as stack, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        stack.enter_context(mock.patch.object(wire, "_now", threading.local()))
        for name, value in fault.constants.items():
            module, _, constant = name.rpartition(".")
            stack.enter_context(mock.patch.object(import_module(f"jobs.scrape.{module}"), constant, value))
        if fault.names:
            stack.enter_context(mock.patch.object(socket, "getaddrinfo", _resolver(fault)))
        yield int(taken.getsockname()[1])


def _resolver(fault: Fault) -> Callable[..., Any]:
    asked: dict[str, int] = {}
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *args: Any, **options: Any) -> Any:
        if host not in fault.names:
            return real(host, port, *args, **options)
        turns = fault.names[host]
        asked[host] = asked.get(host, -1) + 1
        addresses = turns[min(asked[host], len(turns) - 1)].split(", ")
        if addresses == [""]:
            raise socket.gaierror(-2, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
            for ip in addresses
        ]

    return resolve


class Trail:
    """The lines of the scraper, and of what it reads HTTP with, that this thread runs; at the beginning, not for ever:
    to look on makes it ten times slower."""

    def __init__(self) -> None:
        self._lines: set[tuple[str, int]] = set()
        self._left = 50_000

    def __enter__(self) -> Trail:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._line if any(part in frame.f_code.co_filename for part in TRACED) else None

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self._lines.add((frame.f_code.co_filename, frame.f_lineno))
            self._left -= 1
            if not self._left:
                sys.settrace(None)
        return self._line

    def digest(self) -> str:
        return hashlib.sha256(repr(sorted(self._lines)).encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------- as a program


def megabytes() -> float:
    """The most that this process had in memory since `forget`, and the most that any of its children had."""
    own = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert own
    return max(int(own[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1000


def forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak is from now on counted anew


def main() -> None:
    from tests.jobs.faults import FAULTS

    places = json.load(sys.stdin)
    for fault in FAULTS:
        if fault.name in places:
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                forget()
                outcome = meet(fault, places[fault.name])
                told = asdict(outcome) | {"name": fault.name, "megabytes": megabytes()}
                Rig.close_all()
                os.chdir("/")
            print(json.dumps(told), flush=True)
