"""The live page: what a state folder looks like now, in a browser on this machine.

Every request looks anew, by the views, and holds nothing: so a state may live, rest, or have been left by a crash.
Buttons hand in commands as the command line does. Must not wait for a runner, nor be in its way.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from runner import api
from runner.errors import RunnerError, UsageError
from runner.store import codec
from runner.store.folders import FolderStore
from runner.store.runs import Runs
from runner.views.changes import KINDS
from runner.views.gist import gists
from runner.views.graph import graph
from runner.views.listing import page_of, readers
from runner.views.log import log_tail
from runner.views.reading import in_inbox, open_state, records, resolve
from runner.views.report import report
from runner.views.show import show
from runner.views.status import look
from runner.web.asking import why
from runner.web.guard import HEADERS, Guard
from runner.web.metrics import metrics
from runner.web.render import colours, render

LOOK_EVERY = 1.0
"""Seconds between two looks for a browser that watches."""

PAGE = 50
"""Jobs on one page of the list."""

HEAVY = 2
"""How many pages that read all job files are made at once."""

_FORM = 8192  # bytes

_LOG_LINES = 400
_TOKEN = "To act, open the address with the token that `python -m runner ui` printed at its start."


class Site:
    """The pages over one state folder."""

    def __init__(self, root: Path, state: Path, guard: Guard) -> None:
        self._root = root
        self._state = state
        self._guard = guard
        self._heavy = CapacityLimiter(HEAVY)
        self._seen: tuple[float, str] = (-LOOK_EVERY, "")  # the overview, for all browsers
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Let browsers go that watch. To be called on the event loop."""
        self._leaving.set()

    def app(self) -> Starlette:
        """As an ASGI application."""
        pages: list[tuple[str, Callable[[Request], Response], CapacityLimiter | None]] = [
            ("/", self._overview, None),
            ("/jobs", self._jobs, None),
            ("/jobs/{id}", self._job, None),
            ("/graph", self._graph, self._heavy),
            ("/runs", self._runs, None),
            ("/runs/{run}", self._run, self._heavy),
            ("/metrics", self._metrics, None),
        ]
        routes = [Route(path, _limited(page, limiter)) for path, page, limiter in pages]
        routes.append(Route("/static/{name}", _static))
        routes.append(Route("/live", self._live))
        routes.append(Route("/act", self._act, methods=["POST"]))
        return Starlette(
            routes=routes,
            middleware=[Middleware(_Guarded, guard=self._guard)],
            exception_handlers={RunnerError: _said, 404: _nothing},
        )

    # ------------------------------------------------------------------------------------------------------- to look

    @contextmanager
    def _store(self) -> Iterator[FolderStore]:
        with open_state(self._state, self._root) as store:
            yield store

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        may_act = self._guard.knows(request.cookies.get(self._guard.cookie))
        word = self._guard.form_word if may_act else ""
        said = request.query_params.get("said", "") if may_act else ""
        return _html(render(template, path=request.url.path, state=str(self._state), word=word, said=said, **values))

    def _overview(self, request: Request) -> Response:
        with self._store() as store:
            return self._page(request, "overview.html", now=look(store, time.time()))

    def _jobs(self, request: Request) -> Response:
        ask = request.query_params
        status, task, text = ask.get("status", ""), ask.get("task", ""), ask.get("q", "")
        page = ask.get("page", "1")
        number = max(1, int(page)) if re.fullmatch(r"[0-9]{1,9}", page) else 1
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
        answer = why(self._root, self._state, shown.id)
        return self._page(request, "job.html", shown=shown, log=log, why=answer, found=found, later=later)

    def _graph(self, request: Request) -> Response:
        text = request.query_params.get("id")
        with self._store() as store:
            focus = None if not text else resolve(store, text)[0]
            return self._page(request, "graph.html", graph=graph(gists(store), focus), focus=focus)

    def _runs(self, request: Request) -> Response:
        with self._store() as store:
            runs = Runs(store)
            found, problems = records(runs, list(reversed(runs.ids()))[:PAGE])
            live = look(store, time.time()).runner is not None
        return self._page(request, "runs.html", runs=found, problems=problems, live=live, kinds=KINDS)

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
        if id and not codec.is_id(id):
            return await _nothing(request, None)
        return StreamingResponse(self._parts(id), media_type="text/event-stream")

    async def _parts(self, id: str) -> AsyncIterator[str]:
        before: dict[str, str] = {}
        while not self._leaving.is_set():
            began = time.monotonic()
            parts = await run_in_threadpool(self._look, id)
            for name, text in parts.items():
                if before.get(name) != text:
                    yield _event(name, text)
            if parts == before:
                yield ": still here\n\n"  # or nobody notices that the browser went away
            before = parts
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), max(LOOK_EVERY, 10 * (time.monotonic() - began)))

    def _look(self, id: str) -> dict[str, str]:
        try:
            if not id:
                return {"now": self._now()}
            with self._store() as store:
                status = store.find(id)
                log = render("parts/log.html", log=log_tail(store, id, _LOG_LINES))
                where = "inbox" if status is None and in_inbox(store, id) else status
                return {"log": log} if where is None else {"log": log, "status": str(where)}
        except (RunnerError, OSError) as error:
            return {"now": render("parts/problem.html", problem=str(error))}

    def _now(self) -> str:
        """The overview, not older than the time between two looks: many browsers may watch."""
        at, text = self._seen
        if time.monotonic() - at >= LOOK_EVERY:
            with self._store() as store:
                text = render("parts/now.html", now=look(store, time.time()))
            self._seen = time.monotonic(), text
        return text

    # -------------------------------------------------------------------------------------------------------- to act

    async def _act(self, request: Request) -> Response:
        if not self._guard.may_come(request.headers, request.cookies.get(self._guard.cookie)):  # before it is read
            return PlainTextResponse(_TOKEN, 403)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _FORM:
                return PlainTextResponse("That is no form of this page.", 413)
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        if not self._guard.knows_word(form.get("word", "")):
            return PlainTextResponse(_TOKEN, 403)
        verb, id = form.get("verb", ""), form.get("id", "")
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
        if not self._guard.admits(request.headers, request.method):
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
    lines = "".join(f"data: {line}\n" for line in re.split(r"\r\n|\r|\n", text))  # each of them ends a line there
    return f"event: {name}\n{lines}\n"


def _address(path: str, **words: object) -> str:
    told = {name: word for name, word in words.items() if word}
    return f"{path}?{urlencode(told)}" if told else path


def _said(request: Request, error: Exception) -> Response:
    return _problem(request, str(error), 404 if isinstance(error, UsageError) else 503)


async def _nothing(request: Request, error: Exception | None) -> Response:
    return _problem(request, f"There is no page {request.url.path}.", 404)


def _problem(request: Request, problem: str, status: int) -> Response:
    return _html(render("problem.html", problem=problem, path=request.url.path, state="", word="", said=""), status)


def _html(page: str, status: int = 200) -> Response:
    """File names need not be UTF-8."""
    return HTMLResponse(page.encode("utf-8", "backslashreplace"), status)


def _limited(
    page: Callable[[Request], Response], limiter: CapacityLimiter | None
) -> Callable[[Request], Awaitable[Response]]:
    """The page, made in a thread; with a limiter, only so many at once, and who waits holds no thread."""

    async def answer(request: Request) -> Response:
        return await to_thread.run_sync(page, request, limiter=limiter)

    return answer


_STATIC = {"style.css": "text/css", "live.js": "text/javascript"}


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return await _nothing(request, None)
    data = files("runner.web").joinpath("static", name).read_bytes()
    return Response(data, media_type=_STATIC[name])
