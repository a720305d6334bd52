"""The floor of a run with nothing to do: every done job file opened, read and strictly decoded once, and nothing else.

python -m bench.reading --state STATE
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from runner.store import codec


def reading(done: Path) -> tuple[int, float, float]:
    """How many files there are in `done`, and the seconds that reading them takes: on the wall, and of the CPU."""
    paths = [(f"{done}/{name}", name[:-5]) for name in os.listdir(done)]
    begin, cpu = time.perf_counter(), time.process_time()
    for path, id in paths:
        with open(path, "rb") as file:
            data = file.read()
        codec.decode(data, id)
    return len(paths), time.perf_counter() - begin, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path("state"), help="a state folder")
    print(*reading(parser.parse_args().state / "done"))  # files, seconds, seconds of the CPU


if __name__ == "__main__":
    main()
