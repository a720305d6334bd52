"""Memory of the runner process for each live task: its peak with 50,000 waiting jobs less that with 1,000, divided.

python -m bench.memory [--smoke] [--dir DIR] [--jobs 50000]
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.ground import arguments, command, count, ground, shapes_project

FEW = 1_000
BAR = 1.5  # kB a live task
PATIENCE = 300.0  # seconds


def memory(pid: int) -> tuple[int, int]:
    """kB: the most a process ever had resident, and what it has now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(values["VmHWM"]), int(values["VmRSS"])


def with_waiting(folder: Path, jobs: int) -> tuple[int, int]:
    """kB of the runner, peak and at rest, when `jobs` jobs wait for one that runs."""
    project = shapes_project(folder / "project")
    words = ("run", "shapes:gated", f"count={jobs}", "--workers", "1", "--durability", "process")
    said = project / "stderr.txt"
    with said.open("wb") as file:
        process = subprocess.Popen(command(project, *words), stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (count(project, "pending") == jobs and count(project, "running") == 1):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{count(project, 'pending')} jobs wait, not {jobs}: {said.read_text()[-2000:]}")
            time.sleep(0.05)
        time.sleep(0.5)
        return memory(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(project)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    options = parser.parse_args()
    jobs = 2 * FEW if options.smoke else options.jobs
    with ground(options.dir) as folder:
        few_peak, few_now = with_waiting(folder, FEW)
        peak, now = with_waiting(folder, jobs)
    each = (peak - few_peak) / (jobs - FEW)
    print(f"runner with {FEW:6} waiting jobs: peak {few_peak / 1024:6.1f} MB, then {few_now / 1024:6.1f} MB")
    print(f"runner with {jobs:6} waiting jobs: peak {peak / 1024:6.1f} MB, then {now / 1024:6.1f} MB")
    print(f"{each:.2f} kB a live task at its peak, {(now - few_now) / (jobs - FEW):.2f} kB at rest")
    if options.smoke:
        return 0
    print(f"bar: {BAR} kB a live task: {'met' if each <= BAR else 'MISSED'}")
    return 0 if each <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
