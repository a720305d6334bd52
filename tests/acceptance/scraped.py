"""A scraping project over several nights: each is run, and what can be seen of it from outside is kept to be judged.

No night can be waited for. `fall` makes the state as old as it would be by then.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from jobs.scrape.urls import file_name
from runner.demo.project import TARGET, make_scraping_project, sites_toml
from tests.acceptance.docs_site import is_plumbing
from tests.acceptance.forecast import Asked
from tests.acceptance.library import Library
from tests.acceptance.nginx import Request
from tests.acceptance.project import QUICK, STATUSES, Outcome, Project

RUN = ("run", TARGET, "--workers", "2", "--threads", "4")
FETCHED = re.compile(rb'"fetched": "[^"]*"')


@dataclass(frozen=True)
class File:
    inode: int
    mtime: int
    data: bytes


@dataclass(frozen=True, repr=False)
class Night:
    """A run, and what it left behind."""

    outcome: Outcome
    run: str
    start: datetime
    requests: list[Request]
    report: dict[str, Any]  # site -> its part
    before: dict[str, File]
    after: dict[str, File]
    attempts: Counter[tuple[str, str]]  # (task, site): how many began

    def asked(self, site: str) -> Counter[Asked]:
        """The pages that a site was asked for, and how."""
        return Counter(
            Asked(request.path, request.status, *map(unescaped, (request.if_none_match, request.if_modified_since)))
            for request in self.requests
            if request.site == site and not is_plumbing(request.path)
        )

    def texts(self, site: str, when: Literal["before", "after"]) -> dict[str, File]:
        """The texts of a site."""
        side = self.before if when == "before" else self.after
        return {path: file for path, file in side.items() if path.startswith(f"{site}/text/") and path[-4:] == ".txt"}

    def contents(self) -> dict[str, bytes]:
        """Every file, as far as it does not depend on the time of day."""
        return {path: FETCHED.sub(b'"fetched": ""', file.data) for path, file in self.after.items()}

    def rows(self, site: str) -> list[dict[str, str]]:
        """Its corpus."""
        return [json.loads(line) for line in self.after[f"{site}/corpus.jsonl"].data.splitlines()]

    def plumbing(self, site: str) -> Counter[str]:
        """robots.txt and sitemaps that a site was asked for."""
        return Counter(request.path for request in self.requests if request.site == site and is_plumbing(request.path))


def unescaped(logged: str) -> str:
    """As nginx was sent it."""
    return logged.replace(r"\x22", '"')


def scraping_project(folder: Path, library: Library, shelves: Sequence[str] = (), **others: object) -> Project:
    """One that scrapes these sites of the library; all, if none is named."""
    return Project(make_scraping_project(folder, tables(library, shelves, **others)))


def tables(library: Library, shelves: Sequence[str] = (), **others: object) -> list[dict[str, object]]:
    """For its sites.toml."""
    return [library.shelves[name].table(library.url(name), **others) for name in shelves or library.shelves]


def configure(project: Project, sites: list[dict[str, object]]) -> None:
    """Write another sites.toml."""
    (project.root / "jobs" / "sites.toml").write_text(sites_toml(sites), encoding="utf-8")


def bump_parser(project: Project) -> None:
    """A new version of ParsePage."""
    module = project.root / "jobs" / "scrape" / "__init__.py"
    head, mark, rest = module.read_text(encoding="utf-8").partition("class ParsePage(")
    bumped, count = re.subn(r"\bversion = (\d+)", lambda match: f"version = {int(match[1]) + 1}", rest, count=1)
    assert count, "ParsePage has no version"
    module.write_text(head + mark + bumped, encoding="utf-8")


def fall(project: Project, hours: int = 24) -> int:
    """Let so many hours pass: what was checked, was checked so long ago. Returns how many records were made older."""
    changed = 0
    for file in sorted((project.state / "done").glob("[!.]*.json")):
        job = json.loads(file.read_bytes())
        checked = datetime.fromisoformat(job["result"]["checked_at"]) - timedelta(hours=hours)
        job["result"]["checked_at"] = checked.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        new = file.with_name(f".{file.name}.new")
        new.write_text(json.dumps(job, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        new.rename(file)
        changed += 1
    assert changed, "there is nothing yet that could grow older"
    return changed


def spend(project: Project, library: Library, *flags: str, seconds: float = 120) -> Night:
    """Run a night."""
    before, since = files(project), library.server.log_size()
    outcome = project.runner(*RUN, *QUICK, *flags, seconds=seconds)
    return seen(project, library, outcome, before, since)


def seen(project: Project, library: Library, outcome: Outcome, before: dict[str, File], since: int) -> Night:
    """The newest run, which has ended."""
    run = newest_run(project)
    assert run, outcome.err[-2000:]
    record = json.loads((project.state / "runs" / f"{run}.json").read_bytes())
    return Night(
        outcome=outcome,
        run=run,
        start=datetime.fromisoformat(record["start"]),
        requests=library.server.requests(since),
        report=report(project, run)["sites"],
        before=before,
        after=files(project),
        attempts=attempts(project, run),
    )


def newest_run(project: Project) -> str:
    """Its id; "" if there is none yet."""
    names = [name for name in project.names("runs") if name.endswith(".json")]
    return max(names, default="").removesuffix(".json")


def report(project: Project, run: str) -> dict[str, Any]:
    """What the report's command says."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs.scrape.report", "--json", "--state", str(project.state), run],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["schema"], found["run"]) == (1, run)
    return found


def files(project: Project) -> dict[str, File]:
    """Every file below data/, leftovers and dot files too, by its path below data/."""
    found, data = {}, project.root / "data"
    for path in data.rglob("*"):
        if path.is_file():
            stat = path.stat()
            found[str(path.relative_to(data))] = File(stat.st_ino, stat.st_mtime_ns, path.read_bytes())
    return found


def attempts(project: Project, run: str) -> Counter[tuple[str, str]]:
    """(task, site) -> how many jobs had their run() called in this run."""
    found: Counter[tuple[str, str]] = Counter()
    for status in STATUSES:
        for job in project.jobs(status):
            task, result = job["task"].rpartition(":")[2], job["result"]
            if task == "ParsePage" and result and None in result["outputs"].values():
                continue  # absence spread to it
            if any(attempt["run"] == run for attempt in job["attempts"]):
                found[task, site_of(job["params"])] += 1
    return found


def site_of(params: Mapping[str, Any]) -> str:
    """The site that a job belongs to, by its files; "": none."""
    path = Path(params.get("output_filepath") or "")
    return path.parts[1] if len(path.parts) > 2 else str(params.get("site", ""))


def raw(library: Library, site: str, path: str) -> str:
    """Where a page's bytes go, below data/ and without a suffix."""
    return f"{site}/raw/{file_name(library.url(site) + path)}"


def text(library: Library, site: str, path: str) -> str:
    return f"{site}/text/{file_name(library.url(site) + path)}"
