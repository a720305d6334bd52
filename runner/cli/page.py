"""The verb that shows the live page: ui."""

from __future__ import annotations

import re
import socket
from contextlib import suppress

import click

from runner.cli.project import Project, tell
from runner.errors import StateError, UsageError

HOST = "127.0.0.1"


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, help="0: any that is free.  [default: 8765]")
@click.option("--token", envvar="RUNNER_UI_TOKEN", help="Whoever has it may act.  [default: a new one each time]")
@click.pass_obj
def ui(project: Project, port: int, token: str | None) -> None:
    """Show the state in a browser, as it changes; retry, cancel and stop by buttons. Ctrl-C ends it.

    It listens on this machine alone. To act, open the address with the token, which is printed here and nowhere else.

    \b
    Examples:
      runner ui
      runner ui --port 0
    """
    try:
        import uvicorn

        from runner.web.app import Site
        from runner.web.guard import Guard
    except ImportError as error:
        raise UsageError(f"the live page needs {error.name}: pip install starlette uvicorn") from error
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", token):
        raise UsageError("a token is made of letters, digits, - and _")
    if not project.state.is_dir():
        raise StateError(f"{project.state}: there is no state folder yet: `{project.command('run')}` makes it")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)  # now: who reads the address may ask at once
    except OSError as error:
        raise UsageError(
            f"port {port}: {error.strerror}: name another one with --port (0: any that is free)"
        ) from error
    port = listener.getsockname()[1]
    guard = Guard(port, token)
    site = Site(project.root, project.state, guard)
    click.echo(f"http://{HOST}:{port}/?token={guard.token}")
    tell("Ctrl-C ends it")

    class Server(uvicorn.Server):
        """Lets browsers go that watch, else they would be cut off with a complaint."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            site.leave()
            await super().shutdown(sockets)

    config = uvicorn.Config(site.app(), log_level="warning", timeout_graceful_shutdown=5)
    with listener, suppress(KeyboardInterrupt):
        Server(config).run([listener])
