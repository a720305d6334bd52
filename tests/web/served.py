"""The live page as a process of its own, as `python -m runner ui` starts it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

TOKEN = "a-token-that-is-known-here"


class Served:
    """`address` without the token; `get` and `post` as somebody who has shown it (or with `known=False` has not)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._cookie = f"runner_token_{address.rpartition(':')[2]}"
        self.opened = f"{address}/?token={TOKEN}"

    def get(self, path: str, *, known: bool = True, **headers: str) -> requests.Response:
        cookies = {self._cookie: TOKEN} if known else {}
        return requests.get(self.address + path, cookies=cookies, headers=headers, allow_redirects=False, timeout=20)

    def post(self, *, known: bool = True, origin: str | None = None, **form: str) -> requests.Response:
        cookies = {self._cookie: TOKEN} if known else {}
        headers = {"Origin": origin} if origin is not None else {}
        return requests.post(
            f"{self.address}/act", data=form, cookies=cookies, headers=headers, allow_redirects=False, timeout=20
        )

    @property
    def word(self) -> str:
        """What the page's forms carry."""
        return self.get("/").text.partition('name="word" value="')[2].partition('"')[0]


@contextmanager
def served(root: Path, *runner: str) -> Iterator[Served]:
    """`runner`: the command, if it is another than that of this environment."""
    command = [*(runner or (sys.executable, "-m", "runner")), "-C", str(root), "ui", "--port", "0", "--token", TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), address
            yield Served(address.partition("/?")[0])
        finally:
            process.terminate()
