"""Where benchmarks run: an ext4 with a journal on a loop device, or a folder that is named; and projects there."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
GIGABYTES = 6


def arguments(about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small and quick: shows that it works, measures nothing")
    parser.add_argument("--dir", type=Path, help="work in this folder, and not on an ext4 on a loop device")
    return parser


def why_no_loop() -> str | None:
    """Why an ext4 cannot be made and mounted here; None if it can."""
    if os.geteuid() != 0:
        return "only root can mount one"
    if missing := [tool for tool in ("mkfs.ext4", "mount", "umount") if not shutil.which(tool)]:
        return f"there is no {', no '.join(missing)}"
    return None


@contextmanager
def ground(given: Path | None, gigabytes: int = GIGABYTES) -> Iterator[Path]:
    """An empty folder to measure in, removed afterwards. Exits, saying why, if there is none to be had.

    `gigabytes`: room for twice so many times 120,000 job files; only what is written takes room on the disk below.
    """
    warn_if_busy()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # who installs a package has it compiled; so have the peers
    if given is not None:
        with tempfile.TemporaryDirectory(dir=given, prefix="bench-") as folder:
            print(f"measured in {given} ({file_system(given)})")
            yield Path(folder)
        return
    if reason := why_no_loop():
        sys.exit(f"no journalled ext4 on a loop device: {reason}. Name a folder on a journalled disk with --dir.")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        image, mounted = Path(folder) / "disk.img", Path(folder) / "disk"
        mounted.mkdir()
        with image.open("wb") as file:
            file.truncate(gigabytes * 2**30)
        quiet = ["-q", "-F", "-i", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
        subprocess.run(["mkfs.ext4", *quiet, str(image)], check=True)
        made = subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], capture_output=True, text=True)
        if made.returncode:
            sys.exit(f"no journalled ext4 on a loop device: {made.stderr.strip()}. Name a folder with --dir.")
        print("measured on an ext4 with a journal, on a loop device")
        try:
            yield mounted
        finally:
            unmount(mounted)


def warn_if_busy() -> None:
    """Others at work make the floor and the run differ by chance: the ratio of the two then says little."""
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if load > processors / 2:
        print(f"WARNING: this machine is busy (load {load:.1f}, {processors} processors): measure again when it is not")


def unmount(mounted: Path) -> None:
    """Killed processes may hold it for a moment longer."""
    for _ in range(50):
        if subprocess.run(["umount", str(mounted)], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "--lazy", str(mounted)], check=False)


def file_system(folder: Path) -> str:
    """Its type, from the mount that is nearest above the folder."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for _, point, kind, *_ in mounts if folder.resolve().is_relative_to(point)]
    return max(above)[1] if above else "unknown"


def shapes_project(folder: Path) -> Path:
    """A project whose tasks are those of shapes.py."""
    folder.mkdir()
    shutil.copyfile(HERE / "shapes.py", folder / "shapes.py")
    (folder / "pyproject.toml").write_text('[tool.runner]\nmodules = ["shapes"]\n')
    return folder


def command(project: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "runner", "-C", str(project), *words]


def timed(project: Path, *words: str) -> float:
    """Seconds that a verb took, from the start of its process to its end. Exits with what it said if it failed."""
    begin = time.perf_counter()
    done = subprocess.run(command(project, *words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"exit code {done.returncode} of {' '.join(words)}:\n{done.stderr[-2000:]}")
    return seconds


def count(project: Path, status: str) -> int:
    try:
        return len(os.listdir(project / "state" / status))
    except FileNotFoundError:
        return 0
