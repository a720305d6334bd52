"""Makes docs/pictures/ from a real scrape of the bundled site, by Debian's chromium: `python docs/make_pictures.py`.

Not made by any test: what a browser draws is another on every machine. Look at them before they are committed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

from runner.demo.pages import Page
from runner.demo.project import make_scraping_project
from runner.demo.serve import serve

PICTURES = Path(__file__).with_name("pictures")
SITE = {"name": "demo", "allow_private": True, "rate": 8.0}
FORBIDDEN = Page(b"<title>Forbidden</title>", status=403)


@contextmanager
def ui(project: Path) -> Iterator[str]:
    """The live page's address, with its token."""
    command = [sys.executable, "-m", "runner", "-C", str(project), "ui", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def runner(project: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "runner", "-C", str(project), *words]


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    server, address = serve()
    server.site["/notes/05-observatory.html"] = FORBIDDEN  # so that something fails
    project = Path(tempfile.gettempdir(), "site")
    project.mkdir()  # its name is to be seen
    with sync_playwright() as playwright:
        make_scraping_project(project, [SITE | {"start": [address]}])
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 540})
        (project / "state").mkdir(exist_ok=True)
        with ui(project) as opened:
            run = subprocess.Popen(runner(project, "run", "-q"))
            page.goto(opened)
            time.sleep(4)
            page.screenshot(path=PICTURES / "overview.png")
            run.wait()
            pictures(page, opened.partition("/?")[0], project)
        browser.close()
    server.shutdown()
    shutil.rmtree(project)


def pictures(page: Tab, address: str, project: Path) -> None:
    page.goto(f"{address}/graph")
    page.set_viewport_size({"width": 900, "height": 330})
    page.screenshot(path=PICTURES / "graph.png")
    failed = sorted(os.listdir(project / "state" / "failed"))
    print("failed:", failed)
    if failed:
        page.goto(f"{address}/jobs/{failed[0].removesuffix('.json')}")
        page.set_viewport_size({"width": 900, "height": 460})
        page.screenshot(path=PICTURES / "job.png")
    subprocess.run(runner(project, "report", "-o", str(project / "report.html")), check=True)
    page.set_viewport_size({"width": 900, "height": 620})
    page.goto((project / "report.html").as_uri())
    page.screenshot(path=PICTURES / "report.png")


if __name__ == "__main__":
    main()
