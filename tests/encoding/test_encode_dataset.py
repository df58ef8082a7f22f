import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import h2q
from h2q.encoding import encode_dataset, open_collection, read_shards
from h2q.errors import FileFormatError

DIGITS = load_digits()
X = np.asarray(DIGITS.data, np.float32)


def table_of(rows: slice) -> pa.Table:
    """Embeddings as a column of lists, beside ids and labels."""
    return pa.table(
        {
            "id": [f"digit-{row}" for row in range(len(X))][rows],
            "vector": pa.FixedSizeListArray.from_arrays(X[rows].ravel(), X.shape[1]),
            "label": DIGITS.target[rows],
        }
    )


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """A folder with two files of row groups of 150 rows."""
    folder = tmp_path / "embeddings"
    (folder / "2024").mkdir(parents=True)
    pq.write_table(table_of(slice(0, 1000)), folder / "2024" / "a.parquet", row_group_size=150)
    pq.write_table(table_of(slice(1000, None)), folder / "b.parquet", row_group_size=150)
    return folder


@pytest.fixture(scope="module")
def quantizer() -> h2q.RefinedQuantizer:
    return h2q.RefinedQuantizer(5, random_state=0).fit(X)


def joined(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, pa.Table]:
    """Return all codes, scalars and columns of a folder of shards."""
    items, tables = zip(*read_shards(folder), strict=True)
    scalars = None if items[0].scalars is None else np.concatenate([part.scalars for part in items])
    return np.concatenate([part.codes for part in items]), scalars, pa.concat_tables(tables)


@pytest.mark.parametrize("n_processes", [1, 2])
def test_shards_hold_what_encoding_in_memory_gives(
    parquet: Path, tmp_path: Path, quantizer: h2q.RefinedQuantizer, n_processes: int
) -> None:
    done = encode_dataset(parquet, quantizer, tmp_path / "codes", shard_rows=300, n_processes=n_processes)
    assert (done.n_items, done.n_shards, done.n_resumed) == (1797, 7, 0)
    codes, scalars, columns = joined(tmp_path / "codes")
    expected = quantizer.encode_items(X)
    np.testing.assert_array_equal(codes, expected.codes)
    np.testing.assert_array_equal(scalars, expected.scalars)
    assert columns.equals(table_of(slice(None)).drop_columns("vector"))
    again = encode_dataset(parquet, quantizer, tmp_path / "codes", shard_rows=300)
    assert (again.n_items, again.n_resumed) == (1797, 7)


def test_the_shards_fill_an_index(parquet: Path, tmp_path: Path, quantizer: h2q.RefinedQuantizer) -> None:
    encode_dataset(parquet, quantizer, tmp_path / "codes")
    index = h2q.BinaryIndex(quantizer=h2q.load_quantizer(tmp_path / "codes" / "quantizer.safetensors"))
    for items, _ in read_shards(tmp_path / "codes"):
        index.add(items)
    expected = h2q.BinaryIndex(quantizer=quantizer)
    expected.add(X)
    np.testing.assert_array_equal(index.search(X[:20], 5).ids, expected.search(X[:20], 5).ids)


def write_npy(folder: Path) -> Path:
    folder.mkdir()
    np.save(folder / "a.npy", X[:900].astype(np.float64))
    np.save(folder / "b.npy", X[900:].astype(np.float16))
    return folder


def write_fortran(folder: Path) -> Path:
    folder.mkdir()
    np.save(folder / "a.npy", np.asfortranarray(X))
    return folder


def write_zarr(folder: Path) -> Path:
    import zarr

    zarr.create_array(folder / "x.zarr", data=X, chunks=(100, 64))
    return folder / "x.zarr"


