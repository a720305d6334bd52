"""Bytes of a page to UTF-8. Where several sources name an encoding, the order is that of browsers.

Labels mean what browsers take them to mean (WHATWG's Encoding Standard): who writes iso-8859-1 sends windows-1252.
Only encodings in the table are ever used: Python has codecs that unzip, and codecs that are no encodings.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
PRESCAN = 1024  # bytes in which a page must name its encoding
PIECE = 1 << 20  # bytes decoded at once
BAD = "\ufffd"

XML_DECLARATION = re.compile(rb"""\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']\s*([\w.:-]+)""")
COMMENT = re.compile(rb"<!--.*?(-->|$)", re.DOTALL)
META = re.compile(rb"<meta(?=[\s/])", re.IGNORECASE)
ATTRIBUTE = re.compile(rb"""[\s/]*([^\s/>=][^\s/>=]*)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>][^\s>]*)))?""")
CHARSET = re.compile(rb"""\bcharset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)

_ISO_8859_1 = "iso-8859-1 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 iso-ir-100 csisolatin1 latin1 l1 cp819 ibm819"
CODECS = {
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
    "utf-16-le": "utf-16 utf-16le unicode ucs-2 csunicode iso-10646-ucs-2 unicodefeff",
    "utf-16-be": "utf-16be unicodefffe",
    "cp1252": f"windows-1252 cp1252 x-cp1252 ascii us-ascii ansi_x3.4-1968 x-user-defined {_ISO_8859_1}",
    "cp1250": "windows-1250 cp1250 x-cp1250",
    "cp1251": "windows-1251 cp1251 x-cp1251",
    "cp1253": "windows-1253 cp1253 x-cp1253",
    "cp1254": "windows-1254 cp1254 x-cp1254 iso-8859-9 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 iso-ir-148"
    " csisolatin5 latin5 l5",
    "cp1255": "windows-1255 cp1255 x-cp1255",
    "cp1256": "windows-1256 cp1256 x-cp1256",
    "cp1257": "windows-1257 cp1257 x-cp1257",
    "cp1258": "windows-1258 cp1258 x-cp1258",
    "cp874": "windows-874 dos-874 tis-620 iso-8859-11 iso8859-11 iso885911",
    "cp866": "ibm866 cp866 866 csibm866",
    "koi8_r": "koi8-r koi8 koi8_r koi cskoi8r",
    "koi8_u": "koi8-u koi8-ru",
    "mac_roman": "macintosh mac x-mac-roman csmacintosh",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": "gb18030 gbk x-gbk gb2312 gb_2312 gb_2312-80 chinese csgb2312 csiso58gb231280 iso-ir-58 euc-cn",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji ms932 windows-31j csshiftjis",
    "euc_jp": "euc-jp x-euc-jp cseucpkdfmtjapanese",
    "iso2022_jp": "iso-2022-jp csiso2022jp",
    "cp949": "euc-kr cseuckr korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 csksc56011987 iso-ir-149 windows-949"
    " cp949",
    "iso8859_2": "iso_8859-2:1987 iso-ir-101 csisolatin2 latin2 l2",
    "iso8859_3": "iso_8859-3:1988 iso-ir-109 csisolatin3 latin3 l3",
    "iso8859_4": "iso_8859-4:1988 iso-ir-110 csisolatin4 latin4 l4",
    "iso8859_5": "iso_8859-5:1988 iso-ir-144 csisolatincyrillic cyrillic",
    "iso8859_6": "iso_8859-6:1987 iso-ir-127 csisolatinarabic arabic asmo-708 ecma-114 iso-8859-6-e iso-8859-6-i"
    " csiso88596e csiso88596i",
    "iso8859_7": "iso_8859-7:1987 iso-ir-126 csisolatingreek greek greek8 ecma-118 elot_928 sun_eu_greek",
    "iso8859_8": "iso_8859-8:1988 iso-ir-138 csisolatinhebrew hebrew visual logical iso-8859-8-e iso-8859-8-i"
    " csiso88598e csiso88598i",
    "iso8859_10": "iso-ir-157 csisolatin6 latin6 l6",
    "iso8859_13": "",
    "iso8859_14": "",
    "iso8859_15": "csisolatin9 latin9 l9",
    "iso8859_16": "",
}
LABELS = {label: codec for codec, labels in CODECS.items() for label in labels.split()} | {
    f"{iso}{number}": f"iso8859_{number}"
    for iso in ("iso-8859-", "iso8859-", "iso8859", "iso_8859-")
    for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)
}
# What browsers read under the same label, and Python keeps in another codec: ① in EUC-JP, € in Big5.
WIDER = {"euc_jp": "euc_jis_2004", "big5hkscs": "cp950"}


@dataclass(frozen=True)
class Decoded:
    """`utf8` is the text in UTF-8. `bad` counts the bytes (or sequences) that were none in `encoding`: U+FFFD there."""

    utf8: bytes
    encoding: str
    bad: int

    @property
    def text(self) -> str:
        return self.utf8.decode()


def codec_of(label: str | None) -> str | None:
    """The codec that an encoding's label stands for, None for one nobody knows."""
    return LABELS.get((label or "").strip().lower())


def decode(data: bytes, declared: str | None = None, override: str | None = None) -> Decoded:
    """By `override` (the site's config), byte order mark, `declared` (HTTP's charset), the page's own
    declaration, valid UTF-8, windows-1252."""
    mark, marked = next(((mark, codec) for mark, codec in BOMS if data.startswith(mark)), (b"", None))
    said = codec_of(override) or marked or codec_of(declared) or _own(data)
    body = data.removeprefix(mark)
    for codec in (said, WIDER.get(said)) if said else ("utf-8", "cp1252"):
        if codec:
            with suppress(UnicodeDecodeError):
                return Decoded(_utf8(body, codec, "strict"), said or codec, 0)
    said = said or "cp1252"
    utf8 = _utf8(body, said, "replace")
    honest = body.count(BAD.encode()) if said == "utf-8" else 0  # U+FFFD that was there
    return Decoded(utf8, said, utf8.count(BAD.encode()) - honest)


def _utf8(data: bytes, codec: str, errors: str) -> bytes:
    """The same text in UTF-8: the very same bytes, mostly."""
    if codec == "utf-8" and errors == "strict":
        for _ in _decoded(data, codec, errors):
            pass
        return data
    return b"".join(text.encode() for text in _decoded(data, codec, errors))


def _decoded(data: bytes, codec: str, errors: str) -> Iterator[str]:
    """The text in pieces: with one emoji in them, twenty megabytes of ASCII would be a string of eighty."""
    decoder = codecs.getincrementaldecoder(codec)(errors)
    view = memoryview(data)
    for start in range(0, len(data) or 1, PIECE):
        yield decoder.decode(view[start : start + PIECE], start + PIECE >= len(data))


def _own(data: bytes) -> str | None:
    """What the page says of itself. It was read as ASCII, so it cannot be UTF-16, whatever it says."""
    head = data[:PRESCAN]
    declaration = XML_DECLARATION.match(head)
    labels = [declaration[1]] if declaration else []
    head = COMMENT.sub(b"", head)
    labels += filter(None, (_meta_label(head, meta.end()) for meta in META.finditer(head)))
    codec = next(filter(None, (codec_of(label.decode("ascii", "replace")) for label in labels)), None)
    return "utf-8" if codec in ("utf-16-le", "utf-16-be") else codec


def _meta_label(head: bytes, at: int) -> bytes | None:
    """The label in a <meta charset=L> or <meta http-equiv=content-type content="...; charset=L">."""
    found: dict[bytes, bytes] = {}
    while match := ATTRIBUTE.match(head, at):
        found.setdefault(match[1].lower(), match[2] or match[3] or match[4] or b"")
        at = match.end()
    if not head[at:].lstrip(b" \t\r\n\f/").startswith(b">"):
        return None  # cut off: half a label may be another one
    if b"charset" in found:
        return found[b"charset"].strip()
    if found.get(b"http-equiv", b"").strip().lower() == b"content-type" and b"content" in found:
        match = CHARSET.search(found[b"content"])
        return match[1] if match else None
    return None
