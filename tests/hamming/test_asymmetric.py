"""Asymmetric search against brute force, ties above all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2q.hamming import asymmetric
from h2q.hamming.asymmetric import byte_tables, nearest_asymmetric


@given(st.integers(0, 2**32), st.integers(0, 6), st.integers(1, 120), st.integers(1, 20), st.booleans(), st.data())
@settings(max_examples=60)
def test_ties_go_to_the_lower_row(
    seed: int, n_queries: int, n: int, n_bits: int, all_alive: bool, data: st.DataObject
) -> None:
    generator = np.random.default_rng(seed)
    # Whole numbers add up without rounding, so that many codes are at exactly one distance.
    rotated = generator.integers(-2, 3, (n_queries, n_bits)).astype(np.float32)
    bits = generator.random((n, n_bits)) < 0.5
    alive = np.ones(0, bool) if all_alive else generator.random(n) < 0.7
    k = data.draw(st.integers(1, n))
    rows, distances = nearest_asymmetric(byte_tables(rotated), np.packbits(bits, axis=1), alive, k)
    differs = (rotated[:, None] > 0) != bits[None]
    expected = (np.abs(rotated)[:, None] * differs).sum(axis=2)
    if not all_alive:
        expected[:, ~alive] = np.inf
    order = np.argsort(expected, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(distances, np.take_along_axis(expected, order, 1))
    np.testing.assert_array_equal(rows, np.where(np.isinf(distances), -1, order))


def test_a_query_shared_out_in_parts_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    tables = byte_tables(generator.standard_normal((3, 16)).astype(np.float32))
    codes = generator.integers(0, 256, (20_000, 2), dtype=np.uint8)
    whole = nearest_asymmetric(tables, codes, np.ones(0, bool), 50)
    monkeypatch.setattr(asymmetric, "_JOB_BYTES", 1000)
    parts = nearest_asymmetric(tables, codes, np.ones(0, bool), 50)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_array_equal(whole[1], parts[1])
