"""The corpus: what is left out and what is not, by the words of the rule, written here once more and plainly."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

import runner
from jobs.scrape import corpus as corpus_module
from jobs.scrape import fingerprints
from jobs.scrape.corpus import COLUMNS, MERGED_COLUMNS, MergeCorpus, SiteCorpus, WriteParquet
from runner import Absent, Output, Task

UNSPACED = ("CJK ", "HIRAGANA", "KATAKANA", "THAI ")
ADDRESS = "https://a.example/"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ----------------------------------------------------------------------------------------------- the rule, plainly


def words(line: str) -> list[str]:
    found = [""]
    for char in unicodedata.normalize("NFKC", line).casefold().replace("\xad", ""):
        kind = unicodedata.category(char)
        if kind[0] not in "LMN":
            found.append("")
        elif unicodedata.name(char, "").startswith(UNSPACED):
            found += [char, ""]
        else:
            found[-1] += "0" if kind == "Nd" else char
    return [word for word in found if word]


def similarity(one: str, two: str) -> float:
    """Jaccard, of the sets of three words; 0 for blocks that are too short to be near duplicates."""
    if min(len(words(one)), len(words(two))) < 8:
        return 0
    sets = [{*zip(found, found[1:], found[2:], strict=False)} for found in (words(one), words(two))]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


# -------------------------------------------------------------------------------------------------------- the files


def write(pages: dict[str, list[str]], site: str = "s") -> list[Path]:
    """Texts and their sidecars, as ParsePage makes them. A page's URL ends in its name."""
    texts = []
    for name, lines in pages.items():
        text = Path("data", site, "text", f"{name}.txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_bytes("".join(f"{line}\n" for line in lines).encode())
        text.with_suffix(".json").write_text(json.dumps({"url": f"{ADDRESS}{name}", "raw_sha256": "0"}))
        texts.append(text)
    return texts


def rows_of(path: Path) -> list[dict[str, str]]:
    lines = path.read_bytes().decode().split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]


def corpus_of(pages: dict[str, list[str]], site: str = "s") -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The rows, and the value."""
    path = Path("data", site, "corpus.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    value = SiteCorpus(path, write(pages, site)).run()
    return rows_of(path), value


def texts_of(*pages: list[str]) -> list[str]:
    rows, _ = corpus_of({f"{number:04}": lines for number, lines in enumerate(pages)})
    return [row["text"] for row in rows]


def names(count: int, seed: int = 1) -> list[str]:
    """Words that are no one else's."""
    chance = random.Random(seed)
    return ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(count)]


# ------------------------------------------------------------------------------------------------------------- rows


def test_rows(folder: Path) -> None:
    rows, value = corpus_of({"b": ["One.", "", "    two(x)\t", "é \u2028 \x85 “q” \\"], "a": ["Three", "one!"]})
    assert rows == [
        {"url": f"{ADDRESS}a", "text": "Three"},
        {"url": f"{ADDRESS}a", "text": "one!"},
        {"url": f"{ADDRESS}b", "text": "    two(x)\t"},
        {"url": f"{ADDRESS}b", "text": "é \u2028 \x85 “q” \\"},
    ]
    assert value == {
        "pages": 2,
        "rows": 4,
        "left_out": {"blank": 1, "boilerplate": 0, "exact_duplicate": 1, "near_duplicate": 0},
    }
    lines = Path("data/s/corpus.jsonl").read_bytes().decode().split("\n")
    assert lines[0] == '{"url":"https://a.example/a","text":"Three"}'
    assert lines[3] == '{"url":"https://a.example/b","text":"é \u2028 \x85 “q” \\\\"}'
    assert sorted(os.listdir("data/s")) == ["corpus.jsonl", "text"]


