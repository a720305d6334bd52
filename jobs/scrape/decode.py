"""Bytes of a page to text. Where several sources name an encoding, the order is that of browsers.

Labels mean what browsers take them to mean (WHATWG's Encoding Standard): who writes iso-8859-1 sends windows-1252.
Only encodings in the table are ever used: Python has codecs that unzip, and codecs that are no encodings.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
PRESCAN = 1024  # bytes in which a page must name its encoding
XML_DECLARATION = re.compile(rb"""\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']\s*([\w.:-]+)""")
META = re.compile(rb"""<meta\b[^>]*?\bcharset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
COMMENT = re.compile(rb"<!--.*?(-->|$)", re.DOTALL)

CODECS = {
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8 x-unicode20utf8",
    "utf-16-le": "utf-16 utf-16le unicode ucs-2 csunicode iso-10646-ucs-2 unicodefeff",
    "utf-16-be": "utf-16be unicodefffe",
    "cp1252": "windows-1252 cp1252 x-cp1252 iso-8859-1 iso8859-1 iso_8859-1 iso88591 latin1 l1 ascii us-ascii",
    "cp1250": "windows-1250 cp1250 x-cp1250",
    "cp1251": "windows-1251 cp1251 x-cp1251",
    "cp1253": "windows-1253 cp1253 x-cp1253",
    "cp1254": "windows-1254 cp1254 x-cp1254 iso-8859-9 iso8859-9 iso_8859-9 iso88599 latin5 l5",
    "cp1255": "windows-1255 cp1255 x-cp1255",
    "cp1256": "windows-1256 cp1256 x-cp1256",
    "cp1257": "windows-1257 cp1257 x-cp1257",
    "cp1258": "windows-1258 cp1258 x-cp1258",
    "cp874": "windows-874 dos-874 tis-620 iso-8859-11 iso8859-11",
    "cp866": "ibm866 cp866 866 csibm866",
    "koi8_r": "koi8-r koi8 koi8_r koi",
    "koi8_u": "koi8-u koi8-ru",
    "mac_roman": "macintosh mac x-mac-roman",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": "gb18030 gbk gb2312 gb_2312 gb_2312-80 x-gbk chinese csgb2312 euc-cn",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji ms932 windows-31j csshiftjis",
    "euc_jp": "euc-jp x-euc-jp",
    "iso2022_jp": "iso-2022-jp csiso2022jp",
    "cp949": "euc-kr ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 korean windows-949 cp949",
    **{f"iso8859_{n}": f"iso-8859-{n} iso8859-{n} iso_8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
}
LABELS = {label: codec for codec, labels in CODECS.items() for label in labels.split()}
LABELS |= {"latin2": "iso8859_2", "l2": "iso8859_2", "latin9": "iso8859_15", "l9": "iso8859_15"}


@dataclass(frozen=True)
class Decoded:
    """`bad` counts the bytes (or sequences) that were none in this encoding; each is U+FFFD in `text`."""

    text: str
    encoding: str
    bad: int


def codec_of(label: str | None) -> str | None:
    """The codec that an encoding's label stands for, None for one nobody knows."""
    return LABELS.get((label or "").strip().lower())


def decode(data: bytes, declared: str | None = None, override: str | None = None) -> Decoded:
    """By `override` (the site's config), byte order mark, `declared` (HTTP's charset), the page's own
    declaration, valid UTF-8, windows-1252."""
    marked = next(((mark, codec) for mark, codec in BOMS if data.startswith(mark)), (b"", None))
    codec = codec_of(override) or marked[1] or codec_of(declared) or _own(data)
    body = data.removeprefix(marked[0])
    if codec is None:
        try:
            return Decoded(body.decode("utf-8"), "utf-8", 0)
        except UnicodeDecodeError:
            codec = "cp1252"
    text = body.decode(codec, "replace")
    return Decoded(text, codec, text.count("\ufffd"))


def _own(data: bytes) -> str | None:
    """What the page says of itself. It was read as ASCII, so it cannot be UTF-16, whatever it says."""
    head = data[:PRESCAN]
    match = XML_DECLARATION.match(head) or META.search(COMMENT.sub(b"", head))
    codec = codec_of(match[1].decode("ascii", "replace")) if match else None
    return "utf-8" if codec in ("utf-16-le", "utf-16-be") else codec
