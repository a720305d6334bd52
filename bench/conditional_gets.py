"""The floor of a night in which every page is asked for: the requests of such a night, by urllib3, and nothing else.

python bench/conditional_gets.py FILE      a JSON list of [URL, ETag]
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

THREADS = 4


def main() -> None:
    pages = json.loads(Path(sys.argv[1]).read_bytes())
    pool = urllib3.PoolManager(maxsize=THREADS)

    def status(page: tuple[str, str]) -> int:
        return pool.request("GET", page[0], headers={"If-None-Match": page[1]}).status

    with ThreadPoolExecutor(THREADS) as threads:
        others = [status for status in threads.map(status, pages) if status != 304]
    if others:
        sys.exit(f"{len(others)} of {len(pages)} were answered with other than 304: {others[:5]}")


if __name__ == "__main__":
    main()