@pytest.mark.parametrize("pages", [{}, {"a": []}, {"a": [""], "b": ["", " ", "\t"]}, {"a": ["---", "=> }", "…"]}])
def test_no_rows(pages: dict[str, list[str]], folder: Path) -> None:
    rows, value = corpus_of(pages)
    assert rows == []
    assert (value["pages"], value["rows"]) == (len(pages), 0)
    assert value["left_out"]["blank"] == sum(map(len, pages.values()))


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_the_end_of_a_text(end: str, folder: Path) -> None:
    (text,) = write({"a": []})
    text.write_text(f"one\ntwo{end}")
    value = SiteCorpus(Path("data/s/corpus.jsonl"), [text]).run()
    assert value["rows"] == 2
    assert value["left_out"]["blank"] == end.count("\n") // 2


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Hello, World!", "hello  world"),
        ("ﬁne ＡＢＣ", "fine abc"),
        ("Straße", "STRASSE"),
        ("Version 3.11 of 2024", "version 1.25 (of 2025)"),
        ("٣ apples", "7 apples"),
        ("cafe\u0301", "café"),
        ("Donau\xaddampf", "Donaudampf"),
        ("snake_case", "snake case"),
        ("第１章、海。", "第2章 海"),
        ("don’t", "don't"),
        ("a\xa0b", "a b"),
        ("Python入門abc", "python 入門 ABC"),
    ],
)
def test_the_same_words(one: str, two: str, folder: Path) -> None:
    assert words(one) == words(two)
    assert texts_of([one], [two]) == [one]
    assert texts_of([two, one]) == [two]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("a b", "ab"),
        ("a b", "b a"),
        ("b a b", "a b b"),
        ("3 apples", "12 apples"),
        ("कि", "की"),  # marks are no punctuation
        ("ab", "ba"),
        ("x", "xx"),
        ("a", "b"),
        ("cafe", "café"),
        ("海の", "のの海"),
        ("ก", "กา"),
    ],
)
def test_other_words(one: str, two: str, folder: Path) -> None:
    assert words(one) != words(two)
    assert texts_of([one], [two]) == [one, two]


@pytest.mark.parametrize(
    ("pages", "on", "goes"),
    [
        (10, 3, False),
        (10, 4, True),
        (20, 6, False),
        (20, 7, True),
        (11, 4, True),
        (1000, 300, False),
        (1000, 301, True),
        (1, 1, False),
        (2, 2, False),
        (3, 2, False),
        (3, 3, True),
        (6, 2, False),
        (9, 3, True),
    ],
)
def test_boilerplate(pages: int, on: int, goes: bool, folder: Path) -> None:
    own = names(pages)
    every = {f"{n:04}": [own[n], *["Skip to: Content", "skip to content"] * (n < on)] for n in range(pages)}
    rows, value = corpus_of(every)
    assert [row["text"] for row in rows if row["text"] not in own] == [] if goes else ["Skip to: Content"]
    assert len(rows) == pages + (not goes)
    assert value["left_out"]["boilerplate" if goes else "exact_duplicate"] == on * 2 - (not goes)


def test_pages_without_text_count_as_pages(folder: Path) -> None:
    assert texts_of(["x"], ["x"], ["x"], *[[]] * 7) == ["x"]
    assert texts_of(["x"], ["x"], ["x"], *[[]] * 6) == []


# -------------------------------------------------------------------------------------------------- near duplicates


def test_near_duplicates_go_across_pages_and_not_within(folder: Path) -> None:
    one, two = " ".join(names(40)), " ".join([*names(40)[:39], "other"])
    assert 0.8 <= similarity(one, two) < 1
    assert texts_of([one], [two]) == [one]
    assert texts_of([two], [one]) == [two]
    assert texts_of([one, two]) == [one, two]
    assert texts_of([one, two], [two.upper()], [f"{one} more"]) == [one, two]


def test_short_blocks_are_no_near_duplicates(folder: Path) -> None:
    eight = names(8)
    twice = " ".join([*eight, *eight[:6]])
    assert similarity(twice, " ".join([*eight, *eight[:5]])) == 1.0, "the same shingles, one of them once more"
    assert texts_of([twice], [" ".join([*eight, *eight[:5]])]) == [twice]
    seven = "a a a a a a a"
    assert texts_of([seven], [f"{seven} a"], [f"{seven} a a"]) == [seven, f"{seven} a"]


