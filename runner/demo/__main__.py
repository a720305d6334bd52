"""python -m runner.demo: serve the bundled site, scrape it, be killed half way, resume, and check every promise made.

Exit 0: all was as promised. 1: something was not; the line that says so begins with "NOT AS PROMISED".
Everything happens in `.demo/` below the current folder, which is made anew each time.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.demo.project import TARGET, make_scraping_project
from runner.demo.serve import SiteServer, serve

FOLDER = Path(".demo")
STATE = FOLDER / "state"
STATUSES = ("pending", "running", "done", "failed", "blocked", "cancelled", "quarantine")
FETCHES, PARSES = "FetchPage-", "ParsePage-"
RATE = 12.0  # pages a second: slow enough to watch, and to be killed half way
PATIENCE = 120.0  # seconds until half of the pages must be done


class NotAsPromised(Exception):
    """The demonstration showed something else than what the README says."""


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def command(*words: str) -> list[str]:
    """The command line of the runner, on the demo's project."""
    return [sys.executable, "-m", "runner", "-C", str(FOLDER), *words]


def shown(*words: str) -> str:
    """The same, as one would type it here."""
    here = os.path.relpath(sys.executable)
    return shlex.join([sys.executable if here.startswith("..") else here, *command(*words)[1:]])


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The runner in a process group of its own, which can be killed whole; it does not outlive the block."""
    say(f"$ {shown(*words)}")
    process = subprocess.Popen(command(*words), start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def names(status: str) -> list[str]:
    """Names of the job files in one status folder."""
    try:
        return [name for name in os.listdir(STATE / status) if name.endswith(".json") and not name.startswith(".")]
    except FileNotFoundError:
        return []


def half_way() -> bool:
    """Whether half of the pages found so far have their text: names in folders say it all."""
    done = sum(name.startswith(PARSES) for name in names("done"))
    found = done + sum(name.startswith(PARSES) for status in STATUSES if status != "done" for name in names(status))
    return done > 0 and 2 * done >= found


def kill_half_way(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the runner and all its workers once half of the pages are done."""
    deadline = time.monotonic() + PATIENCE
    while not half_way():
        if process.poll() is not None:
            raise NotAsPromised(f"the run ended with exit code {process.returncode} before half of the pages were done")
        if time.monotonic() > deadline:
            raise NotAsPromised(f"half of the pages were not done within {PATIENCE:.0f} s")
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise NotAsPromised("the run was over before it could be killed")
    if sys.stderr.isatty():  # a live display hides the cursor, and was given no chance to bring it back
        sys.stderr.write("\033[?25h\n")


def show_counts() -> None:
    for status in STATUSES:
        if count := len(names(status)):
            print(f"  $ ls {STATE / status} | wc -l      # {count}")


def stamps(status: str) -> dict[str, tuple[int, int]]:
    """What tells a file that was left alone: its inode and mtime."""
    found = ((name, (STATE / status / name).stat()) for name in names(status))
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found}


def fetched_pages(server: SiteServer) -> set[str]:
    """Paths of the pages whose fetch is done."""
    files = [STATE / "done" / name for name in names("done") if name.startswith(FETCHES)]
    return {json.loads(file.read_bytes())["params"]["url"].removeprefix(server.url) for file in files}


def resume_to_the_end(server: SiteServer) -> None:
    """Resume; nothing may be left over, and what was done before the kill is neither touched nor asked for again."""
    before, fetched, asked = stamps("done"), fetched_pages(server), len(server.asked)
    with started("resume") as process:
        if code := process.wait():
            raise NotAsPromised(f"resume ended with exit code {code}")
    left = {status: len(names(status)) for status in STATUSES if status != "done" and names(status)}
    if left:
        raise NotAsPromised(f"jobs are left over: {left}")
    after = stamps("done")
    again = [name for name, stamp in before.items() if after.get(name) != stamp]
    if again:
        raise NotAsPromised(f"{len(again)} jobs that were done were touched again, such as {again[0]}")
    redirected = {page.headers.get("Location") for page in server.site.values()}  # asked for by way of another page
    if twice := fetched.intersection(server.asked[asked:]) - redirected:
        raise NotAsPromised(f"{len(twice)} pages that were fetched were asked for again, such as {min(twice)}")
    print(f"\n{len(after)} jobs are done; the {len(before)} done before the kill were not touched again,")
    print(f"and none of the {len(fetched)} pages fetched before it was asked for again.")
    if code := subprocess.run(command("check"), check=False).returncode:
        raise NotAsPromised(f"check ended with exit code {code}")


def show_texts() -> None:
    texts = sorted(FOLDER.glob("data/*/text/*.txt"))
    if not any(text.stat().st_size for text in texts):
        raise NotAsPromised(f"no text in {FOLDER / 'data'}")
    largest = max(texts, key=lambda text: text.stat().st_size)
    say(f"{len(texts)} texts lie in {texts[0].parent}/. Have a look:")
    print(f"""\
  head {largest}
  ls {STATE}/done | head
  ls {STATE}/failed                                    # what went wrong: nothing here
  jq '.task, .params, .result.outputs' {STATE}/done/{PARSES}*.json | head -20
  jq -r '.result.value' {STATE}/done/{FETCHES}*.json | head -20
  {shown("status")}
  {shown("list", "--task", "ParsePage")}
  {shown("report", "-o", f"{FOLDER}/report.html")}    # the killed run and its resumption, on one page
  {shown("ui")}    # the same in a browser, live""")


def demonstrate() -> None:
    server, url = serve(port=0)
    try:
        say(f"A small site is served at {url}; {FOLDER}/ is a project that scrapes it at {RATE:.0f} pages a second.")
        site = {"name": "demo", "start": [url], "concurrency": 4, "rate": RATE, "allow_private": True}
        make_scraping_project(FOLDER, [site])
        with started("run", TARGET) as process:
            kill_half_way(process)
        say("Killed: kill -9 to the runner and its workers. This is how it lies there:")
        show_counts()
        resume_to_the_end(server)
        show_texts()
    finally:
        server.shutdown()


def main() -> int:
    if FOLDER.exists() and not (FOLDER / "jobs" / "sites.toml").exists():
        print(f"{FOLDER}/ is there already and is not the demo's: move it away first", file=sys.stderr)
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        demonstrate()
    except NotAsPromised as problem:
        print(f"\nNOT AS PROMISED: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
