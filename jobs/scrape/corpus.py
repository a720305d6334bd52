"""The texts of the sites, as phrases for a language model: one row a text block, none of it twice.

    SiteCorpus      all texts of one site -> data/SITE/corpus.jsonl: {"url": ..., "text": ...} a line
    MergeCorpus     these of all sites -> data/corpus.jsonl, each row with its "site"
    WriteParquet    a .jsonl of these -> the same rows as Parquet

What is left out, and why, is counted in each task's value; fingerprints.py tells what is a duplicate. No page is held
in memory, and neither numpy nor pyarrow is imported before a task runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path
from typing import Any

import msgspec

from runner import Input, Output, Task

COLUMNS = ("url", "text")
MERGED_COLUMNS = ("site", *COLUMNS)
BATCH = 1 << 22  # characters of rows held at once, for Parquet
ROW = 300  # what a row takes besides
SOON = 3  # priority: a site that is complete does not wait for the pages of others


class Row(msgspec.Struct):
    """A line of a site's corpus."""

    url: str
    text: str


_lines = msgspec.json.Encoder().encode_lines
_row = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True)
class SiteCorpus(Task):
    """The rows of one site, by URL: no blank lines, no boilerplate, no exact and, across pages, no near duplicates."""

    version = 1  # bump it when other lines are left out
    priority = SOON
    trigger_rule = "all_done"  # a page that failed tonight is no reason to do without all others

    output_filepath: Output
    # Beside each text its sidecar, which tells the URL. That is no Input: it changes with each byte of the page, but
    # the URL never does, for the file's name is made from it.
    texts: list[Input]

    def run(self) -> dict[str, Any]:
        from jobs.scrape.fingerprints import Fingerprints, Verdict, counted

        pages = sorted((_url(text), text) for text in self.texts)
        with Fingerprints(self.output_filepath.parent) as fingerprints:
            for _, text in pages:
                fingerprints.add(_blocks(text))
            verdicts = fingerprints.verdicts(boilerplate=True)
        kept, seen = map(Verdict.KEPT.__eq__, verdicts), 0
        with self.output_filepath.open("wb") as file:
            for url, text in pages:
                blocks = _blocks(text)
                file.write(_lines([Row(url, block) for block in compress(blocks, islice(kept, len(blocks)))]))
                seen += len(blocks)
        if seen != len(verdicts):
            raise ValueError("a text has changed while it was read: run again")
        return {"pages": len(pages)} | counted(verdicts)


@dataclass(frozen=True)
class MergeCorpus(Task):
    """The rows of all sites, by site: no exact and, across sites, no near duplicates."""

    version = 1
    priority = SOON
    trigger_rule = "all_done"

    output_filepath: Output
    corpora: list[Input]  # a site's name is that of the folder

    def run(self) -> dict[str, Any]:
        from jobs.scrape.fingerprints import Fingerprints, Verdict, counted

        corpora = sorted(self.corpora, key=lambda corpus: (corpus.parent.name, corpus))
        if len(corpora) == 1:  # it says nothing twice
            _write(self.output_filepath, _lines_with_site(corpora))
            return {"sites": 1}
        with Fingerprints(self.output_filepath.parent) as fingerprints:
            for corpus in corpora:
                fingerprints.add(row["text"] for row in _rows(corpus))
            verdicts = fingerprints.verdicts(boilerplate=False)
        kept = map(Verdict.KEPT.__eq__, verdicts)
        _write(self.output_filepath, compress(_lines_with_site(corpora), kept))
        return {"sites": len(corpora)} | counted(verdicts)


@dataclass(frozen=True)
class WriteParquet(Task):
    """The rows of a corpus as Parquet, the same bytes for the same rows."""

    version = 1
    priority = SOON

    input_filepath: Input
    output_filepath: Output
    columns: tuple[str, ...] = COLUMNS  # of an empty corpus, which tells none

    def run(self) -> dict[str, Any]:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet

        rows = _rows(self.input_filepath)
        batch = _batch(rows)
        columns = (*batch[0],) if batch else self.columns
        schema = pyarrow.schema([(column, pyarrow.string()) for column in columns])
        count = 0
        with parquet.ParquetWriter(self.output_filepath, schema) as writer:
            while batch:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                count += len(batch)
                batch = _batch(rows)
        return {"rows": count}


# ----------------------------------------------------------------------------------------------------------- files


def _url(text: Path) -> str:
    sidecar = text.with_suffix(".json")
    try:
        url = json.loads(sidecar.read_bytes())["url"]
    except FileNotFoundError:
        raise ValueError(f"{sidecar}: not there, but {text.name} is: delete that too, and run again") from None
    except (ValueError, LookupError, TypeError):
        url = None
    if not isinstance(url, str):
        raise ValueError(f'{sidecar}: not JSON with a "url": delete it, and run again')
    return url


def _blocks(text: Path) -> list[str]:
    try:
        lines = text.read_bytes().decode().split("\n")  # not splitlines(): a block may hold what ends a line elsewhere
    except UnicodeDecodeError as error:
        raise ValueError(f"{text}: not UTF-8 at byte {error.start}: delete it, and run again") from None
    return lines if lines[-1] else lines[:-1]


def _rows(corpus: Path) -> Iterator[dict[str, str]]:
    return (row for _, row in _read(corpus))


def _lines_with_site(corpora: Iterable[Path]) -> Iterator[bytes]:
    """The rows of the sites as they are written, each with its site in front."""
    for corpus in corpora:
        site = b'{"site":' + msgspec.json.encode(corpus.parent.name) + b","
        yield from (site + line[1:] for line, _ in _read(corpus))


def _read(corpus: Path) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Each line of a corpus, and the row that it is."""
    columns: tuple[str, ...] = ()
    with corpus.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = _row(line)
                if not columns and row.keys() >= {*COLUMNS}:
                    columns = (*row,)
                good = (*row,) == columns != ()
            except ValueError:
                good = False
            if not good:
                raise ValueError(f'{corpus}:{number}: not a row {{"url": ..., "text": ...}}: delete it, and run again')
            yield line, row


def _batch(rows: Iterator[dict[str, str]]) -> list[dict[str, str]]:
    """The next rows, as many as may be held at once."""
    batch: list[dict[str, str]] = []
    size = 0
    while size < BATCH and (row := next(rows, None)):
        batch.append(row)
        size += ROW + sum(map(len, row.values()))
    return batch


def _write(path: Path, lines: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(lines)
