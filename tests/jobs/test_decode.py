from __future__ import annotations

import pytest

from jobs.text.decode import CODECS, LABELS, codec_of, decode

EURO = "Café “12 €”"


@pytest.mark.parametrize(
    ("data", "declared", "override", "wanted", "encoding"),
    [
        (EURO.encode("utf-8"), None, None, EURO, "utf-8"),
        (EURO.encode("cp1252"), None, None, EURO, "cp1252"),
        (EURO.encode("cp1252"), "iso-8859-1", None, EURO, "cp1252"),
        (EURO.encode("cp1252"), "US-ASCII", None, EURO, "cp1252"),
        (EURO.encode("utf-8-sig"), "iso-8859-1", None, EURO, "utf-8"),
        (EURO.encode("utf-16"), "utf-8", None, EURO, "utf-16-le"),
        (b"\xfe\xff" + EURO.encode("utf-16-be"), None, None, EURO, "utf-16-be"),
        (EURO.encode("utf-16-le"), "utf-16", None, EURO, "utf-16-le"),
        (EURO.encode("utf-8"), "no-such-thing", None, EURO, "utf-8"),
        (EURO.encode("utf-8"), "iso-8859-1", "utf-8", EURO, "utf-8"),
        ("海".encode("cp932"), "Shift_JIS", None, "海", "cp932"),
        ("①".encode("cp932"), "shift_jis", None, "①", "cp932"),
        ("海".encode("gb18030"), "gb2312", None, "海", "gb18030"),
        ("镕".encode("gb18030"), "GB2312", None, "镕", "gb18030"),
        ("똠".encode("cp949"), "euc-kr", None, "똠", "cp949"),
        ("мир".encode("cp1251"), "windows-1251", None, "мир", "cp1251"),
        ("мир".encode("koi8_r"), "KOI8-R", None, "мир", "koi8_r"),
    ],
)
def test_order_and_labels(data: bytes, declared: str | None, override: str | None, wanted: str, encoding: str) -> None:
    decoded = decode(data, declared, override)
    assert (decoded.text, decoded.encoding, decoded.bad) == (wanted, encoding, 0)


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b'<meta charset="windows-1251">', "cp1251"),
        (b"<META CHARSET=windows-1251>", "cp1251"),
        (b"<meta http-equiv=Content-Type content='text/html; charset=windows-1251'>", "cp1251"),
        (b'<?xml version="1.0" encoding="windows-1251"?><html>', "cp1251"),
        (b'<!-- <meta charset="koi8-r"> --><meta charset="windows-1251">', "cp1251"),
        (b'<meta charset="utf-16">', "utf-8"),
        (b'<meta charset="x-unknown">', "cp1252"),
        (b" " * 1024 + b'<meta charset="windows-1251">', "cp1252"),
        (b"<meta name=description content=none>", "cp1252"),
    ],
)
def test_what_a_page_says_of_itself(head: bytes, encoding: str) -> None:
    data = head + "<p>мир".encode("cp1251")
    assert decode(data).encoding == encoding


def test_http_beats_the_page() -> None:
    assert decode(b'<meta charset="koi8-r">' + "é".encode(), "utf-8").encoding == "utf-8"


def test_bad_bytes_are_counted() -> None:
    decoded = decode(b"a\xffb\xc3", "utf-8")
    assert decoded.text == "a\ufffdb\ufffd"
    assert decoded.bad == 2
    assert decode(b"").text == ""


def test_only_encodings_of_the_web() -> None:
    for label in ("zlib", "hex", "rot13", "idna", "unicode_escape", "utf-7", "base64", "undefined", ""):
        assert codec_of(label) is None
    for codec in CODECS:
        assert b"a".decode(codec, "replace") is not None  # it exists
    assert codec_of(" UTF-8 ") == LABELS["utf-8"]