@pytest.mark.parametrize(("shared", "goes"), [(8, True), (7, False)])
def test_the_border(shared: int, goes: bool, folder: Path) -> None:
    """Of ten shingles, eight are common to both."""
    base = names(12)
    one = [*base[: shared + 2], *["x", "y"][: 10 - shared]]
    two = base[: shared + 2]
    found = similarity(" ".join(one), " ".join(two))
    assert found == shared / (shared + len(one) - len(two))
    assert (found >= 0.8) == goes
    # One pair may lie in no common bucket; a hundred do not.
    gone = 0
    for seed in range(100):
        other = dict(zip(base, names(12, seed), strict=True))
        pair = [" ".join(other.get(word, word) for word in block) for block in (one, two)]
        gone += len(texts_of([pair[0]], [pair[1]])) == 1
    assert gone > 90 if goes else gone == 0


def test_in_scripts_without_spaces_a_character_is_a_word(folder: Path) -> None:
    one = "灯台の守り人は、毎晩ランプに火をともし、暗い海を静かに見ています。嵐の夜も雪の朝も同じように。"
    two = "港の市場では、朝早くから漁師たちが集まり、その日の魚を並べて大きな声で売っています。"
    near = one.replace("。嵐", "！ 嵐").replace("静か", "静穏")
    far = one.replace("暗い海", "青い空")
    assert similarity(one, two) < 0.1 < similarity(one, far) < 0.8 <= similarity(one, near) < 1
    assert texts_of([one], [near, two]) == [one, two]
    assert texts_of([one], [far, two]) == [one, far, two]
    thai = "ผู้ดูแลประภาคารจุดตะเกียงทุกคืนและเฝ้ามองทะเลอันมืดมิดอย่างเงียบงัน"
    assert similarity(thai, thai[:-1]) >= 0.8
    assert texts_of([thai], [thai[:-1]]) == [thai]


def variants(chance: random.Random, vocabulary: list[str], joint: str) -> Iterable[list[str]]:
    """Blocks, and each once more with a word or some changed, put in or left out."""
    for _ in range(400):
        block = chance.choices(vocabulary, k=chance.randint(8, 60))
        yield [joint.join(block)]
        other = list(block)
        for _ in range(chance.choice([1, 1, 1, 2, 3, 5])):
            at = chance.randrange(len(other))
            other[at : at + chance.randint(0, 1)] = chance.choices(vocabulary, k=chance.randint(0, 2))
        yield [joint.join(other)]


@pytest.mark.parametrize("script", ["latin", "han"])
def test_precision_and_recall(script: str, folder: Path) -> None:
    """Against the similarity of all pairs: nothing goes without reason, and of those with a reason nearly all go."""
    chance = random.Random(os.environ["RUNNER_TEST_SEED"])
    han = [chr(0x4E00 + number) for number in range(2000)]
    pages = list(variants(chance, names(2000) if script == "latin" else han, " " if script == "latin" else ""))
    rows, value = corpus_of({f"{number:03}": lines for number, lines in enumerate(pages)})
    kept = {int(row["url"][-3:]) for row in rows}
    by_shingle: dict[tuple[str, ...], list[int]] = defaultdict(list)
    reasons: dict[int, list[int]] = defaultdict(list)  # block -> earlier ones that it is similar to
    for number, (block,) in enumerate(pages):
        found = words(block)
        shingles = {*zip(found, found[1:], found[2:], strict=False)}
        for other in sorted({other for shingle in shingles for other in by_shingle[shingle]}):
            if similarity(block, pages[other][0]) >= 0.8 or found == words(pages[other][0]):
                reasons[number].append(other)
        for shingle in shingles:
            by_shingle[shingle].append(number)
    gone = {*range(len(pages))} - kept
    assert all(kept.intersection(reasons[number]) for number in gone), "precision: each goes for one that stays"
    missed = [number for number in kept if kept.intersection(reasons[number])]
    assert len(gone) > 100
    assert len(missed) <= 0.03 * len(gone), "recall"
    assert value["left_out"]["near_duplicate"] + value["left_out"]["exact_duplicate"] == len(gone)


