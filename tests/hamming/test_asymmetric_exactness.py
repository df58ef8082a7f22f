"""Pruning never changes a result: the k nearest are the first k of a ranking of all items, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from h2q.hamming import AsymmetricScan
from h2q.index import BinaryIndex
from h2q.quantization import RefinedQuantizer

WEIGHTS = {
    "normal": lambda g, shape: g.standard_normal(shape),
    "heavy tails": lambda g, shape: g.standard_cauchy(shape),
    "whole numbers": lambda g, shape: g.integers(-2, 3, shape),
    "equal sizes": lambda g, shape: np.sign(g.standard_normal(shape)),
    "one outlier": lambda g, shape: np.where(np.arange(shape[1]) == 3, 1e6, g.standard_normal(shape)),
    "all zero": lambda g, shape: np.zeros(shape),
    "tiny": lambda g, shape: 1e-30 * g.standard_normal(shape),
    "subnormal": lambda g, shape: 1e-43 * g.standard_normal(shape),
    "huge": lambda g, shape: 1e24 * g.standard_normal(shape),
}
SCALES = {
    "near one": lambda g: np.exp(g.normal(0, 0.2, 256)),
    "many orders": lambda g: 10 ** g.uniform(-6, 6, 256),
    "mostly zero": lambda g: np.where(g.random(256) < 0.9, 0, 1),
    "all zero": lambda g: np.zeros(256),
}
OFFSETS = {
    "small": lambda g: g.normal(0, 0.1, 256),
    "far above the products": lambda g: g.normal(0, 1e7, 256),
    "few values": lambda g: g.integers(0, 2, 256),
    "zero": lambda g: np.zeros(256),
}


def scanned(queries, codes, scalars, tables, k):
    scan = AsymmetricScan(queries, k, **tables)
    for start in range(0, len(codes), 700):  # later parts are pruned from the start
        part = slice(start, start + 700)
        scan.add(codes[part], np.arange(len(codes))[part], scalars=None if scalars is None else scalars[part])
    return scan.finish()


@given(
    st.integers(0, 2**32), st.sampled_from(sorted(WEIGHTS)), st.sampled_from([*sorted(SCALES), None]),
    st.sampled_from(sorted(OFFSETS)), st.sampled_from([20, 64, 376]), st.sampled_from([1, 10, 65]), st.integers(1, 40),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_first_k_of_a_ranking_of_all(seed, weights, scales, offsets, n_bits, k, distinct) -> None:
    generator = np.random.default_rng(seed)
    queries = WEIGHTS[weights](generator, (3, n_bits)).astype(np.float32)
    codes = generator.integers(0, 256, (2_000, (n_bits + 7) // 8), dtype=np.uint8)
    if n_bits % 8:
        codes[:, -1] &= 0xFF << (8 - n_bits % 8) & 0xFF
    codes[1_000:] = codes[generator.integers(0, distinct, 1_000)]  # many items at exactly one distance
    tables, scalars = {}, None
    if scales is not None:
        tables = {"scales": SCALES[scales](generator), "offsets": OFFSETS[offsets](generator)}
        tables = {name: table.astype(np.float32) for name, table in tables.items()}
        scalars = generator.integers(0, 256, len(codes), dtype=np.uint8)
    every, nearest = (scanned(queries, codes, scalars, tables, size) for size in (len(codes), k))
    np.testing.assert_array_equal(nearest.distances, every.distances[:, :k])
    np.testing.assert_array_equal(nearest.ids, every.ids[:, :k])


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner_product"])
def test_an_index_of_refined_codes_with_duplicates_and_far_items(metric) -> None:
    digits = load_digits().data.astype(np.float32)[:, 1:63]
    items = np.concatenate([digits, digits[:500], 1e6 * digits[:50], 1e-6 * digits[50:100]])
    index = BinaryIndex(quantizer=RefinedQuantizer(5, random_state=0).fit(digits), metric=metric)
    for part in np.array_split(items, 5):
        index.add(part)
    queries = np.concatenate([digits[:40], 1e-6 * digits[40:80], 1e6 * digits[80:120]])
    every = index.search(queries, len(items), scoring="asymmetric")
    for k in (1, 10, 300):
        nearest = index.search(queries, k, scoring="asymmetric")
        np.testing.assert_array_equal(nearest.distances, every.distances[:, :k])
        np.testing.assert_array_equal(nearest.ids, every.ids[:, :k])
