"""Runner and cluster on two networks, with nothing in common but a folder: each side has its own processes and names.
The network is cut for a moment, and for longer than a lease; and a machine dies there, which nobody here can see.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import wait_until
from tests.acceptance.project import QUICK, Project
from tests.clusters import Cluster
from tests.faults.at_work import gate, started, unlink
from tests.faults.networks import LET_GO, THERE, Network
from tests.faults.test_dask import LEASE, SETTINGS, attempts, ends_well, half_way, held, restarted
from tests.faults.test_kills import FLOW, working_project

pytestmark = pytest.mark.root

FAR = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--uts", "sh", "-c")
"""Words before a command: it gets processes and a host name of its own."""


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network(f"n{secrets.token_hex(3)}")
    try:
        network.lay()
        yield network
    finally:
        network.remove()


@pytest.fixture
def cluster(tmp_path: Path, network: Network) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "cluster", host=THERE, before=network.there, port=8786).start()
    yield cluster
    cluster.close()


@pytest.fixture
def project(new_project: Callable[..., Project], cluster: Cluster) -> Project:
    project = working_project(new_project(settings=SETTINGS), WORK_RETRIES="0", WORK_SECONDS="0.05")
    project.address = cluster.address
    return project


def add_machine(cluster: Cluster, network: Network, name: str, threads: int = 2) -> subprocess.Popen[bytes]:
    return cluster.add_worker(threads, before=(*network.there, *FAR, f'{LET_GO} hostname {name} && exec "$0" "$@"'))


def test_a_short_cut_costs_nothing(project: Project, cluster: Cluster, network: Network, struck: Counter[str]) -> None:
    add_machine(cluster, network, "first")
    process = project.start("run", FLOW, *QUICK, before=network.here)
    half_way(project, process)
    for _ in range(3):
        network.cut()
        struck["cut"] += 1
        time.sleep(LEASE / 4)
        network.mend()
        time.sleep(LEASE / 4)
    ends_well(project, process)
    assert attempts(project) == {}


def test_a_long_cut_ends_what_runs_there_before_it_runs_again(
    project: Project, cluster: Cluster, network: Network, struck: Counter[str]
) -> None:
    add_machine(cluster, network, "first")
    gates = gate(project, "Single-0", "Single-1")
    process = project.start("run", FLOW, *QUICK, before=network.here)
    wait_until("both are held", lambda: {"Single-0", "Single-1"} <= held(project), 60)
    network.cut()
    struck["cut"] += 1
    wait_until("it is noticed", lambda: "no Dask scheduler answers" in project.said(), 60)
    wait_until("nobody is at work", lambda: not project.jobs("running", "Single-"), 60)
    assert "on first could not be reached" in project.said()
    network.mend()
    wait_until("both run again", lambda: restarted(project) >= {"Single-0", "Single-1"}, 90)
    unlink(gates)
    ends_well(project, process, 90)
    assert {outcome for each in attempts(project).values() for outcome in each} == {"interrupted", "done"}


def test_a_machine_that_dies_is_given_up_when_its_lease_is_over(
    project: Project, cluster: Cluster, network: Network, struck: Counter[str]
) -> None:
    """Nobody here can see that its processes are gone."""
    project.variables["WORK_RETRIES"] = "1"
    machine = add_machine(cluster, network, "first")
    add_machine(cluster, network, "second")
    process = project.start("run", FLOW, *QUICK, before=network.here)
    half_way(project, process)
    machine.kill()
    began = time.monotonic()
    struck["kill"] += 1
    wait_until("it is given up", lambda: "on first died" in project.said(), 40)
    assert time.monotonic() - began > LEASE / 2
    ends_well(project, process)
    assert all(len(outcomes) == 2 for outcomes in attempts(project).values())


@pytest.mark.parametrize("where", ["dask", "local"])
def test_the_runner_is_killed_and_the_next_one_cannot_reach_its_agents(
    project: Project, cluster: Cluster, network: Network, struck: Counter[str], where: str
) -> None:
    """It knows of them by their files, and waits until they must be at rest. With the cluster in reach it asks them."""
    add_machine(cluster, network, "first")
    gates = gate(project, "Single-0", "Single-1")
    process = project.start("run", FLOW, *QUICK, before=network.here)
    wait_until("both are held", lambda: {"Single-0", "Single-1"} <= held(project), 60)
    network.cut()
    process.kill()
    process.wait()
    struck["kill"] += 1
    said = len(project.said())
    if where == "dask":
        network.mend()
        process = project.start("resume", *QUICK, before=network.here)
    else:
        process = project.start("resume", "--executor", "local", "--workers", "2", *QUICK, before=network.here)
        wait_until("it waits", lambda: "may still be at work on first: waiting" in project.said()[said:], 30)
    wait_until("both run again", lambda: restarted(project) >= {"Single-0", "Single-1"}, 60)
    assert ("waiting until that must be over" in project.said()[said:]) is (where == "local")
    unlink(gates)
    ends_well(project, process, 90)
    assert started(project)["Single-0"] == 2
