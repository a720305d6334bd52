"""Every fault of the table, met; the hostile ones in a process of its own, whose memory is measured."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from tests.jobs.faults import FAULTS
from tests.jobs.faults.meeting import NEXT, Outcome, meet
from tests.jobs.faults.row import Fault, Made
from tests.jobs.server import FaultServer, answer, context_of, self_signed

MEGABYTES = 300
ROOT = Path(__file__).parents[2]
FRIENDLY = [pytest.param(fault, id=fault.name) for fault in FAULTS if fault.hostile is None]


def test_the_table() -> None:
    names = Counter(fault.name for fault in FAULTS)
    assert len(names) == len(FAULTS) >= 80
    for fault in FAULTS:
        told = fault.ends in ("new", "changed", "unchanged", "markup only", "no text", "missing", "done")
        assert told or fault.says, f"{fault.name}: what is the user told?"
        assert fault.hostile is None or len(fault.nights) == 1
        re.compile(fault.says)


@pytest.fixture
def signatures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "signatures"
    folder.mkdir(exist_ok=True)
    return folder


def claim(signatures: Path, fault: Fault, outcome: Outcome) -> None:
    """Fails if another fault had the same outcome by the same way through the code."""
    same = (fault.door, outcome.ends, outcome.said, outcome.path, sorted(outcome.more.items()))
    signature = sha256(repr(same).encode()).hexdigest()
    place = signatures / signature
    try:
        with place.open("x") as file:
            file.write(fault.name)
    except FileExistsError:
        assert place.read_text() in ("", fault.name), f"the same as {place.read_text()!r}"


@contextmanager
def served(fault: Fault, certificate: Path | None = None) -> Iterator[FaultServer]:
    server = FaultServer(greeting=fault.greeting, tls=context_of(certificate) if certificate else None)
    mount(fault, server, 0)
    yield server
    server.close()


def mount(fault: Fault, server: FaultServer, night: int) -> None:
    here = server.url("")
    said = {path: reply.make(here) if isinstance(reply, Made) else reply for path, reply in fault.nights[night].items()}
    server.routes = {"/next": answer(NEXT), **said}
    server.asked.clear()
    server.headers.clear()


def compare(fault: Fault, outcome: Outcome) -> None:
    assert outcome.ends == fault.ends, outcome.said
    if fault.says:
        assert re.search(fault.says, outcome.said), outcome.said
    else:
        assert outcome.said == ""
    assert {key: outcome.more[key] for key in fault.wanted} == fault.wanted


@pytest.mark.parametrize("fault", FRIENDLY)
def test_a_fault(fault: Fault, project: Path, signatures: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    if fault.tls and not shutil.which("openssl"):
        pytest.skip("needs openssl (.ci/run installs it)")
    certificate = self_signed(tmp_path_factory.mktemp("tls")) if fault.tls else None
    with served(fault, certificate) as server:
        outcome = meet(
            fault,
            server.place,
            lambda night: mount(fault, server, night),
            certificate if fault.tls == "trusted" else None,
        )
        last = server.headers[-1] if server.headers else {}
        outcome.more["sent"] = {name: last[name] for name in last if name.startswith("if-")}
        outcome.more["asked"] = [path for path in server.asked if path != "/next"]
    compare(fault, outcome)
    claim(signatures, fault, outcome)


@pytest.mark.timeout(300)
def test_hostile_faults(signatures: Path, record_property: Callable[[str, object], None]) -> None:
    hostile = {fault.name: fault for fault in FAULTS if fault.hostile is not None}
    with ExitStack() as stack:
        places = {name: stack.enter_context(served(fault)).place for name, fault in hostile.items()}
        done = subprocess.run(
            [sys.executable, "-c", "from tests.jobs.faults.meeting import main; main()"],
            input=json.dumps(places),
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
    met = {told.pop("name"): Outcome(**told) for told in map(json.loads, done.stdout.splitlines())}
    problems = []
    for name, fault in hostile.items():
        try:
            outcome = met[name]
            compare(fault, outcome)
            assert outcome.seconds < fault.hostile, "it must be over by then"
            assert outcome.megabytes < MEGABYTES
            claim(signatures, fault, outcome)
        except (KeyError, AssertionError) as error:
            problems.append(f"{name}: {error}")
    assert not problems, "\n".join(problems) + done.stderr
    most = max(outcome.megabytes for outcome in met.values())
    record_property("struck", f"{len(met)} hostile faults, {most:.0f} MB at the most")