@pytest.mark.parametrize("write", [write_npy, write_fortran, write_zarr])
def test_arrays_travel_with_their_row_numbers(tmp_path: Path, write: Any, quantizer: h2q.RefinedQuantizer) -> None:
    encode_dataset(write(tmp_path / "arrays"), quantizer, tmp_path / "codes", shard_rows=400)
    codes, _, columns = joined(tmp_path / "codes")
    np.testing.assert_array_equal(codes, quantizer.encode(X))
    np.testing.assert_array_equal(columns["row"], np.arange(1797))


def test_a_quantizer_that_is_not_fitted_is_fitted_once(parquet: Path, tmp_path: Path) -> None:
    encode_dataset(parquet, h2q.HouseholderQuantizer(16, random_state=0), tmp_path / "codes")
    fitted = h2q.load_quantizer(tmp_path / "codes" / "quantizer.safetensors")
    # The same rows in memory give the same quantizer.
    assert fitted.fingerprint() == h2q.HouseholderQuantizer(16, random_state=0).fit([X[:1000], X[1000:]]).fingerprint()
    np.testing.assert_array_equal(joined(tmp_path / "codes")[0], fitted.encode(X))


def test_columns_and_patterns(parquet: Path, tmp_path: Path, quantizer: h2q.RefinedQuantizer) -> None:
    encode_dataset(f"{parquet}/**/*.parquet", quantizer, tmp_path / "codes", column="vector", columns=["label"])
    assert joined(tmp_path / "codes")[2].column_names == ["label"]
    with pytest.raises(ValueError, match="has no column 'color' beside the embeddings; it has id, label"):
        open_collection(parquet, columns=["color"])
    with pytest.raises(FileNotFoundError, match=r"there is no .parquet, .npy or .zarr file at"):
        open_collection(f"{parquet}/*.npy")
    np.save(parquet / "c.npy", X)
    with pytest.raises(ValueError, match=r"files of one kind; got .npy, .parquet"):
        open_collection(parquet)


def test_a_folder_of_images_is_embedded_and_resumed(tmp_path: Path) -> None:
    from PIL import Image

    from h2q.datasets.images import BrokenImageError, FileImages
    from h2q.similarity import extract_features

    names = [f"{row % 2}/{row}.png" for row in range(12)]
    for row, name in enumerate(names):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((X[row].reshape(8, 8) * 15).astype(np.uint8)).save(tmp_path / "images" / name)
    names.sort()
    broken = tmp_path / "images" / names[7]
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    os.utime(broken, ns=(0, 0))
    expected = extract_features(FileImages(tmp_path / "images", names[:7]), image_size=32, progress=False)
    fitted = h2q.SignQuantizer(4).fit(expected)
    options: dict[str, Any] = {"backbone": "efficientnet-lite0", "image_size": 32, "shard_rows": 5}
    with pytest.raises(BrokenImageError, match=names[7]):
        encode_dataset(tmp_path / "images", fitted, tmp_path / "codes", **options)
    broken.write_bytes(whole.ljust(len(whole)))
    with pytest.raises(FileExistsError, match="other files, or these before they were changed"):
        encode_dataset(tmp_path / "images", fitted, tmp_path / "codes", **options)
    done = encode_dataset(tmp_path / "images", fitted, tmp_path / "others", **options)
    assert (done.n_items, done.n_shards) == (12, 3)
    codes, _, columns = joined(tmp_path / "others")
    assert columns["path"].to_pylist() == names
    np.testing.assert_array_equal(codes[:7], fitted.encode(expected))
    assert encode_dataset(tmp_path / "images", fitted, tmp_path / "others", **options).n_resumed == 3
    with pytest.raises(ValueError, match="a folder of images has none"):
        open_collection(tmp_path / "images", columns=["id"], backbone="efficientnet-lite0")
    with pytest.raises(FileNotFoundError, match="there are no images in"):
        open_collection(tmp_path / "codes", backbone="efficientnet-lite0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder, options: pq.write_table(table_of(slice(0, 1000)), folder / "2024" / "a.parquet"),
            "other files",
        ),
        (lambda folder, options: options.update(quantizer=h2q.SignQuantizer(16).fit(X)), "another quantizer"),
        (lambda folder, options: options.update(columns=["id"]), "other columns"),
        (lambda folder, options: options.update(shard_rows=500), "other sizes of shards"),
    ],
)
def test_another_run_is_refused(
    parquet: Path, tmp_path: Path, quantizer: h2q.RefinedQuantizer, change: Any, message: str
) -> None:
    options: dict[str, Any] = {"quantizer": quantizer, "shard_rows": 300}
    encode_dataset(parquet, output=tmp_path / "codes", **options)
    change(parquet, options)
    with pytest.raises(FileExistsError, match=message):
        encode_dataset(parquet, output=tmp_path / "codes", **options)


