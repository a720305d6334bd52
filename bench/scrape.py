"""Pages a second: a site of 3,000 pages of 20 kB behind a real nginx on loopback, its text and the state on disk.

python -m bench.scrape [--smoke] [--dir DIR] [--pages 3000] [--workers 2] [--threads 4]
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from bench.ground import arguments, count, ground, timed
from runner.demo.project import TARGET, make_scraping_project
from tests.acceptance.docs_site import write_sitemap
from tests.acceptance.nginx import Nginx

BYTES = 20_000
BAR = 160.0  # pages a second, on 2 cores
PHRASE = "a job runner moves files between folders and its state can be read with plain tools at any moment"

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Page {number}</title>
<link rel="stylesheet" href="/style.css"></head>
<body><header><nav><ul>{links}</ul></nav></header>
<main><h1>Page {number}</h1>
{paragraphs}
</main><footer><p>About this site</p></footer></body></html>
"""


def page(number: int) -> str:
    """A page of about BYTES bytes, unlike every other."""
    words = random.Random(number)
    links = "".join(f'<li><a href="/pages/{words.randrange(3000)}.html">page</a></li>' for _ in range(40))
    paragraphs: list[str] = []
    size = len(PAGE) + len(links)
    while size < BYTES:
        text = " ".join(words.choices(PHRASE.split(), k=60))
        paragraphs.append(f'<h2>Part {len(paragraphs)}</h2><p class="text">{text} <em>{number}</em>.</p>')
        size += len(paragraphs[-1]) + 1
    return PAGE.format(number=number, links=links, paragraphs="\n".join(paragraphs))


def build(server: Nginx, pages: int) -> None:
    (server.www / "pages").mkdir(parents=True)
    paths = [f"/pages/{number}.html" for number in range(pages)]
    for number, path in enumerate(paths):
        (server.www / path.lstrip("/")).write_text(page(number), encoding="utf-8")
    write_sitemap(server, paths)


def measure(folder: Path, pages: int, workers: int, threads: int) -> float:
    """Pages a second of the whole command, start and end included."""
    (folder / "nginx").mkdir()
    with Nginx(folder / "nginx") as server:
        build(server, pages)
        site = {"name": "bench", "start": [server.url], "concurrency": 32, "allow_private": True}
        project = make_scraping_project(folder / "project", [site])
        seconds = timed(project, "run", TARGET, "--workers", str(workers), "--threads", str(threads))
        asked = sum(request.path.startswith("/pages/") for request in server.requests())
    texts = [file for file in (project / "data").rglob("*.txt") if "text" in file.parts]
    if len(texts) < pages or asked != pages:
        sys.exit(f"{len(texts)} texts and {asked} requests for {pages} pages")
    size = sum(file.stat().st_size for file in texts)
    print(f"{pages} pages in {seconds:.1f} s: {size / 1e6:.1f} MB of text, {count(project, 'done')} jobs done")
    return pages / seconds


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--pages", type=int, default=3_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    if not Nginx.available():
        print("needs nginx: on Debian, apt-get install nginx-light", file=sys.stderr)
        return 2
    with ground(options.dir) as folder:
        rate = measure(folder, 60 if options.smoke else options.pages, options.workers, options.threads)
    print(f"{rate:.0f} pages/s, with {options.workers} workers of {options.threads} threads")
    if options.smoke:
        return 0
    print(f"bar: {BAR:.0f} pages/s on 2 cores: {'met' if rate >= BAR else 'MISSED'}")
    return 0 if rate >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
