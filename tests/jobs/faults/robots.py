"""What robots.txt may be."""

from __future__ import annotations

import gzip

from tests.jobs.faults.row import GZIP, HERE, LATE, MB, QUICK, busy, large, robots, status, text, urlset
from tests.jobs.server import OK, answer, drip, endless, redirect, reset, then_close

RULES = "User-agent: *\nDisallow: /no\n"
OBEYED = {"pages": ["/1"], "skipped": {"disallowed by robots.txt": 1}}
ROBOTS = [
    robots("robots: 404", status("404 No")),
    robots("robots: 403", status("403 No")),
    robots("robots: 204", b"HTTP/1.1 204 No\r\n\r\n"),
    robots("robots: 500", status("500 No"), "transient", "HERE/robots.txt: status 500"),
    robots("robots: 429", answer(b"", "429 Slow"), "later", "HERE/robots.txt: status 429", seconds=60),
    robots("robots: 503, for a while", busy("503 Busy", "8"), "later", "HERE/robots.txt: status 503", seconds=8),
    robots("robots: reset", reset(), "transient", "HERE/robots.txt: .*Connection reset"),
    robots("robots: closed", then_close(b""), "transient", "HERE/robots.txt: .*RemoteDisconnected"),
    robots(
        "robots: cut",
        then_close(OK + b"Content-Length: 2000\r\n\r\nUser-agent: *\nDis"),
        "transient",
        "robots.txt: .*IncompleteRead",
    ),
    robots(
        "robots: brotli",
        answer(b"", "200 OK", "Content-Encoding: br"),
        "permanent",
        "robots.txt: content-encoding 'br'",
    ),
    robots("robots: gzip that is none", answer(RULES.encode(), "200 OK", GZIP), "transient", "robots.txt: damaged"),
    robots("robots: moved", redirect("/rules"), routes={"/rules": text(RULES)}, **OBEYED),
    robots(
        "robots: moved to another host",
        redirect("http://evil.test/robots.txt"),
        "permanent",
        "robots.txt: leads to http://evil.test/robots.txt, whose host",
    ),
    robots("robots: a circle", redirect("/robots.txt"), "permanent", "robots.txt: more than 5 redirects"),
    robots(
        "robots: forbids all",
        "User-agent: *\nDisallow: /",
        "nothing",
        r"no page in any sitemap of HERE/ \(2 disallowed by robots.txt\)",
    ),
    robots(
        "robots: forbids us",
        "User-agent: a\nUser-agent: Runner-Scrape # us\nUser-agent: b\nDisallow: /no\n\nUser-agent: *\nDisallow: /",
        **OBEYED,
    ),
    robots("robots: forbids others", "User-agent: Googlebot\nUser-agent: *bot*\nDisallow: /"),
    robots("robots: a page", answer(b"<html><p>User-agent: *<p>Disallow: /</html>")),
    robots("robots: binary", answer(bytes(range(256)), content_type="image/png")),
    robots("robots: a mark first, lines end in CR", "\ufeff" + RULES.replace("\n", "\r"), **OBEYED),
    robots("robots: UTF-16", answer(RULES.encode("utf-16"))),
    robots("robots: rules without a robot", "Disallow: /\n"),
    robots("robots: stars and dollars", "User-agent: *\nDisallow: /n*$\nAllow: /*1$\n", **OBEYED),
    robots("robots: Crawl-delay of a year", "User-agent: *\nCrawl-delay: 31536000", delay=10),
    robots("robots: Crawl-delay of -5", "User-agent: *\nCrawl-delay: -5", delay=0),
    robots("robots: Crawl-delay of soon", "User-agent: *\nCrawl-delay: soon", delay=0),
    robots("robots: Crawl-delay of 1e-320", "User-agent: *\nCrawl-delay: 1e-320", delay=0),
    robots(
        "robots: 30 MB announced",
        then_close(OK + b"Content-Length: 30000000\r\n\r\n" + RULES.encode() + b"#" * 600_000),
        **OBEYED,
    ),
    robots("robots: endless", endless(OK + b"\r\n" + RULES.encode(), b"#" * 65_536), hostile=15, **OBEYED),
    robots(
        "robots: slow",
        drip(OK + b"Content-Length: 99\r\n\r\n", b"#"),
        "transient",
        f"robots.txt: {LATE}",
        hostile=15,
        constants=QUICK,
    ),
    robots(
        "robots: a bomb", large(lambda: gzip.compress(RULES.encode() + b"#" * 100 * MB, 1), GZIP), hostile=10, **OBEYED
    ),
    robots(
        "robots: half names, half rules",
        text("".join(f"User-agent: {n}\n" for n in range(13_000)) + "Disallow: /n\n" * 19_000),
        hostile=20,
    ),
    robots("robots: stars without end", text("User-agent: *\nDisallow: /" + "*n" * 200_000 + "$\n"), hostile=20),
    robots(
        "robots: names a map in capitals",
        "SITEMAP: /more.xml\n",
        routes={"/more.xml": urlset(f"{HERE}/2")},
        pages=["/2", "/1", "/no"],
    ),
    robots(
        "robots: names a map elsewhere",
        f"Sitemap: http://evil.test/\n{RULES}",
        "done",
        "http://evil.test/: robots.txt names this sitemap, but we may not go there",
        pages=["/1"],
        skipped={"off-site": 1, "disallowed by robots.txt": 1},
    ),
    robots(
        "robots: names 20,000 maps",
        text("".join(f"Sitemap: /{n}\n" for n in range(20_000))),
        "nothing",
        "more than 50 sitemaps: the rest",
        constants={"sitemap.SITE_SITEMAPS": 50},
        hostile=20,
    ),
]