def test_one_thing_said_in_many_ways(folder: Path) -> None:
    """Buckets with more in them than is compared, and chains of blocks that are gone."""
    base = " ".join(names(30))
    alike = [[f"{base} {name}"] for name in names(300, 2)]
    assert texts_of(*alike) == alike[0]
    own = iter(names(1800, 3))
    crowded = [base.split() for _ in range(600)]
    for block in crowded:
        block[5], block[15], block[25] = next(own), next(own), next(own)
    pages = [[" ".join(block)] for block in crowded]
    assert 0.5 < similarity(*pages[0], *pages[1]) < 0.6
    kept = texts_of(*pages, *[[f"{page[0]} end"] for page in pages])
    assert kept[:600] == [page[0] for page in pages]
    assert len(kept) <= 600 + 6, "the second time, each finds its own first"


# ------------------------------------------------------------------------------------------------------- properties

PIECES = st.sampled_from(
    ["Sea", "sea", "the", "THE", "lamp", "ｌａｍｐ", "7", "12", "海", "を", "é", "e\u0301", "-", "कि", "“x”"]
)
LINES = st.lists(PIECES, max_size=14).map(" ".join) | st.text(
    st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=12
)
PAGES = st.lists(st.lists(LINES, max_size=6), max_size=7)


@settings(max_examples=150, deadline=None)
@given(pages=PAGES, chance=st.randoms(use_true_random=False), chunk=st.sampled_from([1, 40, 1 << 19]))
def test_properties(pages: list[list[str]], chance: random.Random, chunk: int) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        named = {f"{number:03}": lines for number, lines in enumerate(pages)}
        rows, value = corpus_of(named)
        data = Path("data/s/corpus.jsonl").read_bytes()

        shuffled = write(named)
        chance.shuffle(shuffled)
        patch.setattr(fingerprints, "CHUNK", chunk)
        again = SiteCorpus(Path("data/s/again.jsonl"), shuffled).run()
        assert (Path("data/s/again.jsonl").read_bytes(), again) == (data, value), "in whatever order, and cut anywhere"

    lines = [(f"{ADDRESS}{name}", line) for name, page in named.items() for line in page]
    spread = Counter(form for page in pages for form in {tuple(words(line)) for line in page})
    kept: list[tuple[str, str]] = []
    left = iter((row["url"], row["text"]) for row in rows)
    upcoming = next(left, None)
    seen: set[tuple[str, ...]] = set()
    counts: Counter[str] = Counter()
    for url, line in lines:  # each line stays or has a reason to go, and there are no other rows
        form = tuple(words(line))
        stays = (url, line) == upcoming and form not in seen
        if stays:
            kept.append((url, line))
            upcoming = next(left, None)
        if not form:
            reason = "blank"
        elif spread[form] >= 3 and spread[form] > 0.3 * len(pages):
            reason = "boilerplate"
        elif form in seen:
            reason = "exact_duplicate"
        elif not stays:
            assert any(similarity(line, other) >= 0.8 for place, other in kept if place != url), line
            reason = "near_duplicate"
        else:
            reason = "rows"
        assert stays == (reason == "rows")
        counts[reason] += 1
        seen.add(form)
    assert upcoming is None
    assert value == {
        "pages": len(pages),
        "rows": counts.pop("rows", 0),
        "left_out": {
            reason: counts[reason] for reason in ("blank", "boilerplate", "exact_duplicate", "near_duplicate")
        },
    }


