"""``h2q encode`` to a folder of shards."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import h2q
from h2q.encoding import read_shards


@pytest.fixture
def collection(document: Any, x_file: Path) -> Path:
    """Parquet files in a folder, beside x.npy and q.safetensors."""
    X = np.load(x_file)
    folder = x_file.with_name("embeddings")
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(X)), 3)):
        table = pa.table({"vector": list(X[rows].astype(np.float32)), "id": rows, "name": [f"x{row}" for row in rows]})
        pq.write_table(table, folder / f"part-{number}.parquet")
    document("fit", x_file, "-o", x_file.with_name("q.safetensors"), "--bits", 24, "--method", "random")
    return folder


def test_a_folder_of_files_to_a_folder_of_shards(document: Any, run: Any, collection: Path) -> None:
    quantizer, output = collection.with_name("q.safetensors"), collection.with_name("codes")
    result = document("encode", collection, "-q", quantizer, "-o", output, "--columns", "id", "--shard-rows", 500)
    assert (result["items"], result["shards"], result["resumed"]) == (1797, 3, 0)
    X = np.load(collection.with_name("x.npy"))
    items, columns = zip(*read_shards(output), strict=True)
    codes = np.concatenate([part.codes for part in items])
    np.testing.assert_array_equal(codes, h2q.load_quantizer(quantizer).encode(X.astype(np.float32)))
    assert columns[0].column_names == ["id"]
    again = run("encode", collection, "-q", quantizer, "-o", output, "--columns", "id", "--shard-rows", 500)
    assert "1,797 embeddings to 3 shards (3 were there) in" in again.stdout
    described = document("info", output)
    assert (described["kind"], described["items"], described["bits"]) == ("codes in shards", 1797, 24)


def test_wrong_collections(fails: Any, collection: Path) -> None:
    quantizer, output = collection.with_name("q.safetensors"), collection.with_name("codes")
    assert "give --output a folder, without .npy" in fails(
        1, "encode", collection, "-q", quantizer, "-o", collection.with_name("codes.npy")
    )
    assert "there is no .parquet, .npy or .zarr file at" in fails(1, "encode", "nowhere", "-q", quantizer, "-o", output)
    assert "has no column 'color'" in fails(
        1, "encode", collection, "-q", quantizer, "-o", output, "--columns", "color"
    )
    assert not output.exists()
