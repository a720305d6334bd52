"""Staged outputs: their names, their bytes, and what is swept."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from runner.store.files import Files
from runner.workers.staging import Digest, NoFile, digest, is_file, remove, same, staging_path, stands, sweep, taken

ID = "Fetch-0123456789abcdef"
OTHER = "Fetch-fedcba9876543210"


@pytest.mark.parametrize(
    "final",
    [
        "a.txt",
        "data/raw/a.html",
        "/somewhere/else/a.csv.gz",
        "no-suffix",
        ".hidden",
        "data/.hidden.json",
        "a" * 255,
        "a" * 251 + ".txt",
        "ü" * 125 + ".html",
        "a." + "s" * 250,
        "ends with a dot.",
        "Ω\n.txt",
    ],
)
def test_a_staging_path_is_a_hidden_name_in_the_same_folder(tmp_path: Path, final: str) -> None:
    staged = staging_path(final, ID)
    folder, name = os.path.split(staged)
    assert folder == os.path.dirname(final)
    assert name.startswith(".")
    assert len(os.fsencode(name)) <= 255
    if len(os.path.splitext(final)[1]) < 200:
        assert os.path.splitext(name)[1] == os.path.splitext(final)[1]
    (tmp_path / name).write_text("fits")
    assert sweep(Files(), {ID: [os.path.basename(final)]}, str(tmp_path)) == 1, "and it is known again"
    assert os.listdir(tmp_path) == []


def test_no_two_attempts_stage_under_one_name() -> None:
    assert len({staging_path("a.txt", ID) for _ in range(1000)}) == 1000


def test_nor_do_those_of_a_worker_and_of_another_that_was_forked_from_the_same_process() -> None:
    names: list[str] = []
    for _ in range(2):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.write(writer, "\n".join(staging_path("a.txt", ID) for _ in range(20)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader) as said:
            names += said.read().split("\n")
        os.waitpid(pid, 0)
    names += [staging_path("a.txt", ID) for _ in range(20)]
    assert len(set(names)) == len(names) == 60


def test_digest(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    assert digest(str(tmp_path / "file")) == Digest(len(data), sha256(data).hexdigest())
    (tmp_path / "empty").touch()
    assert digest(str(tmp_path / "empty")) == Digest(0, sha256(b"").hexdigest())
    with pytest.raises(OSError, match="regular file"):
        digest(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        digest(str(tmp_path / "none"))


def test_a_file_that_does_not_tell_its_size_is_digested_to_its_end() -> None:
    path = Path("/proc/filesystems")
    if not path.exists():
        pytest.skip("no /proc here")
    data = path.read_bytes()
    assert path.stat().st_size == 0 < len(data)
    assert digest(str(path)) == Digest(len(data), sha256(data).hexdigest())


def test_what_a_task_has_staged_is_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "staged"
    with pytest.raises(NoFile, match="not written its"):
        taken(str(path))
    path.symlink_to(tmp_path / "none")
    with pytest.raises(NoFile, match="something else than a file"):
        taken(str(path))
    path.unlink()
    path.symlink_to(__file__)
    with pytest.raises(NoFile, match="something else than a file"):
        taken(str(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(NoFile, match="something else than a file"):
        taken(str(path))
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(NoFile, match="something else than a file"):
        taken(str(path))
    path.unlink()
    path.write_bytes(b"abc")
    assert taken(str(path)) == (Digest(3, sha256(b"abc").hexdigest()), tmp_path.stat().st_dev)


def test_no_file_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "final"
    known = Digest(3, sha256(b"abc").hexdigest())
    assert not stands(str(path), known)
    path.write_bytes(b"abc")
    assert stands(str(path), known)
    path.write_bytes(b"abd")
    assert not stands(str(path), known)
    with pytest.raises(IsADirectoryError):
        stands(str(tmp_path), known)
    assert not same(str(tmp_path), known)


def test_same_compares_bytes_and_never_raises(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    known = digest(str(path))
    assert same(str(path), known)
    path.write_bytes(b"abd")
    assert not same(str(path), known)
    path.write_bytes(b"abcd")
    assert not same(str(path), known)
    path.unlink()
    assert not same(str(path), known)
    os.mkfifo(path)
    assert not same(str(path), Digest(0, sha256(b"").hexdigest())), (
        "a FIFO has no bytes either, and to open it would hang"
    )
    assert not same(str(tmp_path), known)


def test_is_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    there = {name for name in os.listdir(tmp_path) if is_file(str(tmp_path / name))}
    assert there == {"file", "link"}
    assert not is_file(str(tmp_path))
    assert not is_file("null\0byte")


def test_remove_takes_whatever_a_task_made_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder" / "in it").mkdir(parents=True)
    remove(Files(), (str(tmp_path / name) for name in ("none", "file", "link", "folder")))
    assert os.listdir(tmp_path) == []


def test_sweep_takes_the_files_of_the_jobs_it_is_told_of_and_no_others(tmp_path: Path) -> None:
    def stage(final: str, id: str, more: str = "") -> None:
        path = Path(staging_path(final, id) + more)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    left = [tmp_path / "data" / "a.txt", tmp_path / "more" / "b"]
    for final in left:
        stage(str(final), ID)
        stage(str(final), ID)
        stage(str(final), ID, "-journal")  # what a library puts beside the file it was told to write
        stage(str(final), OTHER)
        final.touch()
    stage(str(tmp_path / "elsewhere" / "c.txt"), ID)
    (tmp_path / "data" / ".-0123456789abcdef-000000000").touch()
    (tmp_path / "data" / "a-0123456789abcdef-00000000.txt").touch()
    before = len(list(tmp_path.rglob("*")))
    assert sweep(Files(), {ID: ["data/a.txt", "data/x.txt", str(left[1]), "none/d.txt"]}, str(tmp_path)) == 6
    assert len(list(tmp_path.rglob("*"))) == before - 6
    assert all(final.exists() for final in left)
    assert sweep(Files(), {OTHER: ["data/a.txt"]}, str(tmp_path)) == 1


def test_sweep_lists_a_folder_once_for_all_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        Path(staging_path(str(tmp_path / f"{number}.txt"), f"Fetch-{number:016x}")).touch()
    listed = []
    listdir = os.listdir

    def counted(path: str) -> list[str]:
        listed.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counted)
    assert sweep(Files(), {f"Fetch-{number:016x}": [f"{number}.txt"] for number in range(50)}, str(tmp_path)) == 50
    assert len(listed) == 1


def test_only_a_regular_file_has_a_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="regular"):
            digest(str(path))