@settings(max_examples=200, deadline=None)
@given(one=LINES, two=LINES)
def test_two_blocks_are_the_same_if_their_words_are(one: str, two: str) -> None:
    with tempfile.TemporaryDirectory() as place, fingerprints.Fingerprints(Path(place)) as prints:
        prints.add([one, two])
        verdicts = prints.verdicts(boilerplate=False)
    blank, same = fingerprints.Verdict.BLANK, fingerprints.Verdict.EXACT_DUPLICATE
    assert (verdicts[0] == blank, verdicts[1] == blank) == (not words(one), not words(two))
    assert (verdicts[1] == same) == (words(one) == words(two) != [])


BYTES = """
import sys
from pathlib import Path
from jobs.scrape.corpus import MergeCorpus, SiteCorpus, WriteParquet
texts = sorted(Path("data/s/text").glob("*.txt"), reverse=sys.argv[1] == "1")
SiteCorpus(Path("data/s/corpus.jsonl"), texts).run()
MergeCorpus(Path("data/corpus.jsonl"), [Path("data/s/corpus.jsonl")]).run()
WriteParquet(Path("data/corpus.jsonl"), Path("data/corpus.parquet")).run()
"""


def test_the_same_bytes_in_another_process(folder: Path) -> None:
    chance = random.Random(os.environ["RUNNER_TEST_SEED"])
    write({f"{number:03}": lines for number, lines in enumerate(variants(chance, names(500), " "))})
    digests = []
    for seed in ("1", "2"):
        root = str(Path(corpus_module.__file__).parents[2])
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": root}
        subprocess.run([sys.executable, "-c", BYTES, seed], check=True, env=environment)
        made = [Path("data/s/corpus.jsonl"), Path("data/corpus.jsonl"), Path("data/corpus.parquet")]
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in made])
        assert all(path.stat().st_size for path in made)
    assert digests[0] == digests[1]


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", b"fine\n\xff\n", "data/s/text/a.txt: not UTF-8 at byte 5: "),
        ("a.txt", "é".encode("utf-16"), "data/s/text/a.txt: not UTF-8 at byte 0: "),
        ("a.json", None, "data/s/text/a.json: not there, but a.txt is: "),
        *(("a.json", bad, "data/s/text/a.json: not JSON with a ") for bad in (b"", b"{", b"[]", b"{}", b"1", b"\xff")),
        *(("a.json", bad, "data/s/text/a.json: not JSON with a ") for bad in (b'{"url": null}', b'{"url": 1}')),
    ],
)
def test_what_cannot_be_read_is_told(name: str, data: bytes | None, says: str, folder: Path) -> None:
    texts = write({"a": ["one"], "b": ["two"]})
    path = Path("data/s/text", name)
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=r"^data/s/text/a\..*run again$") as caught:
        SiteCorpus(Path("data/s/corpus.jsonl"), texts).run()
    assert str(caught.value).startswith(says)
    assert not Path("data/s/corpus.jsonl").exists()


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"1", b'{"url":"a"}', b'{"url":"a","text":1}', b'{"text":"a","url":"b"}', b"", b"\xff"]
)
def test_what_is_no_row_is_told(line: bytes, folder: Path) -> None:
    corpus = Path("data/s/corpus.jsonl")
    corpus.parent.mkdir(parents=True)
    corpus.write_bytes(b'{"url":"a","text":"b"}\n' + line + b"\n")
    for task in (MergeCorpus(Path("data/corpus.jsonl"), [corpus]), WriteParquet(corpus, Path("data/x.parquet"))):
        with pytest.raises(ValueError, match=r"^data/s/corpus.jsonl:2: not a row .*run again$"):
            task.run()


# ------------------------------------------------------------------------------------------------ merge and Parquet


