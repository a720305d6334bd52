"""The floor: what creating a job file and renaming it twice costs here, and nothing else. No job can be cheaper.

python -m bench.floor --dir DIR
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path

JOB = json.dumps({"schema": 1, "id": "Noop-0123456789abcdef", "task": "shapes:Noop", "params": {"number": 1}}, indent=2)
BODY = (JOB + " " * (600 - len(JOB))).encode()  # about the size of a real one


def floor(folder: Path, count: int = 10_000) -> float:
    """Microseconds for create + rename + rename, on the file system of `folder`."""
    top = folder / "floor"
    names = [f"Noop-{number:016x}.json" for number in range(count)]
    for name in ("pending", "running", "done"):
        (top / name).mkdir(parents=True)
    pending, running, done = (os.open(top / name, os.O_RDONLY) for name in ("pending", "running", "done"))
    try:
        begin = time.perf_counter()
        for name in names:
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=pending)
            os.write(file, BODY)
            os.close(file)
            os.rename(name, name, src_dir_fd=pending, dst_dir_fd=running)
            os.rename(name, name, src_dir_fd=running, dst_dir_fd=done)
        return (time.perf_counter() - begin) / count * 1e6
    finally:
        for folder_fd in (pending, running, done):
            os.close(folder_fd)
        shutil.rmtree(top)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path(), help="a folder on the file system to be measured")
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    for _ in range(3):
        print(f"{floor(options.dir, options.count):.1f} us for create + 2 renames")


if __name__ == "__main__":
    main()
