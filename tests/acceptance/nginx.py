"""A real nginx with a configuration of its own: loopback only, a free port, an access log to compare with.

It serves one folder, or several sites, each from a folder of its own at an address of its own (127.0.0.2 and on).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
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
    log_format plain
        '$status\t$request_method\t$request_uri\t$server_name\t$http_if_none_match\t$http_if_modified_since';
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
{servers}
}}
"""

# A file NAME.410 or NAME.500 beside a page makes that the page's status.
SERVER = """\
    server {{
        listen {address}:{port};
        server_name "{name}";
        root {folder}/www/{name};
        {directives}
        location / {{
            if (-f $request_filename.410) {{ return 410; }}
            if (-f $request_filename.500) {{ return 500; }}
        }}
    }}
"""


@dataclass(frozen=True)
class Request:
    status: int
    method: str
    path: str
    site: str = ""
    if_none_match: str = ""  # "-": the header was not there
    if_modified_since: str = ""


@dataclass(frozen=True)
class Host:
    """One site of several: its folder below www/, and what its server block says besides."""

    name: str
    directives: str = ""


class Nginx:
    """`with Nginx(folder) as server:` serves folder/www at server.url; hosts, from folder/www/NAME at url_of(NAME)."""

    def __init__(self, folder: Path, hosts: Sequence[Host] = ()) -> None:
        self.folder = folder
        self.www = folder / "www"
        self.addresses = {host: f"127.0.0.{number}" for number, host in enumerate(hosts, 2)}
        if not hosts:
            self.addresses[Host("")] = "127.0.0.1"
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

    def url_of(self, name: str) -> str:
        """The address of one site of several."""
        return next(f"http://{address}:{self.port}" for host, address in self.addresses.items() if host.name == name)

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
        first = next(iter(self.addresses.values()))
        with socket.socket() as finder:
            finder.bind((first, 0))
            self.port = finder.getsockname()[1]
        # As root nginx would serve as another user, who may not look into a temporary folder.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = self.folder / "nginx.conf"
        servers = "".join(
            SERVER.format(
                address=address, port=self.port, name=host.name, folder=self.folder, directives=host.directives
            )
            for host, address in self.addresses.items()
        )
        configuration.write_text(CONFIGURATION.format(user=user, folder=self.folder, servers=servers))
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
            with contextlib.suppress(OSError), socket.create_connection((first, self.port), timeout=1):
                return True
            time.sleep(0.01)
        self.process.kill()
        self.process.wait()
        return False

    def log_size(self) -> int:
        """Bytes in the access log: a place to read on from."""
        return self.log.stat().st_size if self.log.exists() else 0

    def count(self, ending: str, since: int = 0) -> int:
        """How many requests for such paths there were, from byte `since` of the log. Cheap: it may be asked often."""
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read().count(f"{ending}\t".encode())

    def requests(self, since: int = 0) -> list[Request]:
        """What was asked for, in order, from byte `since` of the log."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(since)
            lines = log.read().decode().splitlines()
        # A connection that a kill tore before a request came is logged too, with an empty method.
        parts = (line.split("\t") for line in lines)
        return [Request(int(status), *rest) for status, *rest in parts if rest[0]]
