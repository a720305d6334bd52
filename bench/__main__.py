"""All benchmarks, one after the other, and at the end one table of what is promised and what was found.

python -m bench [--smoke] [--dir DIR] [--part NAME ...]

Each has more options of its own: `python -m bench.NAME --help`.
"""

from __future__ import annotations

import subprocess
import sys
import time

from bench import bars
from bench.ground import HERE, arguments

PARTS = (
    "counts",
    "throughput",
    "looks",
    "waits",
    "noop",
    "memory",
    "check",
    "peers",
    "cluster",
    "resume",
    "growth",
    "scrape",
)
PLAIN = ("counts",)  # it takes no arguments


def run(part: str, words: list[str]) -> tuple[bool, list[str]]:
    """Run one, and show what it says. Whether it is content, and its bars."""
    print(f"==== bench.{part}", flush=True)
    command = [sys.executable, "-u", "-m", f"bench.{part}", *([] if part in PLAIN else words)]
    said = []
    with subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith(bars.PREFIX):
                said.append(line.removeprefix(bars.PREFIX).rstrip())
    return process.returncode == 0, said


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--part", choices=PARTS, nargs="*", default=list(PARTS))
    options = parser.parse_args()
    words = ["--smoke"] if options.smoke else []
    words += ["--dir", str(options.dir)] if options.dir is not None else []
    begin = time.monotonic()
    found = {part: run(part, words) for part in options.part}
    print(f"\n==== all of it, in {(time.monotonic() - begin) / 60:.0f} minutes")
    for part, (good, said) in found.items():
        for line in said or ["met" if good else "MISSED"]:
            print(f"{part:11} {line}")
    return 0 if all(good for good, _ in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
