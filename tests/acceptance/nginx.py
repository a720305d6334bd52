"""A real nginx with a configuration of its own: loopback only, a free port, an access log to compare with."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

CONFIGURATION = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    log_format plain '$status $request_method $request_uri';
    access_log {folder}/access.log plain;
    client_body_temp_path {folder}/temp;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp;
    scgi_temp_path {folder}/temp;
    types {{ text/html html; application/xml xml; application/gzip gz; text/plain txt; }}
    default_type application/octet-stream;
    sendfile on;
    keepalive_requests 100000;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
    }}
}}
"""


@dataclass(frozen=True)
class Request:
    status: int
    method: str
    path: str


class Nginx:
    """`with Nginx(folder) as server:` serves folder/www at server.url."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.www = folder / "www"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program() -> str | None:
        """Where nginx is. Debian has it in /usr/sbin, which need not be on a user's PATH."""
        return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

    @classmethod
    def available(cls) -> bool:
        return cls.program() is not None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "access.log"

    def __enter__(self) -> Self:
        self.www.mkdir(parents=True, exist_ok=True)
        for _ in range(5):  # somebody else may take the free port before nginx does
            if self._start():
                return self
        raise RuntimeError(f"nginx does not start: {(self.folder / 'error.log').read_text()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def _start(self) -> bool:
        with socket.socket() as finder:
            finder.bind(("127.0.0.1", 0))
            self.port = finder.getsockname()[1]
        # As root nginx would serve as another user, who may not look into a temporary folder.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = self.folder / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(user=user, folder=self.folder, port=self.port))
        program = self.program()
        assert program is not None
        self.process = subprocess.Popen(
            [program, "-e", str(self.folder / "error.log"), "-p", str(self.folder), "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(500):
            if self.process.poll() is not None:
                return False
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
            time.sleep(0.01)
        self.process.kill()
        self.process.wait()
        return False

    def log_size(self) -> int:
        """Bytes in the access log: a place to read on from."""
        return self.log.stat().st_size if self.log.exists() else 0

    def requests(self, since: int = 0) -> list[Request]:
        """What was asked for, in order, from byte `since` of the log."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(since)
            lines = log.read().decode().splitlines()
        # A connection that a kill tore before a request came is logged too, with an empty method.
        parts = (line.split(" ", 2) for line in lines)
        return [Request(int(status), method, path) for status, method, path in parts if method]
