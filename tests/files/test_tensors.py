"""Files that h2q writes: complete or absent after a kill or on a full disk; damage is found, and the file named."""

import errno
import json
import math
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
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from h2q.errors import DiskFullError, FileFormatError, ForeignFileError
from h2q.files import FORMAT_VERSION, read_tensors, verify_tensors, write_tensors
from h2q.files.safetensors_layout import DTYPES, read_layout

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


@pytest.mark.parametrize("dtype", DTYPES.values())
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
    with pytest.raises(ForeignFileError, match=r"theirs\.safetensors is not a file that h2q wrote"):
        read_tensors(tmp_path / "theirs.safetensors")
    for name in ("text", "empty", "list"):
        with pytest.raises(FileFormatError, match=f"{name} is truncated or no safetensors file"):
            read_tensors(tmp_path / name)
    with pytest.raises(FileFormatError, match="is a folder"):
        read_tensors(tmp_path)
    with pytest.raises(FileFormatError, match="holds data of the kind 'example', not 'quantizer'"):
        read_tensors(file, "quantizer")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "nowhere")


def test_a_newer_file_says_how_to_upgrade(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2q.files.tensors.FORMAT_VERSION", FORMAT_VERSION + 1)
    monkeypatch.setattr("h2q.files.tensors.__version__", "9.1")
    write_tensors(file, "example", TENSORS, {})
    monkeypatch.undo()
    with pytest.raises(
        FileFormatError, match=r"written by h2q 9\.1 in format 3, newer than format 2 .* pip install -U"
    ):
        read_tensors(file)


def test_a_file_of_format_1_is_read_and_verified(tmp_path: Path) -> None:
    content = (Path(__file__).parents[1] / "golden" / "format_1.safetensors").read_bytes()
    path = tmp_path / "a"
    path.write_bytes(content)
    verify_tensors(path, "example")
    stored = read_tensors(path, "example")
    assert stored.metadata == {"n_bits": 16}
    np.testing.assert_array_equal(stored.tensors["ids"], np.arange(5))
    np.testing.assert_array_equal(stored.tensors["x"], np.float32([[0.5, -2]]))
    for position in range(len(content) - 48, len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(FileFormatError, match="does not match its checksum"):
            read_tensors(path)


@pytest.mark.parametrize("shape", [(30_000, 5), (3, 100_000), (200_000,), (0, 4), (5, 0), ()])
def test_blocks_have_checksums_of_which_that_of_the_tensor_is_made(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_tensors(tmp_path / "a", "example", {"x": array}, {}, keep_blocks=True)
    tensors = read_tensors(tmp_path / "a").tensors
    np.testing.assert_array_equal(tensors["x"], array)
    rows = max(1, 65536 // max(1, math.prod(shape[1:])))
    parts = [array[i : i + rows].tobytes() for i in range(0, len(array), rows)] if shape else [array.tobytes()]
    blocks = [xxhash.xxh3_64_intdigest(part) for part in parts if part]
    assert tensors["x.xxh3"].tolist() == blocks
    header = json.loads(read_layout(tmp_path / "a").metadata["h2q_tensors"])
    assert header["x"] == xxhash.xxh3_64_hexdigest(struct.pack(f"<{len(blocks)}Q", *blocks))


def test_every_flipped_bit_is_found(file: Path) -> None:
    content = file.read_bytes()
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        file.write_bytes(damaged)
        for check in (read_tensors, verify_tensors):
            with pytest.raises(FileFormatError, match=r"a\.safetensors "):
                check(file)


def test_every_truncation_and_extension_is_found(file: Path) -> None:
    content = file.read_bytes()
    for damaged in (*(content[:length] for length in range(len(content))), content + b"\0"):
        file.write_bytes(damaged)
        with pytest.raises(FileFormatError, match=r"a\.safetensors is (truncated|damaged)"):
            read_tensors(file)


@given(st.data())
@settings(max_examples=200)
def test_every_garbled_byte_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damage") / "a"
    write_tensors(path, "example", TENSORS, {"n_bits": 48})
    content = path.read_bytes()
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    if damaged == content:
        read_tensors(path)
        return
    with pytest.raises(FileFormatError, match=str(path)):
        read_tensors(path)


def test_damage_names_the_tensor(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    message = r"a\.safetensors is damaged: its tensor codes does not match its checksum"
    with pytest.raises(FileFormatError, match=message):
        read_tensors(file)
    with pytest.raises(FileFormatError, match=message):
        verify_tensors(file)
    verify_tensors(file, names=["ids", "none"])
    np.testing.assert_array_equal(read_tensors(file, verify=False).tensors["ids"], TENSORS["ids"])
    np.testing.assert_array_equal(read_tensors(file, mmap=True).tensors["ids"], TENSORS["ids"])


def write_header(path: Path, entries: object, data: bytes = b"") -> None:
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"x": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}, "truncated: .* 4000000"),
        ({"x": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 8]}}, "does not fit 8 bytes"),
        ({"x": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}, "whole numbers"),
        ({"x": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}}, "whole numbers"),
        ({"x": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}, "must be a string"),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}, "overlap or leave gaps before x"),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}, "header is wrong"),
        ({"x": {"dtype": "F32", "shape": [2]}}, "lacks 'data_offsets'"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "damaged: .* expected"),
        ({"__metadata__": {"h2q": 1}}, "metadata are not strings"),
        ({"__metadata__": []}, "header is wrong"),
    ],
)
def test_headers_that_lie_are_refused_before_memory_is_allocated(tmp_path: Path, entries: object, reason: str) -> None:
    write_header(tmp_path / "a", entries, bytes(8))
    with pytest.raises(FileFormatError, match=rf"{tmp_path / 'a'} .*{reason}"):
        read_tensors(tmp_path / "a")


def test_a_header_that_is_nested_too_deeply(tmp_path: Path) -> None:
    header = b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(FileFormatError, match="header is wrong: maximum recursion"):
        read_tensors(tmp_path / "a")


def test_scalars_and_big_endian_arrays_come_back(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", "example", {"scalar": np.float64(2.5), "big": np.arange(3, dtype=">i4")}, {})
    stored = read_tensors(tmp_path / "a").tensors
    assert (stored["scalar"].shape, stored["scalar"].item()) == ((), 2.5)
    np.testing.assert_array_equal(stored["big"], [0, 1, 2])
    assert load_file(tmp_path / "a")["big"].tolist() == [0, 1, 2]


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="the tensor x must be an array of numbers or booleans; got a complex128 array"):
        write_tensors(tmp_path / "a", "example", {"x": np.zeros(2, complex)}, {})
    with pytest.raises(TypeError, match=r"cannot write .*a as JSON: it contains .*set.*; use numbers"):
        write_tensors(tmp_path / "a", "example", {}, {"x": {1}})
    assert not list(tmp_path.iterdir())


def test_permissions_are_those_of_any_new_file(file: Path) -> None:
    (file.parent / "plain").touch()
    assert file.stat().st_mode == (file.parent / "plain").stat().st_mode


def test_a_kill_at_any_moment_leaves_a_whole_file(file: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from h2q.files import write_tensors\n"
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
        message = r"cannot write .*a\.safetensors: File too large; free some space, or write to another disk"
        with pytest.raises(DiskFullError, match=message) as raised:
            write_tensors(file, "example", {"x": np.zeros(1000)}, {})
        assert raised.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
