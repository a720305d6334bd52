"""Where an answer, or a name, may lead."""

from __future__ import annotations

from tests.jobs.faults.row import HERE, PAGE, page, redirect_to, status
from tests.jobs.server import answer, endless, redirect, reset

FOREIGN = {"allow_private": False, "hosts": ("127.0.0.1", "site.test")}  # a site on the internet

EVERY_KIND = {
    "/": redirect("1", "301 M"),
    "/1": redirect("/2"),
    "/2": redirect_to(f"{HERE}/3#part", "303 S"),
    "/3": redirect("./4", "307 T"),
}
REDIRECTS = [
    page("5 redirects", EVERY_KIND | {"/4": redirect("../5?", "308 P"), "/5": answer(PAGE)}, "new", url="HERE/5"),
    page(
        "6 redirects",
        EVERY_KIND | {"/4": redirect("/5"), "/5": redirect("/6"), "/6": answer(PAGE)},
        "permanent",
        "more than 5 redirects, the last to HERE/6",
    ),
    page(
        "a circle", {"/": redirect("/a"), "/a": redirect("/")}, "permanent", "more than 5 redirects, the last to HERE/$"
    ),
    page("to no place", status("302 Found"), "permanent", "status 302 Found"),
    page("to an empty place", redirect(""), "permanent", "more than 5 redirects", asked=["/"] * 6),
    page(
        "to a file",
        redirect("file:///etc/passwd"),
        "permanent",
        "redirects to 'file:///etc/passwd', which is no address",
    ),
    page("to a script", redirect("javascript:alert(1)"), "permanent", "redirects to 'javascript:alert"),
    page(
        "to an address that is none",
        redirect("http://[::1"),
        "permanent",
        r"redirects to 'http://\[::1', which is no address",
    ),
    page("to a login", redirect_to("http://user:pw@127.0.0.1/"), "permanent", "redirects to 'http://user"),
    page(
        "to a name before an @",
        redirect("http://127.0.0.1@evil.test/"),
        "permanent",
        "redirects to 'http://127.0.0.1@evil",
    ),
    page(
        "to a backslash and an @",
        redirect("http://evil.test\\@127.0.0.1/"),
        "permanent",
        r"redirects to 'http://evil.test",
    ),
    page("to a mail server", redirect("http://127.0.0.1:25/"), "permanent", "redirects to 'http://127.0.0.1:25/'"),
    page("to SSH", redirect("//127.0.0.1:22"), "permanent", "redirects to 'http://127.0.0.1:22'"),
    page(
        "to another host",
        redirect("http://evil.test/"),
        "permanent",
        "leads to http://evil.test/, whose host is not in allow_hosts",
        asked=["/"],
    ),
    page(
        "to another host that may be",
        {"/": redirect_to("http://localhost:PORT/a"), "/a": answer(PAGE)},
        "new",
        url="http://localhost:PORT/a",
        policy={"hosts": ("127.0.0.1", "localhost")},
    ),
    page(
        "to a host whose dot is not ASCII",
        redirect_to("http://127.0.0.1\u3002evil.test/"),
        "permanent",
        "leads to http://127.0.0.1.evil.test/",
    ),
    page(
        "to an address in one number",
        redirect("http://2130706433/"),
        "permanent",
        "leads to http://2130706433/, whose host",
    ),
    page(
        "to letters beyond ASCII", {"/": redirect_to("/é b"), "/%C3%A9%20b": answer(PAGE)}, "new", url="HERE/%C3%A9%20b"
    ),
    page(
        "to bytes that are no UTF-8",
        {"/": answer(b"", "302 Found", "Location: /X").replace(b"/X", b"/\xe9"), "/%EF%BF%BD": answer(PAGE)},
        "new",
        url="HERE/%EF%BF%BD",
    ),
    page("to 60,000 letters", redirect("/" + "x" * 60_000), "permanent", "redirects to 'HERE/x{150,200}', which"),
    page(
        "two places",
        {"/": answer(b"", "302 Found", "Location: /a", "Location: /b"), "/a": answer(PAGE)},
        "absent",
        "HERE/a,%20/b: status 404",
    ),
    page(
        "with an endless body",
        {"/": endless(b"HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n", bytes(65_536)), "/a": answer(PAGE)},
        "new",
        url="HERE/a",
        hostile=15,
    ),
    page(
        "HTTPS to a plain port",
        {},
        "transient",
        "WRONG_VERSION_NUMBER|record layer",
        start="https://127.0.0.1:PORT/",
        greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ),
    page(
        "reset in the handshake", {}, "transient", "Connection reset", start="https://127.0.0.1:PORT/", greeting=reset()
    ),
    page("a certificate that nobody signed", answer(PAGE), "transient", "CERTIFICATE_VERIFY_FAILED", tls="unknown"),
    page(
        "from HTTPS to HTTP",
        {"/": redirect_to("http://127.0.0.1:PORT/a"), "/a": answer(PAGE)},
        "new",
        url="http://HERE/a",
        tls="trusted",
    ),
    page("HTTPS", answer(PAGE), "new", tls="trusted"),
]

PRIVATE = {
    "a private address": "10.1.2.3",
    "one of two addresses is private": "93.184.216.34, 169.254.169.254",
    "the address of anybody": "0.0.0.0",
    "shared by a provider": "100.64.0.1",
    "a group": "224.0.0.1",
    "loopback in IPv6": "::1",
    "loopback mapped to IPv6": "::ffff:127.0.0.1",
    "loopback by 6to4": "2002:7f00:1::",
    "metadata by NAT64": "64:ff9b::a9fe:a9fe",
    "loopback in the old form": "::7f00:1",
    "a site's own in IPv6": "fec0::1",
    "a link's own in IPv6": "fe80::1",
}
INWARDS = [
    *(
        page(
            name,
            {},
            "permanent",
            f"{ip.split(', ')[-1]} is a private address",
            policy=FOREIGN,
            start="http://site.test:PORT/",
            names={"site.test": (ip,)},
        )
        for name, ip in PRIVATE.items()
    ),
    *(
        page(
            f"loopback written {host}",
            {},
            "permanent",
            "127.0.0.1 is a private address",
            policy={"allow_private": False, "hosts": (host,)},
            start=f"http://{host}:PORT/",
        )
        for host in ("2130706433", "0x7f.1", "0177.0.0.1", "127.1")
    ),
    page(
        "a name that turns inwards",
        {"/": answer(b"", "302 Found", "Location: /a", "Connection: close"), "/a": answer(PAGE)},
        "permanent",
        "10.0.0.1 is a private address",
        policy=FOREIGN,
        start="http://site.test:PORT/",
        names={"site.test": ("127.0.0.1", "10.0.0.1")},
        constants={"wire.is_public": lambda ip: ip == "127.0.0.1"},
        asked=["/"],
    ),
    page(
        "the first address is dead",
        answer(PAGE),
        "new",
        policy={"hosts": ("site.test",)},
        start="http://site.test:PORT/",
        names={"site.test": ("127.0.0.2, 127.0.0.1",)},
    ),
]
