"""python -m runner.demo.serve: the bundled site on loopback, until Ctrl-C. Prints its address.

For the demo, for tests, and for trying out a sites.toml. It must not be reachable from elsewhere.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runner.demo.pages import Page, make_site

HOST = "127.0.0.1"
MODIFIED = "Sun, 01 Nov 2026 00:00:00 GMT"
NOT_FOUND = Page(b"<title>Not found</title><p>There is no such page.</p>", status=404)


class SiteServer(ThreadingHTTPServer):
    """Serves the site at `url`; `asked` lists the paths that were asked for, in order."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__((HOST, port), Handler)
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self.site = make_site(self.url)
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves in one piece, or the client's delayed acknowledgement costs 40 ms a page
    disable_nagle_algorithm = True
    server: SiteServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page = self.server.site.get(self.path, NOT_FOUND)
        time.sleep(page.seconds)
        etag = f'"{hashlib.sha256(page.body).hexdigest()[:16]}"'
        known = page.status == 200 and self.headers.get("If-None-Match") == etag
        self.send_response(304 if known else page.status)
        if page.status == 200:
            self.send_header("ETag", etag)
            self.send_header("Last-Modified", MODIFIED)
        for name, value in page.headers.items():
            self.send_header(name, value)
        if not known:
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if not known:
            self.wfile.write(page.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(port: int = 0) -> tuple[SiteServer, str]:
    """Starts the server in a thread; returns it and the site's address, which ends in /. `shutdown()` ends it."""
    server = SiteServer(port)
    threading.Thread(target=server.serve_forever, name="demo site", daemon=True).start()
    return server, f"{server.url}/"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m runner.demo.serve", description="Serve the demo site on loopback.")
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    try:
        server = SiteServer(parser.parse_args().port)
    except OSError as error:
        sys.exit(f"the demo site: {error.strerror}: name another port with --port (0: any that is free)")
    print(f"{server.url}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


if __name__ == "__main__":
    main()
