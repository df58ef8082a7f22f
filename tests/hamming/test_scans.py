"""Hamming search against a brute-force oracle, over every width, tie and edge."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2q.hamming.scans import NearestScan, RadiusScan, distances, nearest, within


def oracle_distances(queries: np.ndarray, database: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(database, axis=1)[None]
    return bits.sum(axis=2).reshape(len(queries), len(database))


def oracle_nearest(queries: np.ndarray, database: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    near = oracle_distances(queries, database)
    order = np.array([np.lexsort((ids, row))[:k] for row in near], np.int64).reshape(len(queries), k)
    return ids[order], np.take_along_axis(near, order, 1)


def draw_codes(seed: int, n: int, width: int, spread: int) -> np.ndarray:
    """Codes with many ties: few bits differ from one code."""
    generator = np.random.default_rng(seed)
    bits = generator.random((n, 8 * width)) < spread / 100
    return np.packbits(bits ^ generator.integers(0, 2, 8 * width, dtype=np.uint8).astype(bool), axis=1)


cases = st.tuples(
    st.integers(0, 2**32), st.integers(0, 9), st.integers(1, 400), st.integers(1, 41), st.sampled_from([1, 5, 50])
)


@given(cases, st.data())
@settings(max_examples=60)
def test_nearest_is_brute_force(case: tuple[int, int, int, int, int], data: st.DataObject) -> None:
    seed, n_queries, n, width, spread = case
    database = draw_codes(seed, n, width, spread)
    queries = draw_codes(seed + 1, n_queries, width, spread) if seed % 2 else database[:n_queries]
    k = data.draw(st.integers(1, n))
    neighbors = nearest(queries, database, k)
    ids, expected = oracle_nearest(queries, database, np.arange(n), k)
    np.testing.assert_array_equal(neighbors.distances, expected)
    np.testing.assert_array_equal(neighbors.ids, ids)
    assert neighbors.ids.dtype == np.int64
    assert neighbors.distances.dtype == np.int32


@given(cases, st.integers(0, 40))
@settings(max_examples=40)
def test_within_is_brute_force(case: tuple[int, int, int, int, int], radius: int) -> None:
    seed, n_queries, n, width, spread = case
    database, queries = draw_codes(seed, n, width, spread), draw_codes(seed, n_queries, width, spread)
    neighbors = within(queries, database, radius)
    expected = oracle_distances(queries, database)
    assert len(neighbors) == n_queries
    np.testing.assert_array_equal(neighbors.counts, (expected <= radius).sum(axis=1))
    for q in range(n_queries):
        rows = np.flatnonzero(expected[q] <= radius)
        order = np.lexsort((rows, expected[q, rows]))
        np.testing.assert_array_equal(neighbors[q].ids, rows[order])
        np.testing.assert_array_equal(neighbors[q].distances, expected[q, rows[order]])


@given(cases)
@settings(max_examples=30)
def test_distance_rows_are_brute_force(case: tuple[int, int, int, int, int]) -> None:
    seed, n_queries, n, width, spread = case
    database, queries = draw_codes(seed, n, width, spread), draw_codes(seed + 1, n_queries, width, spread)
    np.testing.assert_array_equal(distances(queries, database), oracle_distances(queries, database))


@given(st.integers(0, 2**32), st.integers(1, 5), st.data())
@settings(max_examples=150)
def test_several_databases_with_interleaved_ids_removed_items_and_a_prefix(
    seed: int, parts: int, data: st.DataObject
) -> None:
    generator = np.random.default_rng(seed)
    width, n_queries = data.draw(st.sampled_from([1, 2, 7, 8, 11, 25, 47, 48, 70])), data.draw(st.integers(1, 9))
    n_bits = data.draw(st.integers(1, 8 * width))
    databases = [draw_codes(seed + i, int(generator.integers(1, 200)), width, 10) for i in range(parts)]
    n = sum(map(len, databases))
    all_ids = generator.permutation(10 * n)[:n]
    ids = [np.sort(part) for part in np.split(all_ids, np.cumsum([len(d) for d in databases])[:-1])]
    share = data.draw(st.sampled_from([0.02, 0.7, 1.0]))
    alive = [generator.random(len(d)) < share for d in databases]
    living = sum(int(a.sum()) for a in alive)
    queries = draw_codes(seed, n_queries, width, 10)
    radius_scan = RadiusScan(queries, 3, n_bits=n_bits, chunk_bytes=90 * width)
    for part, part_ids, part_alive in zip(databases, ids, alive, strict=True):
        radius_scan.add(part, part_ids, None if share == 1 else part_alive)
    codes = np.concatenate([d[a] for d, a in zip(databases, alive, strict=True)])
    kept = np.concatenate([i[a] for i, a in zip(ids, alive, strict=True)])
    prefix = np.packbits(np.arange(8 * width) < n_bits)
    expected = oracle_distances(queries & prefix, codes & prefix)
    for q in range(n_queries):
        rows = np.flatnonzero(expected[q] <= 3)
        order = np.lexsort((kept[rows], expected[q, rows]))
        np.testing.assert_array_equal(radius_scan.finish()[q].ids, kept[rows][order])
    if living == 0:
        return
    k = data.draw(st.integers(1, living))
    scan = NearestScan(queries, k, n_bits=n_bits, chunk_bytes=90 * width)
    for part, part_ids, part_alive in zip(databases, ids, alive, strict=True):
        scan.add(part, part_ids, None if share == 1 else part_alive)
    neighbors = scan.finish()
    expected_ids, expected_distances = oracle_nearest(queries & prefix, codes & prefix, kept, k)
    np.testing.assert_array_equal(neighbors.ids, expected_ids)
    np.testing.assert_array_equal(neighbors.distances, expected_distances)


def test_many_rows_cross_tiles_chunks_and_full_buffers() -> None:
    generator = np.random.default_rng(0)
    # Descending distances from the query: every row displaces one, so that buffers fill and limits fall all the time.
    bits = np.zeros((20_000, 64), np.uint8)
    for i, ones in enumerate(np.linspace(64, 0, 20_000).astype(int)):
        bits[i, generator.permutation(64)[:ones]] = 1
    database = np.packbits(bits, axis=1)
    queries = np.vstack([np.zeros((1, 8), np.uint8), database[::501]])
    index = faiss.IndexBinaryFlat(64)
    index.add(database)
    expected, _ = index.search(queries, 100)
    scan = NearestScan(queries, 100, chunk_bytes=8 * 3000)
    scan.add(database)
    neighbors = scan.finish()
    np.testing.assert_array_equal(neighbors.distances, expected)
    ids, _ = oracle_nearest(queries[:3], database, np.arange(20_000), 100)
    np.testing.assert_array_equal(neighbors.ids[:3], ids)


@pytest.mark.parametrize("n_bits", [1, 8, 13, 64, 65, 127, 1024, 65_536])
def test_every_width(n_bits: int) -> None:
    generator = np.random.default_rng(n_bits)
    codes = np.packbits(generator.integers(0, 2, (40, n_bits), dtype=np.uint8), axis=1)
    neighbors = nearest(codes[:5], codes, 40)
    ids, expected = oracle_nearest(codes[:5], codes, np.arange(40), 40)
    np.testing.assert_array_equal(neighbors.ids, ids)
    np.testing.assert_array_equal(neighbors.distances, expected)


def test_codes_mapped_from_a_file_are_searched_in_place(tmp_path) -> None:
    codes = draw_codes(3, 500, 8, 50)
    np.save(tmp_path / "codes.npy", codes)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    np.testing.assert_array_equal(nearest(codes[:4], mapped, 9).ids, nearest(codes[:4], codes, 9).ids)


@pytest.mark.parametrize(
    ("queries", "database", "error", "message"),
    [
        (np.zeros((1, 2)), np.zeros((1, 2), np.uint8), TypeError, "queries must be packed codes of dtype uint8"),
        (np.zeros((1, 2), np.uint8), [[1, 2]], TypeError, "database must be packed codes"),
        (np.zeros(2, np.uint8), np.zeros((1, 2), np.uint8), ValueError, r"queries must have shape \(n, bytes\)"),
        (np.zeros((1, 0), np.uint8), np.zeros((1, 0), np.uint8), ValueError, "queries must have shape"),
        (np.zeros((1, 2), np.uint8), np.zeros((1, 3), np.uint8), ValueError, "2 bytes and database 3"),
    ],
)
def test_what_is_no_codes_is_refused(queries, database, error: type[Exception], message: str) -> None:
    for search in (lambda: distances(queries, database), lambda: nearest(queries, database, 1)):
        with pytest.raises(error, match=message):
            search()


def test_k_and_radius_are_checked() -> None:
    codes = np.zeros((3, 1), np.uint8)
    with pytest.raises(ValueError, match="k must be from 1 to 3; got 4"):
        nearest(codes, codes, 4)
    with pytest.raises(ValueError, match="radius must be at least 0; got -1"):
        within(codes, codes, -1)
    with pytest.raises(IndexError):
        within(codes, codes, 1)[3]
    with pytest.raises(ValueError, match="n_bits must be from 1 to 8; got 9"):
        NearestScan(codes, 1, n_bits=9)


@pytest.mark.parametrize("cpu", ["generic", "x86-64-v3"] if platform.machine() == "x86_64" else ["generic"])
def test_processors_without_wide_vectors_give_the_same(cpu: str, tmp_path: Path) -> None:
    script = """
import numpy as np
from h2q.hamming import distances, nearest, within
generator = np.random.default_rng(0)
for width in (1, 8, 31, 47, 72):
    codes = generator.integers(0, 256, (3000, width), dtype=np.uint8)
    every = distances(codes[:9], codes)
    for n_queries in (2, 9):
        neighbors = nearest(codes[:n_queries], codes, 7)
        assert (neighbors.ids == np.argsort(every[:n_queries], axis=1, kind="stable")[:, :7]).all()
        counts = within(codes[:n_queries], codes, 4 * width).counts
        assert (counts == (every[:n_queries] <= 4 * width).sum(axis=1)).all()
"""
    environment = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
