"""The real libraries read what the converters write: the same bits, and the same distances as ours.

PostgreSQL and Milvus do so in tests/index/test_engines.py, where their servers run.
"""

import importlib
import importlib.metadata
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

from h2q import BinaryIndex, RandomRotationQuantizer, converters

X = load_digits().data[:, 1:].astype(np.float32)
K = 20


@pytest.fixture(scope="module", params=[48, 43])
def n_bits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def rotated(n_bits: int) -> np.ndarray:
    return RandomRotationQuantizer(n_bits, random_state=0).fit_transform(X)


@pytest.fixture(scope="module")
def codes(rotated: np.ndarray) -> np.ndarray:
    return np.packbits(rotated > 0, axis=1)


@pytest.fixture(scope="module")
def nearest(codes: np.ndarray, n_bits: int) -> np.ndarray:
    index = BinaryIndex(n_bits)
    index.add(codes)
    return index.search(codes[:5], K).distances


def test_faiss(rotated: np.ndarray, codes: np.ndarray, n_bits: int, nearest: np.ndarray) -> None:
    import faiss

    packed = np.zeros_like(codes)
    padded = np.pad(rotated, ((0, 0), (0, -n_bits % 8)), constant_values=-1.0)
    faiss.real_to_binary(padded.size, faiss.swig_ptr(np.ascontiguousarray(padded)), faiss.swig_ptr(packed))
    np.testing.assert_array_equal(converters.to_faiss(codes, n_bits), packed)
    np.testing.assert_array_equal(converters.from_faiss(packed, n_bits), codes)
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(converters.to_faiss(codes, n_bits))
    distances, _ = index.search(converters.to_faiss(codes[:5], n_bits), K)
    np.testing.assert_array_equal(distances, nearest)


def test_usearch(codes: np.ndarray, n_bits: int, nearest: np.ndarray) -> None:
    from usearch.index import Index, MetricKind

    index = Index(ndim=8 * codes.shape[1], metric=MetricKind.Hamming, dtype="b1")
    index.add(np.arange(len(codes)), converters.to_usearch(codes, n_bits))
    matches = index.search(converters.to_usearch(codes[:5], n_bits), K, exact=True)
    np.testing.assert_array_equal(matches.distances.astype(int), nearest)
    np.testing.assert_array_equal(converters.from_usearch(index.get(np.arange(len(codes))), n_bits), codes)


def test_sqlite_vec(rotated: np.ndarray, codes: np.ndarray, n_bits: int, nearest: np.ndarray) -> None:
    import apsw
    import sqlite_vec

    database = apsw.Connection(":memory:")
    database.enable_load_extension(True)
    database.load_extension(sqlite_vec.loadable_path())
    padded = np.pad(rotated, ((0, 0), (0, -n_bits % 8)), constant_values=-1.0)
    quantized = [database.execute("select vec_quantize_binary(?)", [row.tobytes()]).fetchone()[0] for row in padded]
    blobs = converters.to_sqlite_vec(codes, n_bits)
    assert blobs == quantized
    np.testing.assert_array_equal(converters.from_sqlite_vec(quantized, n_bits), codes)
    database.execute(f"create virtual table items using vec0(code bit[{8 * codes.shape[1]}])")
    database.executemany("insert into items(rowid, code) values (?, vec_bit(?))", list(enumerate(blobs)))
    query = f"select distance from items where code match vec_bit(?) and k = {K} order by distance"
    distances = [[row[0] for row in database.execute(query, [blob])] for blob in blobs[:5]]
    np.testing.assert_array_equal(distances, nearest)


def test_lancedb(tmp_path: Path, codes: np.ndarray, n_bits: int, nearest: np.ndarray) -> None:
    import lancedb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        database = lancedb.connect(tmp_path)
        table = database.create_table("items", pa.table({"code": converters.to_lancedb(codes, n_bits)}))
        queries = [code.tolist() for code in codes[:5]]
        results = [table.search(code).distance_type("hamming").limit(K).to_arrow() for code in queries]
        stored = table.to_arrow()["code"]
    np.testing.assert_array_equal([result["_distance"].to_numpy() for result in results], nearest)
    np.testing.assert_array_equal(converters.from_lancedb(stored, n_bits), codes)


def test_sentence_transformers(
    monkeypatch: pytest.MonkeyPatch, rotated: np.ndarray, codes: np.ndarray, n_bits: int
) -> None:
    # Packages without their __init__, whose imports take ten seconds; the function is the real one.
    root = Path(str(importlib.metadata.distribution("sentence-transformers").locate_file("sentence_transformers")))
    for name, folder in [("sentence_transformers", root), ("sentence_transformers.util", root / "util")]:
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        monkeypatch.setitem(sys.modules, name, package)
    module = importlib.import_module("sentence_transformers.util.quantization")
    if n_bits % 8:
        rotated = np.pad(rotated, ((0, 0), (0, -n_bits % 8)), constant_values=-1.0)
    for precision in ("ubinary", "binary"):
        theirs = module.quantize_embeddings(rotated, precision)
        ours = getattr(converters, f"to_{precision}")(codes, n_bits)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(getattr(converters, f"from_{precision}")(theirs, n_bits), codes)


def test_bson(codes: np.ndarray, n_bits: int) -> None:
    from bson import decode, encode
    from bson.binary import VECTOR_SUBTYPE, Binary, BinaryVectorDtype

    padding = -n_bits % 8
    vectors = [Binary.from_vector(row.tolist(), BinaryVectorDtype.PACKED_BIT, padding) for row in codes]
    ours = [Binary(value, VECTOR_SUBTYPE) for value in converters.to_bson(codes, n_bits)]
    assert ours == vectors
    stored = decode(encode({"codes": vectors}))["codes"]
    np.testing.assert_array_equal(converters.from_bson(stored, n_bits), codes)
    assert ours[0].as_vector().padding == padding
