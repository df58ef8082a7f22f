"""Searches that compare the first bits of codes: alone, or before the whole codes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from h2q.hamming.candidates import candidate_distances, candidate_products
from h2q.index import BinaryIndex
from h2q.index import prefixes as module
from h2q.quantization import HouseholderQuantizer, RefinedQuantizer, unpack_bits

DIGITS = load_digits().data.astype(np.float32)
DIGITS = DIGITS[:, DIGITS.std(axis=0) > 0]
X, QUERIES = DIGITS[100:], DIGITS[:100]


@pytest.fixture(scope="module")
def quantizer() -> HouseholderQuantizer:
    return HouseholderQuantizer(48, random_state=0).fit(X)


@pytest.fixture(scope="module")
def index(quantizer: HouseholderQuantizer) -> BinaryIndex:
    """Return an index of three segments with removed rows and ids that are no rows."""
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    for start, stop in ((0, 900), (900, 1000), (1000, len(X))):
        index.add(X[start:stop], ids=np.arange(start, stop)[::-1] * 3)
        index.remove(np.arange(start, stop, 7) * 3)
    return index


def living(index: BinaryIndex, column: str) -> np.ndarray:
    return np.concatenate([segment.living(column) for segment in index._state.segments])


def first(codes: np.ndarray, n_bits: int) -> np.ndarray:
    return np.packbits(np.unpackbits(codes, axis=1)[:, :n_bits], axis=1)


@pytest.mark.parametrize("n_bits", [1, 8, 13, 47])
def test_n_bits_is_a_search_of_shorter_codes(index, quantizer, n_bits):
    shorter = BinaryIndex(n_bits)
    shorter.add(first(living(index, "codes"), n_bits), living(index, "ids"))
    expected = shorter.search(first(quantizer.encode(QUERIES), n_bits), 10)
    for queries in (QUERIES, quantizer.encode(QUERIES)):
        neighbors = index.search(queries, 10, scoring="hamming", n_bits=n_bits)
        np.testing.assert_array_equal(neighbors.ids, expected.ids)
        np.testing.assert_array_equal(neighbors.distances, expected.distances)


@pytest.mark.parametrize("n_bits", [8, 13, 47])
def test_asymmetric_scores_of_a_prefix_are_those_of_its_decoder(index, quantizer, n_bits):
    neighbors = index.search(QUERIES, 10, n_bits=n_bits)
    signs = 2.0 * unpack_bits(living(index, "codes"), 48)[:, :n_bits] - 1
    decoded = quantizer.mean_ + signs @ quantizer.reconstruction_[:n_bits]
    unit = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)
    # The length of the code's embedding is not estimated: all count as rows of the root mean square norm.
    square = quantizer.mean_ @ quantizer.mean_ + quantizer.spread_[0]
    scaled = unit * np.sqrt(square)
    products = (scaled - quantizer.mean_) @ (decoded - quantizer.mean_).T + (scaled @ quantizer.mean_)[:, None]
    estimates = 1 - products / square
    np.testing.assert_allclose(neighbors.distances, np.sort(estimates, axis=1)[:, :10], atol=1e-4)


@given(st.integers(1, 48), st.integers(1, 30), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_without_a_shortlist_the_result_is_exact(index, prefix, k, seed):
    queries = QUERIES[np.random.default_rng(seed).integers(0, 100, 9)]
    expected = index.search(queries, k, scoring="hamming")
    neighbors = index.search(queries, k, scoring="hamming", prefix=prefix)
    np.testing.assert_array_equal(neighbors.ids, expected.ids)
    np.testing.assert_array_equal(neighbors.distances, expected.distances)


def test_long_prefixes_prove_their_result_and_short_ones_do_not(index, quantizer):
    segments, codes = index._state.segments, quantizer.encode(QUERIES)
    shares = [
        module.nearest_by_prefix_and_codes(segments, codes, 3, module.Prefix(n_bits, None))[1].mean()
        for n_bits in (4, 40, 47)
    ]
    assert shares[0] == 0
    assert 0.5 < shares[1] <= shares[2]


@pytest.mark.parametrize("scoring", ["hamming", "asymmetric"])
def test_a_shortlist_is_the_best_of_the_nearest_by_the_prefix(index, quantizer, scoring):
    neighbors = index.search(QUERIES, 5, scoring=scoring, prefix=16, shortlist=40)
    everything = index.search(QUERIES, len(index), scoring=scoring)
    near = index.search(QUERIES, 40, scoring="hamming", n_bits=16)
    farthest = near.distances[:, -1:]
    codes, ids = first(living(index, "codes"), 16), living(index, "ids")
    by_prefix = np.bitwise_count(codes[None] ^ first(quantizer.encode(QUERIES), 16)[:, None]).sum(axis=2)
    for query in range(len(QUERIES)):
        # Which items at the farthest distance are let through is open.
        sure = ids[by_prefix[query] < farthest[query]]
        possible = ids[by_prefix[query] <= farthest[query]]
        assert np.isin(neighbors.ids[query], possible).all()
        ranked = everything.ids[query]
        worst = np.flatnonzero(ranked == neighbors.ids[query, -1])[0]
        assert np.isin(ranked[:worst][np.isin(ranked[:worst], sure)], neighbors.ids[query]).all()
        place = dict(zip(ranked, everything.distances[query], strict=True))
        np.testing.assert_allclose(
            neighbors.distances[query], [place[item] for item in neighbors.ids[query]], rtol=1e-4, atol=1e-4
        )


def test_a_shortlist_of_all_items_is_the_full_search_with_scalars_too(tmp_path):
    refined = RefinedQuantizer(5, random_state=0).fit(X)
    index = BinaryIndex(quantizer=refined, keep_embeddings=True)
    index.add(X)
    index.save(tmp_path / "index")
    reopened = BinaryIndex.open(tmp_path / "index")
    for options in ({}, {"rerank": 30}):
        expected = index.search(QUERIES, 7, **options)
        neighbors = reopened.search(QUERIES, 7, prefix=16, shortlist=len(X), **options)
        np.testing.assert_allclose(neighbors.distances, expected.distances, atol=1e-5)
        assert np.mean(neighbors.ids == expected.ids) > 0.99
    with pytest.raises(ValueError, match="n_bits must be 32, all bits; got 8"):
        index.search(QUERIES, n_bits=8)
    assert index.search(QUERIES, n_bits=8, scoring="hamming").distances.max() <= 8


def test_steps_of_few_queries_give_the_same(index, monkeypatch):
    expected = index.search(QUERIES, 5, prefix=16, shortlist=40)
    monkeypatch.setattr("h2q.index.searching._STEP_QUERIES", 7)
    np.testing.assert_array_equal(index.search(QUERIES, 5, prefix=16, shortlist=40).ids, expected.ids)


def test_an_empty_index_and_no_queries():
    index = BinaryIndex(16)
    assert index.search(np.zeros((2, 2), np.uint8), prefix=8).ids.shape == (2, 0)
    index.add(np.arange(6, dtype=np.uint8).reshape(3, 2))
    assert index.search(np.zeros((0, 2), np.uint8), prefix=8, shortlist=20).ids.shape == (0, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bits": 49}, "n_bits must be from 1 to 48; got 49"),
        ({"n_bits": 0}, "n_bits must be from 1 to 48; got 0"),
        ({"prefix": 49, "shortlist": 20}, "prefix must be from 1 to 48; got 49"),
        ({"shortlist": 20}, "shortlist needs prefix"),
        ({"prefix": 8, "shortlist": 9}, "shortlist must be at least 10; got 9"),
        ({"prefix": 8, "shortlist": 19, "rerank": 20}, "shortlist must be at least 20; got 19"),
        ({"prefix": 8, "n_bits": 16, "shortlist": 20}, "prefix and n_bits exclude each other"),
        ({"prefix": 8}, 'pass shortlist, the number of items to score, or scoring="hamming"'),
    ],
)
def test_bad_options_are_named(index, options, message):
    with pytest.raises(ValueError, match=message):
        index.search(QUERIES, **options)


@given(st.integers(1, 70), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_candidates_against_all_their_bits(n_bits, seed):
    generator = np.random.default_rng(seed)
    bits = generator.random((3, 5, n_bits)) < 0.5
    codes, weights = np.packbits(bits, axis=2), generator.standard_normal((3, n_bits)).astype(np.float32)
    queries = generator.random((3, n_bits)) < 0.5
    np.testing.assert_array_equal(
        candidate_distances(np.packbits(queries, axis=1), codes), (bits ^ queries[:, None]).sum(axis=2)
    )
    expected = np.einsum("qcb,qb->qc", np.where(bits, 1.0, -1.0), weights)
    np.testing.assert_allclose(candidate_products(weights, codes), expected, atol=1e-4)