def test_damage_is_named(parquet: Path, tmp_path: Path, quantizer: h2q.RefinedQuantizer) -> None:
    encode_dataset(parquet, quantizer, tmp_path / "codes", shard_rows=300)
    shard = tmp_path / "codes" / "shard-000003.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"shard-000003.parquet is damaged"):
        list(read_shards(tmp_path / "codes"))
    # The run mends it.
    assert encode_dataset(parquet, quantizer, tmp_path / "codes", shard_rows=300).n_resumed == 6
    np.testing.assert_array_equal(joined(tmp_path / "codes")[0], quantizer.encode(X))


def test_a_row_that_is_no_embedding_is_named(tmp_path: Path, quantizer: h2q.RefinedQuantizer) -> None:
    broken = X.copy()
    broken[1234, 5] = np.nan
    np.save(tmp_path / "x.npy", broken)
    with pytest.raises(ValueError, match=r"x\.npy .*NaN.*row 1234"):
        encode_dataset(tmp_path / "x.npy", quantizer, tmp_path / "codes", shard_rows=500)
    with pytest.raises(FileNotFoundError, match="the run is not complete"):
        list(read_shards(tmp_path / "codes"))


PROGRAM = """
import sys, h2q
h2q.encode_dataset(sys.argv[1], h2q.load_quantizer(sys.argv[2]), sys.argv[3], shard_rows=150)
"""


def started(*arguments: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, arguments)])


@pytest.fixture
def run(parquet: Path, tmp_path: Path, quantizer: h2q.RefinedQuantizer) -> tuple[Path, Path, Path]:
    quantizer.save(tmp_path / "quantizer.safetensors")
    return parquet, tmp_path / "quantizer.safetensors", tmp_path / "codes"


def test_killed_at_random_moments_every_row_is_there_once(
    run: tuple[Path, Path, Path], quantizer: h2q.RefinedQuantizer
) -> None:
    """kill -9 while shards are being written, until 4 runs have been cut short or one comes to its end."""
    source, _, output = run
    moments, kills = random.Random(0), 0
    while kills < int(os.environ.get("H2Q_FAULTS", "1")) * 4:
        seen = len(list(output.glob("shard-*"))) if output.exists() else 0
        process = started(*run)
        while process.poll() is None and len(list(output.glob("shard-*"))) <= seen:
            time.sleep(0.001)
        time.sleep(moments.random() * 0.02)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills > 0
    done = encode_dataset(source, quantizer, output, shard_rows=150)
    assert done.n_resumed >= kills - 1
    codes, _, columns = joined(output)
    np.testing.assert_array_equal(codes, quantizer.encode(X))
    assert columns["id"].to_pylist() == [f"digit-{row}" for row in range(1797)]
    assert not list(output.glob(".*.tmp"))


def test_two_processes_do_not_write_to_one_folder(
    run: tuple[Path, Path, Path], quantizer: h2q.RefinedQuantizer
) -> None:
    from filelock import FileLock

    source, _, output = run
    output.mkdir()
    with FileLock(output / ".lock"), pytest.raises(TimeoutError, match="another process is encoding into"):
        encode_dataset(source, quantizer, output)
