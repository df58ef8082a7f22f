"""Files of ours: whole or not there, after a kill and on a full disk; damaged or foreign ones are named."""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from h2q.errors import FileFormatError
from h2q.files.storage import (
    FORMAT_VERSION,
    STORED_DTYPES,
    atomic_path,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)

TENSORS = {"codes": np.arange(30, dtype=np.uint8).reshape(5, 6), "ids": np.arange(5), "none": np.zeros((0, 3), "f4")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "a.safetensors", "example", TENSORS, {"n_bits": 48})
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("mmap", [False, True])
def test_what_is_written_is_read(file: Path, mmap: bool) -> None:
    stored = read_tensors(file, "example", mmap=mmap)
    assert (stored.kind, stored.metadata) == ("example", {"n_bits": 48})
    assert stored.tensors.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(stored.tensors[name], expected)
        assert stored.tensors[name].dtype == expected.dtype
    assert isinstance(stored.tensors["codes"], np.memmap) == mmap
    if mmap:
        with pytest.raises(ValueError, match="read-only"):
            stored.tensors["codes"][0] = 1


@pytest.mark.parametrize("dtype", STORED_DTYPES.values())
def test_every_dtype_in_any_order(tmp_path: Path, dtype: type) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    write_tensors(tmp_path / "a", "example", {"x": array.T, "y": array[:, ::2]}, {})
    stored = read_tensors(tmp_path / "a").tensors
    np.testing.assert_array_equal(stored["x"], array.T)
    np.testing.assert_array_equal(stored["y"], array[:, ::2])
    assert stored["x"].dtype == dtype


def test_safetensors_reads_our_files(file: Path) -> None:
    for name, array in load_file(file).items():
        np.testing.assert_array_equal(array, TENSORS[name])


def test_foreign_files_are_named(tmp_path: Path, file: Path) -> None:
    save_file({"x": np.zeros(3)}, tmp_path / "theirs.safetensors")
    (tmp_path / "text").write_text("a,b,c\n" * 100)
    (tmp_path / "empty").touch()
    (tmp_path / "list").write_bytes(struct.pack("<Q", 2) + b"[]")
    for name in ("theirs.safetensors", "text", "empty", "list"):
        with pytest.raises(FileFormatError, match=f"{name} is not a file that h2q wrote"):
            read_tensors(tmp_path / name)
    with pytest.raises(FileFormatError, match="is a folder"):
        read_tensors(tmp_path)
    with pytest.raises(FileFormatError, match="holds a example, not a quantizer"):
        read_tensors(file, "quantizer")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "nowhere")


def test_a_newer_file_says_how_to_upgrade(tmp_path: Path) -> None:
    header = {"kind": "example", "format_version": FORMAT_VERSION + 1, "h2q_version": "9.1", "metadata": {}}
    save_file({"x": np.zeros(3)}, tmp_path / "new", metadata={"h2q": json.dumps(header)})
    with pytest.raises(
        FileFormatError, match=r"written by h2q 9\.1 in format 2, newer than format 1 .* pip install -U"
    ):
        read_tensors(tmp_path / "new")


@given(st.data())
@settings(max_examples=150)
def test_no_damage_ends_in_another_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damage") / "a"
    write_tensors(path, "example", TENSORS, {"n_bits": 48})
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=r"truncated|does not read|incomplete"):
            read_tensors(path)
        return
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        stored = read_tensors(path)
    except FileFormatError:
        return
    # What reads is as much data as before: a letter of a name, of the metadata or of a dtype of that width changed.
    assert sum(array.nbytes for array in stored.tensors.values()) == 70


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fail_in_the_middle() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle()
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        write_json(tmp_path / "nowhere" / "a.json", {})


def test_permissions_are_those_of_any_new_file(file: Path) -> None:
    (file.parent / "plain").touch()
    assert file.stat().st_mode == (file.parent / "plain").stat().st_mode


def test_json_that_does_not_parse_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": ')
    with pytest.raises(FileFormatError, match=r"a\.json is truncated or not JSON"):
        read_json(tmp_path / "a.json")


def test_a_kill_at_any_moment_leaves_a_whole_file(file: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from h2q.files.storage import write_tensors\n"
        "n = 1\n"
        "while True:\n"
        "    write_tensors(sys.argv[1], 'example', {'x': np.full(300_000, n)}, {'n': n})\n"
        "    print(n, flush=True)\n"
        "    n += 1\n"
    )
    for attempt in range(6):
        with subprocess.Popen([sys.executable, "-c", code, file], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.007 * attempt)
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
        stored = read_tensors(file, "example")
        np.testing.assert_array_equal(stored.tensors["x"], np.full(300_000, stored.metadata["n"]))


def test_a_full_disk_leaves_the_old_file(file: Path) -> None:
    before, hard = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(OSError, match=r"cannot write .*a\.safetensors: .*File too large"):
            write_tensors(file, "example", {"x": np.zeros(1000)}, {})
        with pytest.raises(OSError, match="File too large"):
            write_json(file, list(range(1000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
