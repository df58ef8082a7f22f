"""Atomic writes: complete or absent, and no debris of writers that were killed."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from h2q.files import atomic_path, reclaim

DEBRIS = ".a.npy.h2q-0123456789abcdef.tmp"


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail_in_the_middle() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"cannot write .*a: the folder .*nowhere does not exist"),
        atomic_path(tmp_path / "nowhere" / "a"),
    ):
        pass


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    for path, what in ((folder, "a folder"), (pipe, "a device or a pipe"), (Path(os.devnull), "a device or a pipe")):
        with (
            pytest.raises(FileExistsError, match=f"cannot write {path}: it is {what}, not a file"),
            atomic_path(path),
        ):
            pass
    assert sorted(tmp_path.iterdir()) == [folder, pipe]
    assert pipe.is_fifo()


def test_a_link_stays_and_the_file_it_leads_to_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "folder" / "a", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to(target)
    for text in ("new", "newer"):  # the link leads nowhere at first
        with atomic_path(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "folder", "link"]


def test_a_file_that_the_block_misses_is_not_blamed_on_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="input"), atomic_path(tmp_path / "a"):
        (tmp_path / "input").read_text()


def test_long_names_and_names_that_are_not_ascii(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 120):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"


def test_the_next_write_deletes_what_a_killed_writer_left(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from h2q.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(bytes(1000))\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "a"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        reclaim(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1  # its writer lives
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_path(tmp_path / "b") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_only_our_temporary_files_are_deleted(tmp_path: Path) -> None:
    theirs = [".a.npy.tmp", ".tmp", "a.h2q-0123456789abcdef.tmp", ".a.h2q-0123456789abcdef.tmp.bak", ".a.h2q-x.tmp"]
    for name in [DEBRIS, *theirs]:
        (tmp_path / name).touch()
    (tmp_path / ".folder.h2q-0123456789abcdef.tmp").mkdir()
    reclaim(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*theirs, ".folder.h2q-0123456789abcdef.tmp"])


def test_threads_that_write_to_one_folder_leave_each_other_alone(tmp_path: Path) -> None:
    failures = []

    def write(number: int) -> None:
        try:
            for turn in range(50):
                with atomic_path(tmp_path / f"{number}") as temporary:
                    temporary.write_text(f"{turn}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(number) for number in range(8)]
