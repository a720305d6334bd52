"""What one sitemap file says: XML of four kinds, or plain text; what it is, its content decides.

Read as a stream, by a parser that keeps nothing: no tree, no names. What would have to be kept (a tag that does not
end, declarations of entities, tags within tags within tags) makes a file no sitemap: a tree of 50 MB takes 1.4 GB.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import IO
from xml.parsers import expat

from jobs.text.decode import XML_DECLARATION, codec_of

Entry = tuple[bool, str, str]  # is a sitemap, location, lastmod

ROOTS = {"urlset": "url", "sitemapindex": "sitemap", "rss": "item", "RDF": "item", "feed": "entry"}
FIELDS = ("loc", "link", "lastmod", "updated", "pubDate")
XML_STARTS = (b"<", b"\xff\xfe", b"\xfe\xff")
HTML_START = re.compile(rb"<(!doctype\s+)?html\b", re.IGNORECASE)
BY_EXPAT = (None, "utf-8", "utf-16-le", "utf-16-be")  # encodings that it can tell by itself
PIECE = 65_536  # bytes
TOKEN = 500_000  # bytes of one tag or comment, which the parser holds until it ends
NESTED = 100  # tags within tags
NAMES = 10_000  # of tags and attributes, which it remembers
TEXT = 10_000  # letters of one field; more than any address that is used


class NoSitemap(ValueError):
    """The file is none."""


class IsPage(NoSitemap):
    """It is HTML, as what stands for a page that is not there often is."""


def entries(file: IO[bytes], url: str) -> Iterator[Entry]:
    """All of them, as written. Raises NoSitemap, also when the XML breaks off."""
    head = file.read(1000)
    start = len(head) - len(head.lstrip(b"\xef\xbb\xbf \t\r\n"))  # XML allows nothing before its declaration
    file.seek(start)
    head = head[start:]
    if not head:
        raise NoSitemap(f"{url}: an empty file")
    if HTML_START.match(head):
        raise IsPage(f"{url}: HTML, no sitemap (the address of a site ends in /)")
    if not head.startswith(XML_STARTS):
        return _text_entries(file, url)
    declared = XML_DECLARATION.match(head)
    return _xml_entries(file, url, codec_of(declared[1].decode("ascii", "replace")) if declared else None)


def _text_entries(file: IO[bytes], url: str) -> Iterator[Entry]:
    """One address a line. A file whose first line is none is something else."""
    for number, line in enumerate(iter(lambda: file.readline(PIECE), b"")):
        text = line[:TEXT].decode("utf-8", "replace").strip()
        if number == 0 and not text.lower().startswith(("http://", "https://")):
            raise NoSitemap(f"{url}: neither XML nor a list of addresses")
        if text:
            yield False, text, ""


def _xml_entries(file: IO[bytes], url: str, codec: str | None) -> Iterator[Entry]:
    reader = _Reader(url)
    recoded = None if codec in BY_EXPAT else codecs.getincrementaldecoder(codec)()
    names: dict[str, str] = {}
    parser = reader.parser("utf-8" if recoded else None, names)
    fed = 0
    try:
        while piece := file.read(PIECE):
            data = recoded.decode(piece).encode() if recoded else piece
            fed += len(data)
            parser.Parse(data, False)
            if fed - parser.CurrentByteIndex > TOKEN:
                raise NoSitemap(f"{url}: a tag of more than {TOKEN} bytes")
            if len(names) > NAMES:
                raise NoSitemap(f"{url}: more than {NAMES} names of tags")
            yield from reader.taken()
        parser.Parse(b"", True)
        yield from reader.taken()
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: of an encoding that is none
        yield from reader.taken()
        raise error if isinstance(error, NoSitemap) else NoSitemap(f"{url}: not well-formed: {error}") from error


class _Reader:
    """Puts entries together from tags and text as they come.

    Only children with the entry's own prefix count: an image's loc is no page.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._found: list[Entry] = []
        self._depth = 0
        self._root = ""
        self._within = 0  # the depth of the entry that is open
        self._prefix = ""
        self._loc = self._lastmod = self._field = self._href = ""
        self._text: list[str] | None = None  # of the field that is open; None: there is none, or it is no plain text
        self._letters = 0

    def parser(self, encoding: str | None, names: dict[str, str]) -> expat.XMLParserType:
        parser = expat.ParserCreate(encoding, None, names)
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add
        parser.SkippedEntityHandler = self._skipped
        return parser

    def taken(self) -> list[Entry]:
        """The entries that came to their end since this was last called."""
        found, self._found = self._found, []
        return found

    def _doctype(self, name: str, system: str | None, public: str | None, declares: bool) -> None:
        if declares:
            raise NoSitemap(f"{self._url}: declares entities or the like, which no sitemap needs")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        prefix, _, name = tag.rpartition(":")
        if self._depth == 1:
            if name not in ROOTS:
                raise NoSitemap(f"{self._url}: <{name[:100]}> begins no sitemap")
            self._root = name
        elif self._depth > NESTED:
            raise NoSitemap(f"{self._url}: more than {NESTED} tags within one another")
        elif not self._within and name == ROOTS[self._root]:
            self._within, self._prefix = self._depth, prefix
            self._loc = self._lastmod = ""
        elif self._within and self._depth == self._within + 1:
            self._field = name if prefix == self._prefix and name in FIELDS else ""
            self._text, self._letters = [], 0
            is_it = attributes.get("rel", "alternate") == "alternate"
            self._href = attributes.get("href", "").strip()[:TEXT] if is_it else ""
        else:
            self._text = None  # a tag within a field: a part of it would be another address

    def _add(self, text: str) -> None:
        if self._text is not None and self._letters < TEXT:
            self._text.append(text)
            self._letters += len(text)

    def _skipped(self, name: str, is_parameter: bool) -> None:
        self._text = None

    def _end(self, tag: str) -> None:
        if self._within and self._depth == self._within + 1:
            self._take(" ".join("".join(self._text or ()).split()))
            self._text = None
        elif self._depth == self._within:
            self._found.append((self._root == "sitemapindex", self._loc, self._lastmod))
            self._within = 0
        self._depth -= 1

    def _take(self, text: str) -> None:
        if self._field == "loc":
            self._loc = text
        elif self._field == "link":
            self._loc = self._loc or text or self._href
        elif self._field:
            self._lastmod = text[:64]
