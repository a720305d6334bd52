"""A run on a Dask cluster of real processes, and everything of it struck: workers, all workers, the Dask scheduler, the
shared folder. Nothing is lost, nothing runs twice at the same time, and what cannot work says where and why.
"""

from __future__ import annotations

import os
import signal
import site
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance import processes
from tests.acceptance.processes import wait_until
from tests.acceptance.project import QUICK, Project
from tests.clusters import Cluster
from tests.faults.at_work import gate, started, unlink
from tests.faults.networks import LET_GO
from tests.faults.test_kills import FLOW, JOBS, Ledger, check_end, expected, working_project

LEASE = 4
SETTINGS = f'lease = "{LEASE}s"\n'
WANTED = expected(3, 10, 8)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "cluster").start()
    yield cluster
    cluster.close()


@pytest.fixture
def project(new_project: Callable[..., Project], cluster: Cluster) -> Project:
    project = working_project(new_project(settings=SETTINGS), WORK_RETRIES="0", WORK_SECONDS="0.05")
    project.address = cluster.address
    return project


def half_way(project: Project, process: subprocess.Popen[bytes], done: int = 30) -> None:
    wait_until("it is half way", lambda: project.count("done") >= done or process.poll() is not None, 60)
    assert process.poll() is None, project.said()


