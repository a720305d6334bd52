"""The live page in a real Chromium: a run is started, watched, fails, and is tried again by a click.

What it looks like is kept in .screenshots/ (RUNNER_SCREENSHOTS: elsewhere), for people to look at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.web.served import Served, served
from tests.workers.support import wait_for

pytestmark = pytest.mark.chromium

Start = Callable[..., "subprocess.Popen[bytes]"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

JOBS = """
from dataclasses import dataclass
from pathlib import Path
import time
from runner import Input, Output, Task

EVIL = "<script>document.title = 'taken over'</script><img src=x onerror=\\"document.title = 'taken over'\\">"

@dataclass
class Fetch(Task):
    url: str
    filepath: Output
    retries = 0

    def run(self):
        print("asking", self.url, EVIL, flush=True)
        if self.url.endswith("/3") and not Path("mended").exists():
            raise ValueError(f"no such page: {EVIL}")
        while self.url.endswith("/4") and not Path("go").exists():
            time.sleep(0.02)
        self.filepath.write_text(self.url)

@dataclass
class Parse(Task):
    page: Input
    filepath: Output

    def run(self):
        self.filepath.write_text("parsed")

def nightly():
    return [Fetch(f"http://example.org/{EVIL}/{n}", f"data/{n}.html") for n in range(6)] + [
        Parse("data/3.html", "data/3.txt")
    ]
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text(JOBS)
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\ntarget = "jobs:nightly"\n')
    return tmp_path


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    """Starts runners, and leaves none behind."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "runner", "-C", str(root), "run", "-q", *words]
        running.append(subprocess.Popen(command, cwd=root))
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            (root / "go").touch()
            process.kill()
            process.wait(20)


@pytest.fixture
def site(root: Path) -> Iterator[Served]:
    (root / "state").mkdir()
    with served(root) as site:
        yield site


@pytest.fixture
def page(browser: Browser, site: Served) -> Iterator[Page]:
    """A page of the site, with the token shown. Whatever the browser complains of fails the test."""
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            said.append(message.text)

    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.on("console", hear)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(site.opened)
    yield page
    assert "taken over" not in page.title()
    context.close()
    assert said == []


def shot(page: Page, name: str) -> None:
    folder = Path(os.environ.get("RUNNER_SCREENSHOTS", ".screenshots")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def test_a_run_is_watched_fails_and_is_tried_again_by_a_click(
    root: Path, start: Start, site: Served, page: Page
) -> None:
    expect(page.get_by_text("No run yet")).to_be_visible()
    expect(page.get_by_role("button", name="Stop the runner")).to_be_hidden()
    expect(page.get_by_role("button", name="Retry all failed")).to_be_hidden()
    run = start()
    expect(page.get_by_text("alive")).to_be_visible(timeout=20_000)  # nobody has loaded the page anew
    expect(page.locator(".card", has_text="failed")).to_contain_text("1", timeout=20_000)
    shot(page, "a run is watched")

    page.get_by_role("link", name="failed").click()
    page.get_by_role("link", name="Fetch-").click()
    expect(page.get_by_text("failed after 1 attempt")).to_be_visible()
    expect(page.locator("pre.log")).to_contain_text("asking http://example.org/<script>")
    shot(page, "a job that failed")

    page.get_by_role("link", name="Parse-").click()  # it comes after it
    expect(page.locator("#status")).to_have_text("blocked")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_contain_text("will be cancelled")
    expect(page.locator("#status")).to_have_text("cancelled", timeout=20_000)
    expect(page.get_by_role("status")).to_contain_text("will be cancelled")  # the answer stays where the job moves on
    page.get_by_role("link", name="Fetch-").click()

    (root / "mended").touch()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("status")).to_contain_text("will be tried again")
    expect(page.locator("#status")).to_have_text("done", timeout=20_000)
    shot(page, "a job that was tried again")

    page.goto(site.address + "/graph")
    page.locator("svg a", has_text="Fetch").first.click()
    expect(page.get_by_role("heading", name="Fetch-", level=1)).to_be_visible()

    (root / "go").touch()
    assert run.wait(20) == 0
    page.goto(page.url.partition("/jobs")[0])
    expect(page.locator("#now").get_by_text("done", exact=True).first).to_be_visible()
    expect(page.locator(".card", has_text="done")).to_contain_text("6")


def test_the_runner_is_stopped_by_a_click(root: Path, start: Start, page: Page) -> None:
    run = start("--workers", "1")  # so that the last job has to wait
    expect(page.get_by_text("alive")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("button", name="Retry all failed")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Stop the runner").click()
    expect(page.get_by_role("status")).to_contain_text("was asked to stop")
    wait_for("the worker has given back what it had not begun", lambda: os.listdir(root / "state" / "pending"))
    (root / "go").touch()
    assert run.wait(20) == 3
    expect(page.get_by_text("stopped in good order")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("button", name="Stop the runner")).to_be_hidden()


def test_pages_by_keyboard_and_on_a_narrow_screen(root: Path, start: Start, site: Served, browser: Browser) -> None:
    (root / "go").touch()
    assert start().wait(30) == 1
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(site.opened)
        for name in ("Overview", "Jobs", "Graph", "Runs"):
            page.get_by_role("link", name=name, exact=True).focus()
            page.keyboard.press("Enter")
            page.wait_for_url("**/" + ("" if name == "Overview" else name.lower()))
            expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
            shot(page, f"{name} {scheme}")
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 360, f"{name} is {width} wide"
        page.get_by_role("link", name="2").first.click()
        page.wait_for_url("**/runs/*")
        expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        shot(page, f"A run {scheme}")
        context.close()


def test_without_scripts_the_pages_are_whole(root: Path, start: Start, site: Served, browser: Browser) -> None:
    (root / "go").touch()
    assert start().wait(30) == 1
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.opened)
    page.get_by_role("button", name="Retry all failed").click()
    expect(page.get_by_role("status")).to_contain_text("will be tried again")
    expect(page.locator(".card", has_text="in the inbox")).to_contain_text("1")
    context.close()
