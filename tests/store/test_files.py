"""The file primitives: whole files or none, no symlinks, no strangers' files; and who is alive."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import BadJobFile
from runner.store import files as module
from runner.store.files import Files, process_start, tmp_name, writer_is_gone, writer_token


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def folder(tmp_path: Path, files: Files) -> Iterator[int]:
    descriptor = files.open_folder(str(tmp_path))
    yield descriptor
    files.close(descriptor)


def test_a_file_is_written_whole_and_never_over_another(files: Files, folder: int, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    files.write(folder, "a", data)
    assert files.read(folder, "a", 4 << 20) == data
    with pytest.raises(FileExistsError):
        files.write(folder, "a", b"")
    assert (tmp_path / "a").read_bytes() == data
    assert (tmp_path / "a").stat().st_mode & 0o022 == 0, "others may not write to it, whatever the umask"


def test_a_write_that_the_disk_cuts_short_goes_on(files: Files, folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(module.os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    files.write(folder, "a", b"0123456789")
    assert files.read(folder, "a", 99) == b"0123456789"


def test_a_full_disk_is_told_and_leaves_no_descriptor(
    files: Files, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        with pytest.raises(OSError, match="No space"):
            files.write(folder, "a", b"x")
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "folder", "socket", "large"])
def test_what_is_no_plain_file_of_fair_size_is_not_read(files: Files, folder: int, tmp_path: Path, kind: str) -> None:
    odd = tmp_path / "odd"
    if kind == "symlink":
        (tmp_path / "there").write_text("x")
        odd.symlink_to("there")
    elif kind == "dangling":
        odd.symlink_to("nowhere")
    elif kind == "fifo":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(tmp_path)  # the name of a socket may not be long
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("odd")
        os.chdir(here)
    else:
        odd.write_bytes(b"x" * 101)
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(BadJobFile):
        files.read(folder, "odd", 100)
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.root
def test_a_file_of_somebody_else_is_not_read(files: Files, folder: int, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(BadJobFile, match="65534"):
        files.read(folder, "theirs", 100)


def test_what_is_not_there_is_an_ordinary_error(files: Files, folder: int) -> None:
    with pytest.raises(FileNotFoundError):
        files.read(folder, "nothing", 100)
    assert not files.exists(folder, "nothing")


def test_a_symlinked_folder_is_not_opened(files: Files, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        files.open_folder(str(tmp_path / "link"))


def test_an_exchange_swaps_and_needs_both(files: Files, folder: int) -> None:
    files.write(folder, "a", b"a")
    with pytest.raises(FileNotFoundError):
        files.exchange(folder, "a", folder, "b")
    files.write(folder, "b", b"b")
    if files.exchange(folder, "a", folder, "b"):
        assert (files.read(folder, "a", 9), files.read(folder, "b", 9)) == (b"b", b"a")


def test_without_an_exchange_nothing_is_done(files: Files, folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_exchange", lambda: None)
    assert files.exchange(folder, "a", folder, "b") is False


def test_syncs(files: Files, folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write(folder, "a", b"a")
    files.sync_file(folder, "a")
    files.sync_folder(folder)
    assert files.sync_filesystem(folder) is (sys.platform == "linux")
    monkeypatch.setattr(module, "_syncfs", lambda: None)
    assert files.sync_filesystem(folder) is False


def test_two_threads_list_a_folder_at_once(files: Files, folder: int) -> None:
    for n in range(500):
        files.write(folder, str(n), b"")
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.extend(len(files.names(folder)) for _ in range(50))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [500] * 100


# ------------------------------------------------------------------------------------------------ who is alive


def test_this_process_is_alive_by_pid_and_start() -> None:
    start = process_start(os.getpid())
    assert start is not None
    assert writer_token() == f"{os.getpid()}-{start}."
    assert tmp_name("x").startswith(writer_token())
    assert tmp_name("x") != tmp_name("x")
    assert not writer_is_gone(tmp_name("x"))


def test_a_reused_pid_is_another_process() -> None:
    assert writer_is_gone(f"{os.getpid()}-12345.1.x") is (process_start(os.getpid()) != "12345")


def test_a_process_that_ended_is_gone_also_as_a_zombie() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start = process_start(child.pid)
    name = f"{child.pid}-{start}.1.x"
    assert not writer_is_gone(name)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
    assert process_start(child.pid) is None
    assert writer_is_gone(name)
    child.wait()
    assert writer_is_gone(name)


def test_a_fork_is_another_writer() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        os.write(writer, writer_token().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    theirs = os.read(reader, 100).decode()
    os.close(reader)
    assert theirs.startswith(f"{pid}-")
    assert theirs != writer_token()


@pytest.mark.parametrize("name", ["", "x", "1.x", "-.x", "1-.x", "a-b.x", "1-2", "²-2.x", "9" * 40 + "-1.x", "-1-2.x"])
def test_a_name_that_names_no_writer_is_nobody_s(name: str) -> None:
    assert not writer_is_gone(name)
