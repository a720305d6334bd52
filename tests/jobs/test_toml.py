from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.scrape.toml import BadFile, Document, Key

EVERYTHING = '''\
# a comment with a key = "value"

contact = "a"  # 3
"quoted key" = 1
'single' = """
contact = "no statement"
[[site]]
"""
many = [  # 9
  "one",

  # a comment in a list
  "two", "three",  # 13
  [
    "four"
  ],
  """
five
""",
  'six'  # 20
]
a.b.c = 1
a.b.d = { x = 1, y = [1, 2] }
[[site]]  # 24
name = "first"
dotted.rate = 5
dotted."other rate" = 6

  [[ site ]]  # 29
\tname = "second"
"n\\u0061me2" = 1
[site.below]  # 32
name = "third"
[[site.deep]]
[[site.deep]]
name = 1
[last]
lines = """one \u2028 \x85 line
two"""
end = 1'''

LINES = [
    (("contact",), 3),
    (("quoted key",), 4),
    (("single",), 5),
    (("many",), 9),
    (("many", 0), 10),
    (("many", 1), 13),
    (("many", 2), 13),
    (("many", 3), 14),
    (("many", 4), 17),
    (("many", 5), 20),
    (("a",), 22),
    (("a", "b", "c"), 22),
    (("a", "b", "d"), 23),
    (("a", "b", "d", "y", 1), 23),
    (("site",), 24),
    (("site", 0), 24),
    (("site", 0, "name"), 25),
    (("site", 0, "dotted"), 26),
    (("site", 0, "dotted", "other rate"), 27),
    (("site", 1), 29),
    (("site", 1, "name"), 30),
    (("site", 1, "name2"), 31),
    (("site", 1, "below"), 32),
    (("site", 1, "below", "name"), 33),
    (("site", 1, "deep", 1), 35),
    (("site", 1, "deep", 1, "name"), 36),
    (("last", "lines"), 38),
    (("last", "end"), 40),
    # What is not there: the table that lacks it.
    (("none",), 1),
    ((), 1),
    (("site", 0, "start", 3), 24),
    (("site", 2), 24),
    (("last", "none"), 37),
]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sites.toml"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(("key", "line"), LINES)
def test_lines(key: Key, line: int, newline: str, tmp_path: Path) -> None:
    assert Document(written(tmp_path, EVERYTHING.replace("\n", newline))).line(key) == line


@pytest.mark.parametrize(("between", "line"), [(" ", 2), ("\n  ", 3), ("\n\n  # the second\n  ", 5)])
def test_a_list_of_tables(between: str, line: int, tmp_path: Path) -> None:
    text = f'contact = "a"\nsite = [{{ name = "a" }},{between}{{ name = "b", rate = 0 }}]\n'
    assert Document(written(tmp_path, text)).line(("site", 1, "rate")) == line


@pytest.mark.parametrize(
    "filling",
    [
        "\n".join(f'[[site]]\nname = "{n}"\nstart = ["https://{n}.example/"]\nrate = 2.0\n' for n in range(500)),
        "many = [\n" + "\n".join(f'  "https://a.example/{n}",  # rate = 5' for n in range(2000)) + "\n]",
        'long = """' + "rate = 5\n[[site]]\n" * 1000 + '"""',
    ],
)
def test_a_long_file_is_no_long_wait(filling: str, tmp_path: Path) -> None:
    lines = filling.count("\n") + 1
    document = Document(written(tmp_path, filling + "\nother = 1\n[[site]]\nname = 'a'\nrate = 5\n"))
    last = len(document.table["site"]) - 1
    began = time.process_time()
    assert document.line(("site", last, "rate")) == lines + 4
    assert time.process_time() - began < 5  # 0.1 s; thousands of beginnings would be some 20


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a = 1\nb = \nc = 1\n", ":2: not valid TOML: Invalid value"),
        (b"a = 1\r\nb = \r\nc = 1\r\n", ":2: not valid TOML: Invalid value"),
        (b"a = 1\n\na = 2\n", ":3: not valid TOML: Cannot overwrite a value"),
        (b"a = [1\nb = 2\n", ":2: not valid TOML: Unclosed array"),
        (b'a = 1\nb = """\nc\n\n\n', ":3: not valid TOML: Unterminated string, up to the end of the file"),
        (b"a = ", ":1: not valid TOML: Invalid value, up to the end"),
        (b"[a]\nb = 1\n[a]\n", ":3: not valid TOML: Cannot declare ('a',) twice"),
        (b"a = 1\rb = 2\n", ":1: not valid TOML: Expected newline"),
        (b"a = " + b"9" * 5000, ": not valid TOML: Exceeds the limit"),
        (b"a = " + b"[" * 50_000, ": not valid TOML: lists or tables too deep"),
        (b"\xef\xbb\xbfa = 1\n", ':1: begins with a byte order mark: save it as "UTF-8", not'),
        ("a = 1\nb = 'é'\n".encode("latin-1"), ":2: not UTF-8 (byte 0xe9): save it"),
        ("a = 1\n".encode("utf-16"), ":1: not UTF-8 (byte 0xff): save it"),
    ],
)
def test_what_is_no_toml(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "sites.toml"
    path.write_bytes(data)
    with pytest.raises(BadFile) as caught:
        Document(path)
    assert str(caught.value).startswith(f"{path}{says}")
    assert "\n" not in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Document(tmp_path / "none.toml")
    with pytest.raises(BadFile, match="expected a file, found a folder"):
        Document(tmp_path)
    with pytest.raises(BadFile, match="cannot be read: Not a directory"):
        Document(written(tmp_path, "") / "below")