def ends_well(project: Project, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    assert process.wait(seconds) == 0, project.said()
    Ledger(project).check()
    check_end(project, JOBS, WANTED)
    assert [name for name in project.names("locks") if name.startswith(("agent-", "worker-"))] == []


def attempts(project: Project) -> dict[str, list[str]]:
    """The outcomes of jobs that took more than one."""
    return {
        job["id"]: outcomes
        for job in project.jobs("done")
        if len(outcomes := [attempt["outcome"] for attempt in job["attempts"]]) > 1
    }


def test_a_worker_that_is_killed_costs_an_attempt_at_most(
    cluster: Cluster, project: Project, struck: Counter[str]
) -> None:
    for _ in range(2):
        cluster.add_worker(2)
    project.variables["WORK_RETRIES"] = "1"
    process = project.start("run", FLOW, *QUICK)
    half_way(project, process)
    cluster.workers[0].kill()
    struck["kill"] += 1
    ends_well(project, process)
    costly = attempts(project)
    assert costly, "it was at work"
    assert all(len(outcomes) == 2 for outcomes in costly.values()), costly
    assert "died; what it had is for others" in project.said()


def test_the_last_worker_is_killed_and_the_next_one_goes_on(
    cluster: Cluster, project: Project, struck: Counter[str]
) -> None:
    cluster.add_worker(2)
    project.variables["WORK_RETRIES"] = "1"
    process = project.start("run", FLOW, *QUICK)
    half_way(project, process)
    cluster.workers[0].kill()
    struck["kill"] += 1
    wait_until("it waits", lambda: "there is no worker: waiting for one" in project.said(), 20)
    assert f"`dask worker {cluster.address}` starts one" in project.said()
    assert project.count("running") == 0
    cluster.add_worker(2)
    ends_well(project, process)
    assert "going on: there is a worker again" in project.said()


@pytest.mark.parametrize("how", ["goes on", "resume"])
def test_the_dask_scheduler_is_killed_and_started_again(
    cluster: Cluster, project: Project, struck: Counter[str], how: str
) -> None:
    cluster.add_worker(2)
    process = project.start("run", FLOW, *QUICK)
    half_way(project, process)
    cluster.kill_scheduler()
    struck["kill"] += 1
    wait_until("it waits", lambda: "no Dask scheduler answers" in project.said(), 60)
    assert process.poll() is None
    if how == "resume":
        process.kill()
        process.wait()
        struck["runner"] += 1
        refused = project.runner("resume", *QUICK)
        assert refused.code == 4, refused.err
        assert f"no Dask scheduler answers at {cluster.address}" in refused.said
    cluster.start()
    cluster.add_worker(2)
    if how == "resume":
        process = project.start("resume", *QUICK)
    ends_well(project, process)


def test_the_runner_is_killed_while_the_cluster_lives(cluster: Cluster, project: Project, struck: Counter[str]) -> None:
    """The agents are still at work: they are ended first, without waiting for a lease."""
    for _ in range(2):
        cluster.add_worker(2)
    gates = gate(project, *(f"Single-{number}" for number in range(4)))
    process = project.start("run", FLOW, *QUICK)
    wait_until("four are held", lambda: sum(name.startswith("Single") for name in held(project)) == 4, 40)
    process.kill()
    process.wait()
    struck["kill"] += 1
    assert len(project.workers(process)) == 4, "the cluster works on"
    began = time.monotonic()
    process = project.start("resume", *QUICK)
    wait_until("all four run again", lambda: len(restarted(project)) == 4, 40)
    assert time.monotonic() - began < 20
    unlink(gates)
    ends_well(project, process)


def held(project: Project) -> set[str]:
    """Tasks that have begun, and not ended."""
    lines = Ledger(project).lines()
    return {line.split()[1] for line in lines if line.startswith("start")} - {
        line.split()[1] for line in lines if line.startswith("end")
    }


def restarted(project: Project) -> set[str]:
    return {name for name, times in started(project).items() if times > 1}


def test_a_worker_that_stands_still_past_its_lease_has_nothing_to_say(
    cluster: Cluster, project: Project, struck: Counter[str]
) -> None:
    """Its own process is stopped, not what it started: that ends by itself, and only then others get its jobs."""
    cluster.add_worker(1)
    project.variables["WORK_RETRIES"] = "1"
    process = project.start("run", FLOW, *QUICK)
    name = "Single-59"
    gates = gate(project, name)
    wait_until("it is held", lambda: held(project) == {name}, 60)
    (worker,) = project.workers(process)
    os.kill(cluster.workers[0].pid, signal.SIGSTOP)
    struck["stopped"] += 1
    try:
        cluster.add_worker(1)
        wait_until("it is given to the other", lambda: started(project)[name] == 2, 40)
        assert processes.look(worker.pid) is None or not processes.look(worker.pid).alive  # type: ignore[union-attr]
    finally:
        os.kill(cluster.workers[0].pid, signal.SIGCONT)
    unlink(gates)
    ends_well(project, process)


# ------------------------------------------------------------------------------------------------- who cannot work


def test_a_worker_without_the_jobs_package_is_named(
    cluster: Cluster, project: Project, tmp_path: Path, struck: Counter[str]
) -> None:
    """The package is installed where the runner is, and not where the worker is."""
    away = tmp_path / "packages"
    (away / "faraway").mkdir(parents=True)
    (away / "faraway" / "__init__.py").write_text((project.root / "jobs" / "work.py").read_text())
    project.variables["PYTHONPATH"] = str(away)
    cluster.add_worker(1)
    outcome = project.runner("run", "faraway:everything", *QUICK)
    struck["lacking"] += 1
    assert outcome.code == 4
    assert f"on {os.uname().nodename} cannot be used: it has no module 'faraway'" in outcome.said
    assert project.counts().keys() <= {"pending"}
    cluster.variables["PYTHONPATH"] = str(away)
    cluster.add_worker(2)
    outcome = project.runner("resume", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "cannot be used" in outcome.said, "the other one still cannot"
    check_end(project, JOBS, WANTED)


def test_a_worker_without_this_package_is_named(
    cluster: Cluster, project: Project, tmp_path: Path, struck: Counter[str]
) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    for folder in filter(Path.is_dir, map(Path, site.getsitepackages())):
        for path in folder.iterdir():
            if "runner" not in path.name and path.suffix != ".pth":
                (packages / path.name).symlink_to(path)
    cluster.variables["PYTHONPATH"] = str(packages)
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    cluster.add_worker(1, python=str(bare))
    outcome = project.runner("run", FLOW, *QUICK)
    struck["lacking"] += 1
    assert outcome.code == 4, outcome.err
    assert f"{cluster.host}:" in outcome.said
    assert "it has no module 'runner': install the package `runner` there" in outcome.said
    assert project.counts() == {"pending": project.count("pending")}


@pytest.mark.root
@pytest.mark.parametrize("hidden", ["project", "other"])
def test_a_worker_that_does_not_see_the_folder_is_named(
    cluster: Cluster, project: Project, struck: Counter[str], hidden: str
) -> None:
    """In a mount namespace of its own, there is nothing at that path; or another folder that looks alike."""
    script = f"mount -t tmpfs none {project.root.parent / 'project'} || exit 9; "
    if hidden == "other":
        script += f"mkdir -p {project.state}/locks {project.state}/tmp; "
    else:
        script = f"mount -t tmpfs none {project.root.parent}; mkdir -p {cluster.folder}; "
    cluster.add_worker(1, before=("unshare", "--mount", "sh", "-c", LET_GO + script + 'exec "$0" "$@"'))
    outcome = project.runner("run", FLOW, *QUICK)
    struck["hidden"] += 1
    assert outcome.code == 4, outcome.err
    reason = "it does not see the project" if hidden == "project" else "is another folder than the runner's"
    assert f"on {os.uname().nodename} cannot be used: " in outcome.said
    assert reason in outcome.said
    assert str(project.root) in outcome.said
    cluster.add_worker(2)
    process = project.start("resume", *QUICK)
    ends_well(project, process)


def test_there_is_no_scheduler_at_that_address(project: Project, cluster: Cluster) -> None:
    cluster.kill_scheduler()
    outcome = project.runner("run", FLOW, *QUICK)
    assert outcome.code == 4
    assert f"no Dask scheduler answers at {cluster.address}" in outcome.said


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense://x", "--address nonsense://x"),
        ("tls://127.0.0.1:1", "this machine needs the certificates, too"),
        ("", "--address: it is empty"),
    ],
)
def test_an_address_that_is_none(project: Project, address: str, said: str) -> None:
    outcome = project.runner("run", FLOW, "--executor", "dask", "--address", address)
    assert outcome.code == 2, outcome.err
    assert said in outcome.said
    assert "Traceback" not in outcome.said


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_listens_there_is_no_scheduler(project: Project, greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def greet() -> None:
            with suppress(OSError):
                while True:
                    taken.append(server.accept()[0])
                    taken[-1].sendall(greeting)

        threading.Thread(target=greet, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        outcome = project.runner("run", FLOW, "--executor", "dask", "--address", address)
        server.shutdown(socket.SHUT_RDWR)
    for each in taken:
        each.close()
    assert outcome.code == 4, outcome.said
    assert f"no Dask scheduler answers at {address}" in outcome.said
    assert "Traceback" not in outcome.said


# ----------------------------------------------------------------------------------------------- a cluster of its own


@pytest.fixture
def alone(new_project: Callable[..., Project]) -> Project:
    return working_project(new_project(settings=SETTINGS), WORK_RETRIES="0", WORK_SECONDS="0.05")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_meant_for_the_runner_ends_no_task(
    alone: Project, number: signal.Signals, struck: Counter[str]
) -> None:
    """A Ctrl-C reaches all of the terminal's processes, and a SIGTERM of systemd's all that a service has started."""
    gates = gate(alone, "Single-0", "Single-1")
    process = alone.start("run", FLOW, "--executor", "dask", "--workers", "2", *QUICK)
    wait_until("both are held", lambda: {"Single-0", "Single-1"} <= held(alone), 60)
    for member in processes.family(alone.mark(process)):
        if "multiprocessing" not in member.command or "spawn_main" in member.command:  # its trackers are not ours
            os.kill(member.pid, number)
            struck["signal"] += 1
    wait_until("it is heard", lambda: "nothing more is started" in alone.said(), 20)
    unlink(gates)
    assert process.wait(30) == 3, alone.said()
    assert not held(alone)
    assert attempts(alone) == {}
    alone.all_gone(process)
    process = alone.start("resume", *QUICK)
    ends_well(alone, process)


def test_a_cluster_of_its_own_ends_with_the_runner(alone: Project, struck: Counter[str]) -> None:
    gate(alone, "Single-0")
    process = alone.start("run", FLOW, "--executor", "dask", "--workers", "2", *QUICK)
    wait_until("it is at work", lambda: "Single-0" in held(alone), 60)
    process.kill()
    process.wait()
    struck["kill"] += 1
    alone.all_gone(process)
    unlink([alone.root / "gate-Single-0"])
    process = alone.start("resume", "--executor", "local", *QUICK)
    ends_well(alone, process)
