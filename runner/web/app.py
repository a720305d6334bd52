"""The live page: what a state folder looks like now, in a browser on this machine.

Every request looks anew, by the views, and holds nothing: so a state may live, rest, or have been left by a crash.
Buttons hand in commands as the command line does. Must not wait for a runner, nor be in its way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from runner import api
from runner.errors import RunnerError, UsageError
from runner.store.folders import FolderStore
from runner.store.runs import Runs
from runner.views.changes import KINDS
from runner.views.gist import gists
from runner.views.graph import graph
from runner.views.listing import page_of, readers
from runner.views.log import log_tail
from runner.views.reading import open_state, resolve
from runner.views.report import report
from runner.views.show import show
from runner.views.status import look
from runner.web.guard import HEADERS, Guard
from runner.web.metrics import metrics
from runner.web.render import colours, render

LOOK_EVERY = 1.0
"""Seconds between two looks for a browser that watches."""

PAGE = 50
"""Jobs on one page of the list."""

_LOG_LINES = 400


class Site:
    """The pages over one state folder."""

    def __init__(self, root: Path, state: Path, guard: Guard) -> None:
        self._root = root
        self._state = state
        self._guard = guard

    def app(self) -> Starlette:
        """As an ASGI application."""
        pages: list[tuple[str, Callable[[Request], Response]]] = [
            ("/", self._overview),
            ("/jobs", self._jobs),
            ("/jobs/{id}", self._job),
            ("/graph", self._graph),
            ("/runs", self._runs),
            ("/runs/{run}", self._run),
            ("/metrics", self._metrics),
            ("/static/{name}", _static),
        ]
        routes = [Route(path, page) for path, page in pages]
        routes.append(Route("/live", self._live))
        routes.append(Route("/act", self._act, methods=["POST"]))
        return Starlette(
            routes=routes,
            middleware=[Middleware(_Guarded, guard=self._guard)],
            exception_handlers={RunnerError: _said},
        )

    # ------------------------------------------------------------------------------------------------------- to look

    @contextmanager
    def _store(self) -> Iterator[FolderStore]:
        with open_state(self._state, self._root) as store:
            yield store

    def _page(self, request: Request, template: str, **values: Any) -> HTMLResponse:
        may_act = self._guard.knows(request.cookies.get(self._guard.cookie))
        word = self._guard.form_word if may_act else ""
        said = request.query_params.get("said", "") if may_act else ""
        page = render(template, path=request.url.path, state=str(self._state), word=word, said=said, **values)
        return HTMLResponse(page)

    def _overview(self, request: Request) -> Response:
        with self._store() as store:
            return self._page(request, "overview.html", now=look(store, time.time()))

    def _jobs(self, request: Request) -> Response:
        ask = request.query_params
        status, task, text = ask.get("status", ""), ask.get("task", ""), ask.get("q", "")
        number = max(1, int(ask.get("page", "1"))) if ask.get("page", "1").isdecimal() else 1
        with self._store() as store:
            found = page_of(store, status=status, task=task, text=text, start=(number - 1) * PAGE, most=PAGE)
            now = look(store, time.time())
        to_page = partial(_address, "/jobs", status=status, task=task, q=text)
        return self._page(
            request,
            "jobs.html",
            found=found,
            now=now,
            status=status,
            task=task,
            text=text,
            number=number,
            pages=-(-found.total // PAGE),
            to_page=to_page,
        )

    def _job(self, request: Request) -> Response:
        with self._store() as store:
            shown = show(store, request.path_params["id"])
            log = log_tail(store, shown.id, _LOG_LINES)
            found = [] if shown.job is None else list(shown.job.result.get("found", []) if shown.job.result else [])
            later = readers(store, shown.id)
        try:
            why = api.explain(shown.id, root=self._root, state=self._state)
        except RunnerError as error:
            why, problem = None, str(error)
        else:
            problem = ""
        return self._page(request, "job.html", shown=shown, log=log, why=why, problem=problem, found=found, later=later)

    def _graph(self, request: Request) -> Response:
        text = request.query_params.get("id")
        with self._store() as store:
            focus = None if not text else resolve(store, text)[0]
            return self._page(request, "graph.html", graph=graph(gists(store), focus), focus=focus)

    def _runs(self, request: Request) -> Response:
        with self._store() as store:
            runs = Runs(store)
            newest = list(reversed(runs.ids()))[:PAGE]
            return self._page(request, "runs.html", runs=[runs.read(id) for id in newest], kinds=KINDS)

    def _run(self, request: Request) -> Response:
        with self._store() as store:
            found = report(store, request.path_params["run"])
        tasks = [each.task for each in found.durations]
        return self._page(request, "run.html", report=found, colours=colours(tasks), kinds=KINDS, most=PAGE)

    def _metrics(self, request: Request) -> Response:
        with self._store() as store:
            text = metrics(look(store, time.time()))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    # ------------------------------------------------------------------------------------------------------ to watch

    async def _live(self, request: Request) -> Response:
        """Server-sent events: parts of the page, each time that they differ."""
        id = request.query_params.get("id", "")
        return StreamingResponse(self._parts(id), media_type="text/event-stream")

    async def _parts(self, id: str) -> AsyncIterator[str]:
        before: dict[str, str] = {}
        while True:
            began = time.monotonic()
            parts = await run_in_threadpool(self._look, id)
            for name, text in parts.items():
                if before.get(name) != text:
                    yield _event(name, text)
            if parts == before:
                yield ": still here\n\n"  # or nobody notices that the browser went away
            before = parts
            await asyncio.sleep(max(LOOK_EVERY, 10 * (time.monotonic() - began)))

    def _look(self, id: str) -> dict[str, str]:
        try:
            with self._store() as store:
                if not id:
                    return {"now": render("parts/now.html", now=look(store, time.time()))}
                log = log_tail(store, id, _LOG_LINES)
                return {
                    "status": str(store.find(id) or ""),
                    "log": render("parts/log.html", log=log),
                }
        except (RunnerError, OSError) as error:
            return {"now": render("parts/problem.html", problem=str(error))}

    # -------------------------------------------------------------------------------------------------------- to act

    async def _act(self, request: Request) -> Response:
        form = await request.form()
        word = form.get("word")
        if not self._guard.may_act(
            request.headers, request.cookies.get(self._guard.cookie), word if isinstance(word, str) else None
        ):
            text = "To act, open the address with the token that `python -m runner ui` printed at its start."
            return PlainTextResponse(text, status_code=403)
        verb, id = str(form.get("verb", "")), str(form.get("id", ""))
        said = await run_in_threadpool(self._carry_out, verb, id)
        back = f"/jobs/{quote(id, safe='')}" if id else "/"
        return RedirectResponse(_address(back, said=said), status_code=303)

    def _carry_out(self, verb: str, id: str) -> str:
        match verb:
            case "stop":
                return api.stop(state=self._state)
            case "retry" if id:
                said = api.retry([id], root=self._root, state=self._state)
            case "retry":
                said = api.retry([], failed=True, root=self._root, state=self._state)
            case "cancel" if id:
                said = api.cancel([id], root=self._root, state=self._state)
            case _:
                raise UsageError(f"{verb!r} is nothing that can be done here: retry, cancel, stop")
        return f"{len(said):,} jobs" if len(said) > 1 else "".join(f"{id} {text}" for id, text in said) or "nothing"


class _Guarded(BaseHTTPMiddleware):
    """Nothing is answered to who did not mean us; the token in an address becomes a cookie."""

    def __init__(self, app: Any, guard: Guard) -> None:
        super().__init__(app)
        self._guard = guard

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if not self._guard.admits(request.headers):
            response: Response = PlainTextResponse("This page is for who asks for it by its own address.", 421)
        elif request.method == "GET" and "token" in request.query_params:
            response = self._welcome(request)
        else:
            response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    def _welcome(self, request: Request) -> Response:
        token = request.query_params["token"]
        if not self._guard.knows(token):
            return PlainTextResponse("That is not the token: it changes each time the page is started.", 403)
        response = RedirectResponse("/" + request.url.path.lstrip("/"), status_code=303)  # "//x" is another host
        response.set_cookie(self._guard.cookie, token, httponly=True, samesite="strict")
        return response


def _event(name: str, text: str) -> str:
    lines = "".join(f"data: {line}\n" for line in text.split("\n"))
    return f"event: {name}\n{lines}\n"


def _address(path: str, **words: object) -> str:
    told = {name: word for name, word in words.items() if word}
    return f"{path}?{urlencode(told)}" if told else path


def _said(request: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, UsageError) else 503
    return HTMLResponse(
        render("problem.html", problem=str(error), path=request.url.path, state="", word="", said=""), status
    )


_STATIC = {"style.css": "text/css", "live.js": "text/javascript"}


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return PlainTextResponse("There is no such file.", 404)
    data = files("runner.web").joinpath("static", name).read_bytes()
    return Response(data, media_type=_STATIC[name])