def test_merge(folder: Path) -> None:
    long = names(30)
    near = [" ".join([*long, end]) for end in ("x", "y", "z")]
    corpus_of({"a": ["One", near[0], near[1]], "b": ["two"]}, "zoo")
    corpus_of({"c": ["Two!", near[2], "three"]}, "ant")
    corpora = [Path("data/zoo/corpus.jsonl"), Path("data/ant/corpus.jsonl")]
    value = MergeCorpus(Path("data/corpus.jsonl"), corpora).run()
    merged = Path("data/corpus.jsonl").read_bytes()
    assert rows_of(Path("data/corpus.jsonl")) == [
        *({"site": "ant", "url": f"{ADDRESS}c", "text": text} for text in ("Two!", near[2], "three")),
        {"site": "zoo", "url": f"{ADDRESS}a", "text": "One"},
    ]
    assert (value["sites"], value["rows"]) == (2, 4)
    assert value["left_out"] == {"blank": 0, "boilerplate": 0, "exact_duplicate": 1, "near_duplicate": 2}
    MergeCorpus(Path("data/again.jsonl"), corpora[::-1]).run()
    assert Path("data/again.jsonl").read_bytes() == merged


def test_nothing_is_boilerplate_of_many_sites(folder: Path) -> None:
    sites = [f"site{number}" for number in range(5)]
    for site in sites:
        corpus_of({"a": ["Everywhere", site]}, site)
    MergeCorpus(Path("data/corpus.jsonl"), [Path("data", site, "corpus.jsonl") for site in sites]).run()
    rows = rows_of(Path("data/corpus.jsonl"))
    assert [row["text"] for row in rows] == ["Everywhere", "site0"], "all sites are the same, but for a digit"


def test_merge_of_one_or_none(folder: Path) -> None:
    long = " ".join(names(30))
    rows, _ = corpus_of({"a": [f"{long} x", f"{long} y", "b"], "b": ["c"]})
    MergeCorpus(Path("data/corpus.jsonl"), [Path("data/s/corpus.jsonl")]).run()
    assert rows_of(Path("data/corpus.jsonl")) == [{"site": "s"} | row for row in rows], "nothing goes within a site"
    assert MergeCorpus(Path("data/corpus.jsonl"), []).run()["rows"] == 0
    assert Path("data/corpus.jsonl").read_bytes() == b""


@pytest.mark.parametrize("batch", [1, 2000, 1 << 22])
def test_parquet(batch: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "BATCH", batch)
    odd = ["0012", "NaN", "null", "2024-01-01", "1e5", '"q', "\u2028x", "🌊 sea", "\x00nul", "  indented", "x" * 5000]
    corpus_of({"a": odd[:5], "b": odd[5:]})
    MergeCorpus(Path("data/corpus.jsonl"), [Path("data/s/corpus.jsonl")]).run()
    for name, columns in (("data/s/corpus", COLUMNS), ("data/corpus", MERGED_COLUMNS)):
        source, made = Path(f"{name}.jsonl"), Path(f"{name}.parquet")
        assert WriteParquet(source, made).run() == {"rows": len(odd)}
        frame = pandas.read_parquet(made)
        assert tuple(frame.columns) == columns
        assert frame.to_dict("records") == rows_of(source)
        assert pq.ParquetFile(made).num_row_groups == {1: len(odd), 2000: 2, 1 << 22: 1}[batch]
        data = made.read_bytes()
        WriteParquet(source, made).run()
        assert made.read_bytes() == data


@pytest.mark.parametrize("columns", [COLUMNS, MERGED_COLUMNS])
def test_parquet_of_nothing(columns: tuple[str, ...], folder: Path) -> None:
    Path("empty.jsonl").write_bytes(b"")
    assert WriteParquet(Path("empty.jsonl"), Path("empty.parquet"), columns).run() == {"rows": 0}
    frame = pandas.read_parquet("empty.parquet")
    assert (tuple(frame.columns), len(frame)) == (columns, 0)
    assert pq.read_schema("empty.parquet").types == ["string"] * len(columns)


