"""python -m jobs.scrape.report [--state DIR] [--json] [RUN]: what a night brought, page by page.

From the job files of a state folder, which anybody may read; beside a live run: what it brought so far. RUN is the id
of a run, or the beginning of one; by default the newest. Changes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATUSES = ("pending", "running", "done", "failed", "blocked", "cancelled")
KINDS = {
    "new": "new",
    "changed": "changed",
    "markup_only": "markup only",  # other bytes, the same text
    "absent": "absent",  # since tonight
    "missing": "missing",  # not found tonight, and kept until it is not found a second time
    "unlisted": "unlisted",  # no sitemap lists it any more, and it is still there
    "failed": "failed",
}

Job = dict[str, Any]


@dataclass
class SiteNight:
    """One site in one night. `urls`: kind -> addresses. `counts`: the same as numbers, and `unchanged`."""

    urls: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    counts: Counter[str] = field(default_factory=Counter)
    says: list[str] = field(default_factory=list)  # what is wrong with its sitemaps

    def add(self, kind: str, url: str) -> None:
        self.counts[kind] += 1
        if kind in KINDS:
            self.urls[kind].append(url)


def nights(state: Path, run: str) -> dict[str, SiteNight]:
    """Every site of a run, by name: the pages that its CollectUrls named when it last succeeded."""
    jobs = {task: dict(_jobs(state, task)) for task in ("CollectUrls", "Alarm", "FetchPage", "ParsePage")}
    parses = {job["params"]["url"]: (status, job) for status, job in jobs["ParsePage"].values()}
    sites: dict[str, SiteNight] = {}
    for _, collect in jobs["CollectUrls"].values():
        site = sites[collect["params"]["site"]] = SiteNight(says=_troubles(collect, run))
        for id in (collect.get("result") or {}).get("found") or ():
            status, job = jobs["Alarm"].get(id, ("", {}))
            if status == "failed" and _last(job, run):
                site.says.append(_error(job))
            if fetch := jobs["FetchPage"].get(id):
                url = fetch[1]["params"]["url"]
                site.add(_kind(fetch, parses.get(url, ("", {})), run), url)
        for urls in site.urls.values():
            urls.sort()
    return dict(sorted(sites.items()))


def _kind(fetch: tuple[str, Job], parse: tuple[str, Job], run: str) -> str:
    """What became of a page in the run."""
    if any(status == "failed" and _last(job, run) for status, job in (fetch, parse)):
        return "failed"
    fetched, parsed = _change(fetch[1], run), _change(parse[1], run)
    if "absent" in (fetched, parsed):
        return "absent"
    if not (_is_there(fetch[1]) and _is_there(parse[1])):
        return "absent as before"
    value = _value(fetch[1])
    if fetched == "new":
        return "new"
    if fetched and value.get("missing"):
        return "missing"
    if fetched and value.get("unlisted") == 1:
        return "unlisted"
    if parsed == "new" or (parsed == "changed" and not _same_text(parse[1], run)):
        return "changed"
    return "markup_only" if fetched == "changed" else "unchanged"


def _is_there(job: Job) -> bool:
    """Whether what a job makes was there, when it last succeeded."""
    return None not in ((job.get("result") or {}).get("outputs") or {}).values()


def _change(job: Job, run: str) -> str | None:
    """How a job that was done in the run changed; None: it was not done then."""
    last = _last(job, run)
    return last.get("change") if last and last.get("outcome") == "done" else None


def _same_text(parse: Job, run: str) -> bool:
    """Whether only what is beside the text is another."""
    last = _last(parse, run)
    return last is not None and parse["params"]["output_filepath"] in last.get("same", ())


def _last(job: Job, run: str) -> Job | None:
    """The last attempt in the run."""
    return next((attempt for attempt in reversed(job.get("attempts", ())) if attempt.get("run") == run), None)


def _troubles(job: Job, run: str) -> list[str]:
    """What a site's CollectUrls has to say."""
    last = _last(job, run)
    if last and last.get("outcome") != "done":
        return [f"its pages were not asked for: {_error(job)}"]
    value = _value(job)
    said = [*value.get("problems", ()), *(f"skipped, {why}: {n}" for why, n in value.get("skipped", {}).items())]
    return [*said, f"lastmod is not relied on: {value['distrusted']}"] if value.get("distrusted") else said


def _value(job: Job) -> Job:
    return (job.get("result") or {}).get("value") or {}


def _error(job: Job) -> str:
    error = job["attempts"][-1].get("error") or {}
    return f"{error.get('type')}: {error.get('message')}"


def _jobs(state: Path, task: str) -> Iterator[tuple[str, tuple[str, Job]]]:
    """(id, (status, job)) of each job of a task class. In the order of the flow: who moves on is seen all the same."""
    for status in STATUSES:
        for path in (state / status).glob(f"{task}-*.json"):
            try:
                job = json.loads(path.read_bytes())
            except (OSError, ValueError):  # moved on; or damaged, which `python -m runner check` tells of
                continue
            yield path.stem, (status, job)


def newest(state: Path, text: str) -> str:
    """The newest run whose id begins with `text`. Raises ValueError."""
    ids = sorted(path.stem for path in (state / "runs").glob(f"{text}*.json"))
    if not ids:
        raise ValueError(f"{state}: there is no run{f' {text}...' if text else ' yet'}: is this the state folder?")
    return ids[-1]


def as_text(run: str, sites: dict[str, SiteNight]) -> Iterator[str]:
    """For people."""
    yield f"run {run}"
    for name, site in sites.items():
        parts = [f"{count} {KINDS.get(kind, kind)}" for kind, count in site.counts.items()]
        yield ""
        yield f"{name}: {site.counts.total()} pages{': ' if parts else ''}{', '.join(sorted(parts))}"
        yield from (f"  ! {line}" for line in site.says)
        for kind, urls in site.urls.items():
            yield from (f"  {KINDS[kind]:<12} {url}" for url in urls)


def as_json(run: str, sites: dict[str, SiteNight]) -> str:
    """For programs."""
    told = {
        name: {"counts": {kind: site.counts[kind] for kind in (*KINDS, "unchanged")}, **site.urls, "says": site.says}
        for name, site in sites.items()
    }
    return json.dumps({"schema": 1, "run": run, "sites": told}, ensure_ascii=False, indent=2)


def main() -> int:
    """Exit code 0; 2 where there is nothing to report on."""
    parser = argparse.ArgumentParser(prog="python -m jobs.scrape.report", description="What a night brought.")
    parser.add_argument("run", nargs="?", default="", help="a run's id, or its beginning; by default the newest")
    parser.add_argument("--state", type=Path, default=Path(os.environ.get("RUNNER_STATE") or "state"))
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args()
    try:
        run = newest(options.state, options.run)
        sites = nights(options.state, run)
    except (OSError, ValueError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(as_json(run, sites) if options.json else "\n".join(as_text(run, sites)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
