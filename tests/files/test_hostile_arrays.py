"""Damaged and hostile files of arrays: an error that names the file, before any memory is allocated."""

import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from h2q.errors import FileFormatError
from h2q.files import list_arrays, open_array, write_npy, write_npz, write_tensors

CODES = np.random.default_rng(0).integers(0, 256, (7, 5), dtype=np.uint8)


def npy(path: Path) -> None:
    with write_npy(path, CODES.shape, CODES.dtype) as write:
        write(CODES[:3])
        write(CODES[3:])


def npz(path: Path) -> None:
    write_npz(path, codes=CODES)


def npz_compressed(path: Path) -> None:
    np.savez_compressed(path, codes=CODES)


def safetensors(path: Path) -> None:
    write_tensors(path, "codes", {"codes": CODES}, {})


WRITERS: dict[str, Callable[[Path], None]] = {
    "x.npy": npy, "x.npz": npz, "y.npz": npz_compressed, "x.safetensors": safetensors
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_every_flipped_bit_of_our_files_is_found(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    np.testing.assert_array_equal(open_array(path).read(), CODES)
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        # The fields of a zip file that say when and on which system it was made do not matter.
        try:
            array = open_array(path).read()
        except ValueError as error:
            assert name in str(error)  # noqa: PT017
        else:
            assert path.suffix == ".npz"
            np.testing.assert_array_equal(array, CODES)


def test_other_programs_read_npy_files_with_a_checksum(tmp_path: Path) -> None:
    npy(tmp_path / "x.npy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), CODES)
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy", mmap_mode="r"), CODES)
    size = (tmp_path / "x.npy").stat().st_size
    assert (size - CODES.nbytes) % 64 == 0


def test_files_of_numpy_carry_no_checksum_and_are_read(tmp_path: Path) -> None:
    for array in (CODES, np.asfortranarray(CODES), CODES.astype(">f4"), np.zeros((0, 3)), np.zeros((3, 0))):
        np.save(tmp_path / "x.npy", array)
        np.testing.assert_array_equal(open_array(tmp_path / "x.npy").read(), array)


def header(shape: str, descr: str = "'<f4'", *, after: str = "\n") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}{after}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header("(10**9, 4)"), "header is wrong"),
        (header("(1000000000, 4)"), "truncated: .* bytes, .* expected for shape"),
        (header("(-2, -2)"), "is negative"),
        (header("(" + "9" * 5000 + ", 1)"), "header is wrong"),
        (header("(2, 2)", "[" * 3000), "header is wrong"),
        (header("(2, 2)", "{'a': 1}"), "header is wrong"),
        (header("(2, 2)", "'no'"), "header is wrong"),
        (header("(2, 2)", "'|O'"), "Python objects"),
        (header("(2, 2)", "'''"), "header is wrong"),
        (header("(2, 2)", after=""), "header does not end"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1), "header does not end"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "does not begin as one"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_headers_that_lie_are_refused_before_memory_is_allocated(
    content: bytes, reason: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        path.write_bytes(content)
    else:
        reason = reason.replace("truncated: .* bytes, .* expected for shape", "damaged: x of shape .* needs")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
    tracemalloc.start()
    try:
        for read in (open_array, list_arrays):
            with pytest.raises(FileFormatError, match=rf"x\{suffix}.*{reason}"):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_the_checksum_of_a_stored_npz_is_compared(tmp_path: Path) -> None:
    npz(tmp_path / "x.npz")
    content = (tmp_path / "x.npz").read_bytes()
    damaged = content.replace(CODES.tobytes(), CODES.tobytes()[:-1] + b"!")
    assert damaged != content
    (tmp_path / "x.npz").write_bytes(damaged)
    with pytest.raises(FileFormatError, match=r"x\.npz is truncated or .*: Bad CRC-32"):
        open_array(tmp_path / "x.npz")


def test_a_header_that_claims_more_rows_than_there_are(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header("(300, 2)") + bytes(800))
        archive.writestr("y.npy", header("(100, 2)") + bytes(800))
    with pytest.raises(FileFormatError, match=r"x of shape \(300, 2\) needs 2400 bytes, and has 800"):
        open_array(tmp_path / "x.npz:x")


def test_an_encrypted_archive_is_named(tmp_path: Path) -> None:
    npz(tmp_path / "x.npz")
    content = bytearray((tmp_path / "x.npz").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"x\.npz is encrypted"):
        open_array(tmp_path / "x.npz")


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header("(20000000, 1)"))
        for _ in range(80):
            file.write(bytes(1_000_000))
    with pytest.raises(FileFormatError, match=r"takes 80 MB in memory, and the whole file 0\.1 MB; if that is right"):
        open_array(tmp_path / "x.npz")


@pytest.mark.parametrize("lists", ["one long row", "many rows"])
def test_a_parquet_file_that_declares_far_more_than_it_has_is_refused(lists: str, tmp_path: Path) -> None:
    n = 20_000_000
    values = pa.array(np.zeros(n, np.float32))
    offsets: NDArray[Any] = np.array([0, n]) if lists == "one long row" else np.arange(0, n + 1, 100)
    column = pa.LargeListArray.from_arrays(offsets, values)
    pq.write_table(pa.table({"x": column}), tmp_path / "x.parquet")
    with pytest.raises(FileFormatError, match=r"x\.parquet: x takes 80 MB in memory"):
        open_array(tmp_path / "x.parquet")


def test_long_labels_in_parquet_are_streamed_but_not_read_whole(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": np.zeros(10_000_000, np.int64)}), tmp_path / "x.parquet")
    stored = open_array(tmp_path / "x.parquet", ndim=1)
    assert sum(len(chunk) for chunk in stored.chunks()) == 10_000_000
    with pytest.raises(FileFormatError, match="takes 80 MB in memory"):
        stored.read()


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    X = np.ones((5000, 100), np.float32)
    np.save(tmp_path / "x.npy", X)
    stored = open_array(tmp_path / "x.npy")
    stored.chunk_bytes = 100_000
    chunks = stored.chunks()
    next(chunks)
    with (tmp_path / "x.npy").open("rb+") as file:
        file.truncate(1_000_000)
    with pytest.raises(FileFormatError, match=r"x\.npy was truncated while it was read"):
        list(chunks)


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"rows for .*x\.npy must have shape \(m, \*\(5,\)\); got \(7, 4\)"),
        write_npy(tmp_path / "x.npy", CODES.shape, CODES.dtype) as write,
    ):
        write(CODES[:, :4])
    assert not list(tmp_path.iterdir())


def test_an_npz_file_never_holds_python_objects(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"cannot write names to .*a\.npz: it holds Python objects"):
        write_npz(tmp_path / "a.npz", names=np.array(["a", None], object))
    assert list(tmp_path.iterdir()) == []
