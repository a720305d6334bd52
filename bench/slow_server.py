"""A site on several hosts that answers late: files of a folder, each answer after the same time, connections kept.

    python -m bench.slow_server FOLDER [--hosts 4] [--latency 0.2]

Its hosts are 127.0.0.1, 127.0.0.2 and so on; FOLDER has a folder for each. It prints its port, and when its standard
input ends, what it was asked for, as one line of JSON. It waits with a timer, so that it takes next to no CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

TYPES = {".html": "text/html", ".xml": "application/xml", ".gz": "application/gzip", ".txt": "text/plain"}


class Seen:
    """What was asked for. Times are of the monotonic clock; pages are what ends in .html."""

    def __init__(self) -> None:
        self.pages = 0
        self.others = 0
        self.first = self.last = 0.0  # a page was asked for, and one was answered
        self.now: Counter[str] = Counter()
        self.most: dict[str, int] = {}  # by host: requests at once

    def asked(self, host: str, path: str) -> None:
        self.now[host] += 1
        self.most[host] = max(self.most.get(host, 0), self.now[host])
        if path.endswith(".html"):
            self.pages += 1
            self.first = self.first or time.monotonic()
        else:
            self.others += 1

    def answered(self, host: str, path: str) -> None:
        self.now[host] -= 1
        if path.endswith(".html"):
            self.last = time.monotonic()

    def told(self) -> str:
        told = {"pages": self.pages, "others": self.others, "seconds": self.last - self.first, "most": self.most}
        return json.dumps(told)


class Connection(asyncio.Protocol):
    """One request after the other; GET only."""

    def __init__(self, folder: Path, latency: float, seen: Seen) -> None:
        self._folder = folder
        self._latency = latency
        self._seen = seen
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._host: str = transport.get_extra_info("sockname")[0]

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._data.endswith(b"\r\n\r\n"):
            path = self._data.split(b" ", 2)[1].decode("ascii")
            self._data = b""
            self._seen.asked(self._host, path)
            asyncio.get_running_loop().call_later(self._latency, self._answer, path)

    def _answer(self, path: str) -> None:
        self._seen.answered(self._host, path)
        file = self._folder / self._host / unquote(path).lstrip("/")
        status, kind, body = "200 OK", TYPES.get(file.suffix, "application/octet-stream"), b""
        try:
            body = file.read_bytes()
        except OSError:
            status = "404 Not Found"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve(folder: Path, hosts: int, latency: float) -> None:
    loop = asyncio.get_running_loop()
    seen = Seen()
    port = 0
    for number in range(hosts):
        server = await loop.create_server(lambda: Connection(folder, latency, seen), f"127.0.0.{number + 1}", port)
        port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(seen.told(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    options = parser.parse_args()
    asyncio.run(serve(options.folder, options.hosts, options.latency))


if __name__ == "__main__":
    main()