def test_a_worker_imports_no_numpy_until_it_is_needed() -> None:
    code = "import jobs.scrape.corpus, sys; print({'numpy', 'pandas', 'pyarrow'} & {*sys.modules})"
    root = Path(corpus_module.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "set()\n"


# ----------------------------------------------------------------------------------------------------------- nights


@dataclass(frozen=True)
class Page(Task):
    """A page that is asked for each night; its sidecar is never the same twice."""

    name: str
    output_filepath: Output
    sidecar_filepath: Output
    max_age = 0
    retries = 0

    def run(self) -> Absent | None:
        source = Path("web", self.name)
        if not source.exists():
            return Absent("gone")
        text = source.read_text()
        if text == "broken":
            raise ValueError(text)
        self.output_filepath.write_text(text)
        fetched = Path("night").read_text()
        self.sidecar_filepath.write_text(json.dumps({"url": f"{ADDRESS}{self.name}", "fetched": fetched}))
        return None


def night(number: int, web: dict[str, str | None]) -> tuple[runner.api.Summary, list[str]]:  # type: ignore[name-defined]
    """The run's summary, and the merged texts."""
    Path("web").mkdir(exist_ok=True)
    Path("night").write_text(str(number))
    for name, text in web.items():
        if text is None:
            Path("web", name).unlink()
        else:
            Path("web", name).write_text(text)
    texts = {name: Path("data/s/text", f"{name}.txt") for name in "abcd"}
    site, merged = Path("data/s/corpus.jsonl"), Path("data/corpus.jsonl")
    tasks = [
        *(Page(name, text, text.with_suffix(".json")) for name, text in texts.items()),
        SiteCorpus(site, list(texts.values())),
        MergeCorpus(merged, [site]),
        *(WriteParquet(path, path.with_suffix(".parquet")) for path in (site, merged)),
    ]
    summary = runner.run(tasks, durability="process", workers=2, verbosity=-1)
    found = rows_of(merged)
    assert pandas.read_parquet("data/corpus.parquet").to_dict("records") == found
    return summary, [row["text"] for row in found]


def test_nights(folder: Path) -> None:
    all_run = {"SiteCorpus": 1, "MergeCorpus": 1, "WriteParquet": 2}
    summary, texts = night(1, {"a": "one\n", "b": "two\nONE\n", "c": "three\n"})
    assert (summary.exit_code, texts) == (0, ["one", "two", "three"])
    assert summary.ran == {"Page": 4} | all_run
    summary, texts = night(2, {})
    assert summary.ran == {"Page": 4}, "sidecars changed, texts did not"
    summary, texts = night(3, {"b": "two\nand more\n"})
    assert (summary.ran, texts) == ({"Page": 4} | all_run, ["one", "two", "and more", "three"])
    summary, texts = night(4, {"a": "broken"})
    assert (summary.exit_code, texts) == (1, ["one", "two", "and more", "three"]), "last night's text of a"
    summary, texts = night(5, {"b": "two\n"})
    assert (summary.exit_code, texts) == (1, ["one", "two", "three"])
    summary, texts = night(6, {"a": "one\n", "c": None})
    assert (summary.exit_code, texts) == (0, ["one", "two"]), "its page is gone, and so are its rows"
    summary, texts = night(7, {"a": None, "b": None})
    assert (summary.exit_code, texts) == (0, [])
    assert Path("data/s/corpus.jsonl").read_bytes() == b""


def test_texts_that_nobody_makes(folder: Path) -> None:
    texts = write({"a": ["one"], "b": ["two"]})
    task = SiteCorpus(Path("data/s/corpus.jsonl"), texts)
    ran = []
    for change in ("", "", "text", "sidecar", "gone"):
        if change == "text":
            texts[0].write_text("three\n")
        elif change == "sidecar":
            texts[0].with_suffix(".json").write_text(json.dumps({"url": f"{ADDRESS}a", "raw_sha256": "1"}))
        elif change == "gone":
            texts[1].unlink()
        summary = runner.run([task], durability="process", workers=1, verbosity=-1)
        assert summary.exit_code == 0
        ran.append(summary.ran.get("SiteCorpus", 0))
    assert ran == [1, 0, 1, 0, 1]
    assert rows_of(Path("data/s/corpus.jsonl")) == [{"url": f"{ADDRESS}a", "text": "three"}]
