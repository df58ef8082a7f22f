"""Reading arrays from the files that people have, on real embeddings written in each format."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

from h2q.errors import FileFormatError
from h2q.files import StoredArray, list_arrays, open_array, write_npy, write_npz

X = load_digits().data.astype(np.float32)
LABELS = load_digits().target.astype(np.int64)
N, D = X.shape


def npy(path: Path) -> str:
    np.save(path.with_suffix(".npy"), X)
    return str(path.with_suffix(".npy"))


def npy_fortran(path: Path) -> str:
    np.save(path.with_suffix(".npy"), np.asfortranarray(X))
    return str(path.with_suffix(".npy"))


def npz(path: Path) -> str:
    np.savez(path.with_suffix(".npz"), vectors=X, labels=LABELS)
    return str(path.with_suffix(".npz"))


def npz_fortran(path: Path) -> str:
    np.savez(path.with_suffix(".npz"), vectors=np.asfortranarray(X))
    return str(path.with_suffix(".npz"))


def npz_compressed(path: Path) -> str:
    np.savez_compressed(path.with_suffix(".npz"), vectors=X, labels=LABELS)
    return str(path.with_suffix(".npz"))


def safetensors(path: Path) -> str:
    save_file({"labels": LABELS, "vectors": X}, path.with_suffix(".safetensors"))
    return str(path.with_suffix(".safetensors"))


def parquet_of(vectors: Any) -> Callable[[Path], str]:
    def write(path: Path) -> str:
        table = pa.table({"text": [str(label) for label in LABELS], "label": LABELS, "vector": vectors})
        pq.write_table(table, path.with_suffix(".parquet"), row_group_size=700)
        return str(path.with_suffix(".parquet"))

    return write


FLAT = pa.array(X.ravel())
WRITERS = {
    "npy": npy,
    "npy, Fortran order": npy_fortran,
    "npz": npz,
    "npz, Fortran order": npz_fortran,
    "npz, compressed": npz_compressed,
    "safetensors": safetensors,
    "parquet, lists": parquet_of(pa.array(list(X))),
    "parquet, fixed-size lists": parquet_of(pa.FixedSizeListArray.from_arrays(FLAT, D)),
    "parquet, large lists": parquet_of(pa.LargeListArray.from_arrays(np.arange(0, N * D + 1, D), FLAT)),
}


@pytest.fixture(params=WRITERS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return WRITERS[request.param](tmp_path / "x")


def test_every_format_gives_the_same(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredArray, "chunk_bytes", 300 * 4 * D)
    stored = open_array(source)
    assert stored.shape == (N, D)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored.read(), X)
    chunks = list(stored.embeddings())
    assert len(chunks) > 2
    np.testing.assert_array_equal(np.concatenate(chunks), X)
    rows = np.array([0, 299, 300, 1100, N - 1])
    np.testing.assert_array_equal(stored.take(rows), X[rows])


@pytest.mark.parametrize("writer", [npy, npz, safetensors])
def test_uncompressed_files_are_mapped(writer: Callable[[Path], str], tmp_path: Path) -> None:
    array: Any = open_array(writer(tmp_path / "x")).read()
    while not isinstance(array, np.memmap):
        array = array.base
        assert array is not None
    assert array.filename is not None


@pytest.mark.parametrize("writer", [npz_compressed, safetensors, parquet_of(pa.array(list(X)))])
def test_ids_and_labels_stand_beside_the_embeddings(writer: Callable[[Path], str], tmp_path: Path) -> None:
    np.testing.assert_array_equal(open_array(writer(tmp_path / "x"), ndim=1).read(), LABELS)


def test_a_name_picks_one_of_several(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, image=X, text=X[:, :10])
    with pytest.raises(ValueError, match=r"holds several arrays: image, text; name one, such as .*x\.npz:image"):
        open_array(path)
    assert open_array(f"{path}:text").shape == (N, 10)
    with pytest.raises(ValueError, match="holds no array audio; it holds image, text"):
        open_array(f"{path}:audio")


def test_a_name_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    source = npz(tmp_path / "x")
    with pytest.raises(ValueError, match=r"labels in .* is not a 2-D array; those are: vectors"):
        open_array(f"{source}:labels")
    with pytest.raises(ValueError, match=r"a \.npy file holds one array without a name"):
        open_array(f"{npy(tmp_path / 'x')}:vectors")


def test_a_path_with_a_colon_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a:b.npy"
    np.save(path, X)
    assert open_array(path).shape == (N, D)


def test_faults_name_the_row_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredArray, "chunk_bytes", 100 * 4 * D)
    broken = X.copy()
    broken[1234, 5] = np.nan
    for stored in (tmp_path / "x.npy", tmp_path / "x.parquet"):
        if stored.suffix == ".npy":
            np.save(stored, broken)
        else:
            pq.write_table(pa.table({"vector": list(broken)}), stored)
        with pytest.raises(ValueError, match=rf"{stored} contains NaN .*first: row 1234"):
            list(open_array(stored).embeddings())


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, 2.0], [3.0, 4.0], [5.0]], "has 1 numbers in row 2, and 2 in the first"),
        ([[1.0, 2.0], None, [5.0, 6.0]], "has no value in row 1"),
    ],
)
def test_a_parquet_column_with_holes_names_the_row(vectors: list[Any], message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"vector": vectors}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=message):
        open_array(tmp_path / "x.parquet").read()


def test_a_missing_number_within_a_row_is_found(tmp_path: Path) -> None:
    pq.write_table(pa.table({"vector": [[1.0, 2.0], [None, 4.0]]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="contains NaN in 1 of 2 rows"):
        list(open_array(tmp_path / "x.parquet").embeddings())


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"neither this nor that", b"\x93NUMPY\x01\x00"])
def test_foreign_files_are_named(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"foreign"):
        open_array(path)


def test_truncated_files_are_named(source: str) -> None:
    path = Path(source)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FileFormatError, match=str(path)):
        open_array(path)


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    objects: NDArray[Any] = np.array([["a", 1]], dtype=object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "x.npz", objects)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(FileFormatError, match="Python objects"):
            open_array(tmp_path / name)


def test_what_is_not_there_or_unknown(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*x\.npy"):
        open_array(tmp_path / "x.npy")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        open_array(tmp_path)
    (tmp_path / "x.csv").write_text("1,2\n")
    with pytest.raises(ValueError, match=r"unknown kind; expected one of \.npy, \.npz"):
        open_array(tmp_path / "x.csv")


def test_the_wrong_number_of_dimensions(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", X[0])
    with pytest.raises(ValueError, match=r"shape \(64,\); expected a 2-D array; one embedding .*\(1, 64\)"):
        open_array(tmp_path / "one.npy")
    np.savez(tmp_path / "ids.npz", ids=LABELS)
    with pytest.raises(ValueError, match="holds no 2-D array; it holds ids"):
        open_array(tmp_path / "ids.npz")


def test_a_type_that_numpy_does_not_have(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    save_torch({"vectors": torch.from_numpy(X).bfloat16()}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="is of type BF16; save it as F16, F32 or F64"):
        open_array(tmp_path / "x.safetensors")


def test_no_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X[:0])
    np.savez(tmp_path / "x.npz", X[:0])
    save_file({"x": X[:0]}, tmp_path / "x.safetensors")
    pq.write_table(pa.table({"x": pa.array([], pa.list_(pa.float32()))}), tmp_path / "x.parquet")
    for name in ("x.npy", "x.npz", "x.safetensors", "x.parquet"):
        with pytest.raises(ValueError, match="is empty"):
            list(open_array(tmp_path / name).embeddings())


def test_list_arrays_of_every_format(source: str) -> None:
    listed = list_arrays(Path(source))
    assert ("vectors" in str(listed)) or ("vector" in str(listed)) or listed == [("", (N, D), "float32")]


def test_npy_is_written_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with write_npy(path, X.shape, np.float32) as write:
        for start in range(0, N, 500):
            write(X[start : start + 500])
        assert not path.exists()
    np.testing.assert_array_equal(np.load(path), X)


def test_an_unfinished_npy_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, LABELS)
    with pytest.raises(ValueError, match="10 rows were written"), write_npy(path, X.shape, np.float32) as write:
        write(X[:10])
    np.testing.assert_array_equal(np.load(path), LABELS)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_not_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r": real_open(Path("/dev/full") if "w" in mode else path, mode)
    )
    with pytest.raises(OSError) as raised, write_npy(tmp_path / "x.npy", X.shape, np.float32) as write:  # noqa: PT011
        write(X)
    assert raised.value.errno == errno.ENOSPC
    assert not (tmp_path / "x.npy").exists()


def test_npz_is_written(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", ids=LABELS, distances=X)
    with np.load(tmp_path / "x.npz") as arrays:
        np.testing.assert_array_equal(arrays["ids"], LABELS)
        np.testing.assert_array_equal(arrays["distances"], X)
