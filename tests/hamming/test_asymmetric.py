"""Asymmetric search against brute force, ties above all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2q.hamming import AsymmetricScan, Neighbors


def oracle(
    queries: np.ndarray, bits: np.ndarray, k: int, ids: np.ndarray, scales: np.ndarray | None = None,
    offsets: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Ids and distances of the k nearest, both (n_queries, k); scales and offsets are those of the items."""
    if scales is None:
        distances = (np.abs(queries)[:, None] * ((queries[:, None] > 0) != bits[None])).sum(axis=2)
    else:
        distances = -(scales * (queries @ (2.0 * bits - 1).T) + offsets)
    order = np.array([np.lexsort((ids, row))[:k] for row in distances], np.int64).reshape(len(queries), k)
    return ids[order], np.take_along_axis(distances, order, 1)


def assert_equal(neighbors: Neighbors, expected: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(neighbors.distances, expected[1])
    np.testing.assert_array_equal(neighbors.ids, expected[0])
    assert neighbors.ids.dtype == np.int64
    assert neighbors.distances.dtype == np.float32


cases = st.tuples(st.integers(0, 2**32), st.integers(0, 6), st.integers(1, 120), st.integers(1, 140))


@given(cases, st.booleans(), st.data())
@settings(max_examples=80)
def test_search_equals_brute_force_and_ties_go_to_the_lower_id(
    case: tuple[int, int, int, int], with_scalars: bool, data: st.DataObject
) -> None:
    seed, n_queries, n, n_bits = case
    generator = np.random.default_rng(seed)
    # Sums and products of small whole numbers are exact in float32, so that many codes are at exactly one distance.
    queries = generator.integers(-2, 3, (n_queries, n_bits)).astype(np.float32)
    bits = generator.random((n, n_bits)) < 0.5
    alive = generator.random(n) < data.draw(st.sampled_from([0.1, 0.7, 1.0]))
    alive[generator.integers(n)] = True
    ids = np.sort(generator.choice(10 * n, n, replace=False))
    k = data.draw(st.integers(1, int(alive.sum())))
    cut = data.draw(st.integers(0, n))
    tables, scalars, of_items = {}, None, {}
    if with_scalars:
        tables = {name: generator.integers(0, 4, 256).astype(np.float32) for name in ("scales", "offsets")}
        scalars = generator.integers(0, 256, n, dtype=np.uint8)
        of_items = {name: table[scalars[alive]] for name, table in tables.items()}
    scan = AsymmetricScan(queries, k, **tables, chunk_bytes=data.draw(st.sampled_from([300, 1 << 20])))
    for part in (slice(cut, n), slice(0, cut)):
        part_scalars = None if scalars is None else scalars[part]
        scan.add(np.packbits(bits[part], axis=1), ids[part], None if alive.all() else alive[part], part_scalars)
    assert_equal(scan.finish(), oracle(queries, bits[alive], k, ids[alive], **of_items))


def test_the_distance_is_that_of_the_estimator() -> None:
    generator = np.random.default_rng(0)
    queries = generator.standard_normal((20, 376)).astype(np.float32)
    bits = generator.random((5000, 376)) < 0.5
    scales = np.exp(generator.normal(0, 0.2, 256)).astype(np.float32)
    offsets = generator.normal(0, 5, 256).astype(np.float32)
    scalars = generator.integers(0, 256, 5000, dtype=np.uint8)
    scan = AsymmetricScan(queries, 10, scales=scales, offsets=offsets)
    scan.add(np.packbits(bits, axis=1), scalars=scalars)
    neighbors = scan.finish()
    ids, distances = oracle(queries.astype(np.float64), bits, 10, np.arange(5000), scales[scalars], offsets[scalars])
    np.testing.assert_allclose(neighbors.distances, distances, rtol=1e-5)
    assert (neighbors.ids == ids).mean() > 0.99


def test_without_scalars_the_order_is_that_of_the_inner_product() -> None:
    generator = np.random.default_rng(1)
    queries = generator.standard_normal((5, 64)).astype(np.float32)
    bits = generator.random((300, 64)) < 0.5
    scan = AsymmetricScan(queries, 300)
    scan.add(np.packbits(bits, axis=1))
    products = queries @ (2.0 * bits - 1).T
    np.testing.assert_array_equal(scan.finish().ids, np.argsort(-products, axis=1))


def test_few_and_many_queries_over_many_rows_give_the_same() -> None:
    generator = np.random.default_rng(0)
    queries = generator.standard_normal((200, 64)).astype(np.float32)
    codes = generator.integers(0, 256, (70_000, 8), dtype=np.uint8)
    together = AsymmetricScan(queries, 50)
    together.add(codes)
    alone = AsymmetricScan(queries[:1], 50)
    alone.add(codes[:33_333])
    alone.add(codes[33_333:], np.arange(33_333, 70_000))
    np.testing.assert_array_equal(alone.finish().ids, together.finish().ids[:1])
    np.testing.assert_array_equal(alone.finish().distances, together.finish().distances[:1])


CODES, WEIGHTS, TABLE = np.zeros((3, 2), np.uint8), np.ones((1, 12), np.float32), np.ones(256, np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"queries": WEIGHTS.astype(np.float64)}, TypeError, "queries must be rotated embeddings of dtype float32"),
        ({"queries": WEIGHTS[0]}, ValueError, r"queries must have shape \(n_queries, n_bits\); got \(12,\)"),
        ({"queries": WEIGHTS[:, :0]}, ValueError, r"queries must have shape \(n_queries, n_bits\)"),
        ({"k": 0}, ValueError, "k must be at least 1; got 0"),
        ({"scales": TABLE}, TypeError, "offsets must be a float32 array, beside the other of scales and offsets"),
        ({"offsets": TABLE}, TypeError, "scales must be a float32 array"),
        ({"scales": TABLE.astype(int), "offsets": TABLE}, TypeError, "scales must be a float32 array"),
        ({"scales": TABLE, "offsets": TABLE[:16]}, ValueError, r"offsets must have shape \(256,\), .* got \(16,\)"),
        ({"scales": TABLE * np.float32(np.nan), "offsets": TABLE}, ValueError, "scales must be finite; entry 0"),
        ({"scales": -TABLE, "offsets": TABLE}, ValueError, "scales must be at least 0; got -1.0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        AsymmetricScan(**{"queries": WEIGHTS, "k": 1, **arguments})


def test_codes_and_scalars_must_fit_the_scan() -> None:
    with pytest.raises(ValueError, match="codes must have 2 bytes, as queries of 12 bits need; got 3"):
        AsymmetricScan(WEIGHTS, 1).add(np.zeros((1, 3), np.uint8))
    with pytest.raises(ValueError, match="scalars need a scan with scales and offsets"):
        AsymmetricScan(WEIGHTS, 1).add(CODES, scalars=np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="scalars are missing"):
        AsymmetricScan(WEIGHTS, 1, scales=TABLE, offsets=TABLE).add(CODES)


@pytest.mark.parametrize("shape", ["one weight", "one size", "one outlier", "tiny", "huge"])
def test_no_near_code_is_ruled_out_whatever_the_weights(shape: str) -> None:
    generator = np.random.default_rng(3)
    queries = generator.standard_normal((9, 100)).astype(np.float32)
    if shape == "one weight":
        queries[:, 1:] = 0
    elif shape == "one size":
        queries = np.sign(queries)
    elif shape == "one outlier":
        queries[:, 7] = 1e4
    else:
        queries *= np.float32(1e-12 if shape == "tiny" else 1e12)
    bits = generator.random((4000, 100)) < 0.5
    scan = AsymmetricScan(queries, 20)
    scan.add(np.packbits(bits, axis=1))
    _, distances = oracle(queries.astype(np.float64), bits, 20, np.arange(4000))
    np.testing.assert_allclose(scan.finish().distances, distances, rtol=1e-5)
