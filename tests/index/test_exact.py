"""The index in memory: added items are found, removed ones are not, and bad input changes nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from h2q.index import BinaryIndex, Index, open_index
from h2q.index.columns import Columns
from h2q.index.searching import search_in_steps
from h2q.index.segments import Segment
from h2q.quantization import HouseholderQuantizer, SignQuantizer, unpack_bits
from h2q.quantization.scoring import EncodedItems

DIGITS = load_digits().data.astype(np.float32)


@pytest.fixture(scope="module")
def quantizer() -> HouseholderQuantizer:
    return HouseholderQuantizer(24, random_state=0).fit(DIGITS)


@pytest.fixture
def index(quantizer: HouseholderQuantizer) -> BinaryIndex:
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    index.add(DIGITS)
    return index


def unpack(codes: np.ndarray) -> np.ndarray:
    return np.unpackbits(codes, axis=1).astype(int)


def brute_force(queries: np.ndarray, items: dict[int, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array(sorted(items))
    nearest = (unpack(queries)[:, None] != unpack(np.stack([items[i] for i in ids]))[None]).sum(axis=2)
    order = np.argsort(nearest, axis=1, kind="stable")[:, :k]
    return ids[order], np.take_along_axis(nearest, order, 1)


operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 30)),
        st.tuples(st.just("add own"), st.integers(1, 30)),
        st.tuples(st.just("remove"), st.integers(1, 20)),
        st.tuples(st.just("save"), st.just(0)),
        st.tuples(st.just("open"), st.just(0)),
        st.tuples(st.just("compact"), st.just(0)),
    ),
    min_size=1,
    max_size=12,
)


@given(st.integers(0, 2**32), st.integers(1, 20), operations)
@settings(max_examples=40)
def test_any_history_equals_brute_force(tmp_path_factory, seed: int, n_bits: int, history: list) -> None:
    generator = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("index") / "index"
    index, items = BinaryIndex(n_bits), {}
    for operation, count in history:
        if operation.startswith("add"):
            codes = np.packbits(generator.random((count, n_bits)) < 0.3, axis=1)
            own = np.setdiff1d(generator.permutation(500)[:count], list(items))
            generator.shuffle(own)
            codes, ids = (codes, None) if operation == "add" else (codes[: len(own)], own)
            items |= dict(zip(index.add(codes, ids).tolist(), codes, strict=True))
        elif operation == "remove" and items:
            gone = generator.choice(sorted(items), min(count, len(items)), replace=False)
            index.remove(gone)
            for item in gone.tolist():
                del items[item]
        elif operation == "save":
            index.save(folder)
        elif operation == "open":
            index.save(folder)
            index = BinaryIndex.open(folder)
        elif operation == "compact":
            index.compact()
    assert len(index) == len(items)
    np.testing.assert_array_equal(index.ids, sorted(items))
    if items:
        queries = np.packbits(generator.random((5, n_bits)) < 0.3, axis=1)
        k = int(generator.integers(1, len(items) + 1))
        ids, distances = brute_force(queries, items, k)
        nearest = index.search(queries, k)
        np.testing.assert_array_equal(nearest.ids, ids)
        np.testing.assert_array_equal(nearest.distances, distances)
        all_ids, all_distances = brute_force(queries, items, len(items))
        within = index.search_radius(queries, n_bits // 3)
        for q in range(5):
            np.testing.assert_array_equal(within[q].ids, all_ids[q][all_distances[q] <= n_bits // 3])
        limited = index.search_radius(queries, n_bits // 3, limit=k)
        assert [n.ids.tolist() for n in limited] == [n.ids[:k].tolist() for n in within]
        some = generator.permutation(sorted(items))[:7]
        np.testing.assert_array_equal(index.codes(some), [items[i] for i in some.tolist()])


def test_embeddings_and_their_codes_find_the_same(index: BinaryIndex, quantizer: HouseholderQuantizer) -> None:
    by_embedding, by_code = (
        index.search(DIGITS[:9], 7, scoring="hamming"),
        index.search(quantizer.encode(DIGITS[:9]), 7),
    )
    np.testing.assert_array_equal(by_embedding.ids, by_code.ids)
    np.testing.assert_array_equal(
        index.search_radius(DIGITS[:9], 3).ids, index.search_radius(quantizer.encode(DIGITS[:9]), 3).ids
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner_product"])
def test_the_asymmetric_distance_is_what_the_quantizer_estimates(quantizer: HouseholderQuantizer, metric: str) -> None:
    index = BinaryIndex(quantizer=quantizer, metric=metric)
    index.add(DIGITS)
    index.remove(np.arange(0, 1797, 5))
    nearest = index.search(DIGITS[:40], 30)
    alive = np.setdiff1d(np.arange(1797), np.arange(0, 1797, 5))
    queries = quantizer.asymmetric_queries(DIGITS[:40], metric)
    signs = 2.0 * unpack_bits(quantizer.encode(DIGITS[alive]), 24) - 1
    expected = queries.constants[:, None] - queries.weights.astype(np.float64) @ signs.T
    size = np.abs(expected).max()
    np.testing.assert_allclose(nearest.distances, np.sort(expected, axis=1)[:, :30], rtol=1e-5, atol=1e-6 * size)
    columns = np.searchsorted(alive, nearest.ids)
    np.testing.assert_allclose(nearest.distances, np.take_along_axis(expected, columns, 1), rtol=1e-5, atol=1e-6 * size)
    assert nearest.distances.dtype == np.float32


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner_product"])
def test_estimates_are_near_the_distances_of_re_ranking(metric: str) -> None:
    quantizer = HouseholderQuantizer(48, random_state=0).fit(DIGITS)
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True, metric=metric)
    index.add(DIGITS)
    estimated, exact = (index.search(DIGITS[:40], 1797, rerank=rerank) for rerank in (None, 1797))
    order = np.argsort(estimated.ids, axis=1)
    by_id = np.take_along_axis(estimated.distances, order, 1)
    true = np.take_along_axis(exact.distances, np.argsort(exact.ids, axis=1), 1)
    assert np.corrcoef(by_id.ravel(), true.ravel())[0, 1] > 0.85
    assert abs(by_id.mean() - true.mean()) < 0.1 * true.std()


class ScaledQuantizer(SignQuantizer):
    """Stores the norm of an item in a byte, and scales the estimates by it."""

    def encode_items(self, X):
        norms = np.linalg.norm(X, axis=1)
        return EncodedItems(self.encode(X), np.clip(norms, 0, 255).astype(np.uint8))

    def scalar_tables(self, metric="cosine"):
        values = np.arange(256, dtype=np.float32)
        return values / 64, values / 1000


def test_scalars_are_a_column_beside_the_codes(tmp_path) -> None:
    quantizer = ScaledQuantizer(24).fit(DIGITS)
    index = BinaryIndex(quantizer=quantizer, metric="inner_product")
    index.add(DIGITS[:1000])
    index.add(quantizer.encode_items(DIGITS[1000:]))
    index.remove([4, 1100])
    index.compact()
    assert index.bytes_per_item == 4
    nearest = index.search(DIGITS[:20], 15)
    items = quantizer.encode_items(DIGITS)
    scales, offsets = quantizer.scalar_tables()
    queries = quantizer.asymmetric_queries(DIGITS[:20], "inner_product")
    products = queries.weights @ (2.0 * unpack_bits(items.codes, 24) - 1).T
    expected = queries.constants[:, None] - (scales[items.scalars] * products + offsets[items.scalars])
    expected[:, [4, 1100]] = np.inf
    np.testing.assert_allclose(nearest.distances, np.sort(expected, axis=1)[:, :15], rtol=1e-4)
    hamming = index.search(DIGITS[:20], 15, scoring="hamming")
    np.testing.assert_array_equal(hamming.ids, index.search(quantizer.encode(DIGITS[:20]), 15).ids)
    index.warm_up()
    with pytest.raises(TypeError, match="stores a scalar beside each"):
        index.add(items.codes)
    with pytest.raises(ValueError, match=r"scalars must be uint8 of shape \(1797,\)"):
        index.add(EncodedItems(items.codes, items.scalars[:5]))


def test_the_bytes_of_an_item(quantizer: HouseholderQuantizer, index: BinaryIndex) -> None:
    assert BinaryIndex(quantizer=quantizer).bytes_per_item == BinaryIndex(24).bytes_per_item == 3
    assert index.bytes_per_item == 3 + 4 * 64


def test_asymmetric_ranking_is_nearer_the_truth(index: BinaryIndex) -> None:
    truth = np.argsort(-(DIGITS[:100] @ DIGITS.T) / np.linalg.norm(DIGITS, axis=1), axis=1)[:, :10]

    def recall(scoring: str) -> float:
        nearest = index.search(DIGITS[:100], 10, scoring=scoring).ids
        return np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(truth, nearest, strict=True)])

    assert recall("asymmetric") > recall("hamming")


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner_product"])
def test_reranking_all_items_is_the_exact_float_search(quantizer: HouseholderQuantizer, metric: str) -> None:
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True, metric=metric)
    index.add(DIGITS[:1000])
    index.add(DIGITS[1000:])
    nearest = index.search(DIGITS[:50], 10, rerank=len(index))
    x = DIGITS.astype(np.float64)
    if metric == "cosine":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        expected = 1 - x[:50] @ x.T
    elif metric == "euclidean":
        expected = ((x[:50, None] - x[None]) ** 2).sum(axis=2)
    else:
        expected = -x[:50] @ x.T
    np.testing.assert_allclose(nearest.distances, np.sort(expected, axis=1)[:, :10], rtol=1e-6, atol=1e-5)
    assert nearest.distances.dtype == np.float32


@pytest.mark.parametrize("options", [{}, {"scoring": "asymmetric"}, {"candidates": 40}])
def test_queries_searched_a_few_at_a_time_find_the_same(index: BinaryIndex, options) -> None:
    def search(**more):
        segments = [Segment(Columns({"codes": index.codes(index.ids), "ids": index.ids, "embeddings": DIGITS}))]
        settings = {"quantizer": index.quantizer, "scoring": "hamming"} | options | more
        return search_in_steps(segments, DIGITS[:50], 5, **settings)

    whole, in_steps = search(), search(step_bytes=60_000)
    np.testing.assert_array_equal(in_steps.ids, whole.ids)
    np.testing.assert_array_equal(in_steps.distances, whole.distances)
    assert in_steps.distances.dtype == whole.distances.dtype


def test_one_query_may_be_one_dimensional(index: BinaryIndex, quantizer: HouseholderQuantizer) -> None:
    expected = index.search(DIGITS[3:4], 5, scoring="hamming")
    vector = DIGITS[3]
    for query in (vector, vector.tolist(), torch.tensor(vector), pd.Series(vector), quantizer.encode(DIGITS[3:4])[0]):
        neighbors = index.search(query, 5, scoring="hamming")
        assert len(neighbors) == 1
        np.testing.assert_array_equal(neighbors.ids, expected.ids)
        np.testing.assert_array_equal(index.search_radius(query, 3).ids, index.search_radius(DIGITS[3:4], 3).ids)


def test_vectors_in_a_series_or_a_list_are_embeddings(index: BinaryIndex) -> None:
    expected = index.search(DIGITS[:3])
    for queries in (pd.Series(list(DIGITS[:3])), list(DIGITS[:3]), pd.Series(DIGITS[:3].tolist())):
        np.testing.assert_array_equal(index.search(queries).ids, expected.ids)
    np.testing.assert_array_equal(index.add(pd.Series(list(DIGITS[:3]))), [1797, 1798, 1799])
    with pytest.raises(ValueError, match="rows all have one length"):
        index.search(pd.Series([DIGITS[0], DIGITS[1, :9]]))


def test_k_is_ten_or_as_many_as_there_are(quantizer: HouseholderQuantizer) -> None:
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    assert index.search(DIGITS[:2]).ids.shape == (2, 0)
    assert index.search(DIGITS[:2], scoring="asymmetric", rerank=20).distances.shape == (2, 0)
    index.add(DIGITS[:4])
    assert index.search(DIGITS[:2]).ids.shape == (2, 4)
    assert index.search(DIGITS[:2], 5, scoring="asymmetric").ids.shape == (2, 4)
    assert index.search(DIGITS[:2], 3, rerank=100).ids.shape == (2, 3)
    index.add(DIGITS[4:])
    assert index.search(DIGITS[:2]).ids.shape == (2, 10)


def test_an_upsert_replaces_or_adds(index: BinaryIndex, quantizer: HouseholderQuantizer) -> None:
    index.upsert(DIGITS[:3], ids=[5, 4000, 6])
    assert len(index) == 1798
    np.testing.assert_array_equal(index.codes([5, 4000, 6]), quantizer.encode(DIGITS[:3]))
    np.testing.assert_allclose(index.search(DIGITS[2], 2, rerank=1798).distances, 0, atol=1e-6)
    assert sorted(index.search(DIGITS[2], 2, rerank=1798).ids[0]) == [2, 6]
    assert index.add(DIGITS[:1]).tolist() == [4001]
    assert index.contains([4, 4000, 4002]).tolist() == [True, True, False]


def test_a_zero_row_is_accepted_as_the_quantizer_accepts_it(quantizer: HouseholderQuantizer) -> None:
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    with pytest.warns(UserWarning, match="all-zero row"):
        index.add(np.vstack([np.zeros((1, 64)), DIGITS]))
    with pytest.warns(UserWarning, match="all-zero row"):
        neighbors = index.search(np.zeros((1, 64)), 3, scoring="hamming", rerank=50)
    with pytest.raises(ValueError, match=r"queries has an all-zero row \(row 1\), which has no cosine"):
        index.search(np.vstack([DIGITS[:1], np.zeros((1, 64))]))
    assert neighbors.distances.tolist() == [[1, 1, 1]]
    uncentered = HouseholderQuantizer(24, center=False, random_state=0).fit(DIGITS)
    with pytest.raises(ValueError, match="items has 1 all-zero row"):
        BinaryIndex(quantizer=uncentered).add(np.zeros((1, 64)))


def test_the_exact_index_fulfils_the_interface(index: BinaryIndex) -> None:
    assert isinstance(index, Index)
    index.warm_up()
    index.close()
    assert repr(index) == "BinaryIndex(closed)"
    with pytest.raises(ValueError, match="the index is closed"):
        len(index)


def test_removed_items_come_back_under_their_id() -> None:
    index = BinaryIndex(8)
    index.add(np.array([[1], [2]], np.uint8), ids=[7, 9])
    index.remove([7])
    assert 7 not in index
    assert 9 in index
    index.add(np.array([[255]], np.uint8), ids=[7])
    assert index.search(np.array([[255]], np.uint8), 1).ids.tolist() == [[7]]
    assert index.add(np.array([[0]], np.uint8)).tolist() == [10]
    assert repr(index) == "BinaryIndex(8, 3 items)"


def test_no_queries_find_nothing(index: BinaryIndex) -> None:
    assert index.search(np.zeros((0, 3), np.uint8), 4).ids.shape == (0, 4)
    for limit in (None, 3):
        assert len(index.search_radius(np.zeros((0, 3), np.uint8), 4, limit=limit)) == 0
    assert BinaryIndex(24).search_radius(CODES, 24, limit=3).counts.tolist() == [0]
    assert index.search_radius(CODES, 2**62).counts.tolist() == [1797]


CODES = np.array([[1, 2, 3]], np.uint8)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda i: i.add(CODES), TypeError, "keeps embeddings"),
        (lambda i: i.add(DIGITS[:2], ids=[5000, 5000]), ValueError, r"more than once \(first: 5000\)"),
        (lambda i: i.add(DIGITS[:2], ids=[5000, 3]), ValueError, r"that the index already has \(first: 3\)"),
        (lambda i: i.add(DIGITS[:2], ids=[5000, -1]), ValueError, "not be negative"),
        (lambda i: i.add(DIGITS[:2], ids=[5000]), ValueError, "with 2 entries"),
        (lambda i: i.add(DIGITS[:2], ids=[0.5, 1.5]), TypeError, "whole numbers"),
        (lambda i: i.add(DIGITS[:2, :5]), ValueError, "items has 5 features, but 64"),
        (lambda i: i.add(np.full((1, 64), np.nan)), ValueError, "items contains NaN"),
        (lambda i: i.add(np.zeros((2, 4), np.uint8)), ValueError, r"items must have shape \(n, 3\)"),
        (lambda i: i.remove([3, 99_999]), ValueError, r"1 of 2 ids are not in the index \(first: 99999\); nothing"),
        (lambda i: i.remove([3, 3]), ValueError, "more than once"),
        (lambda i: i.codes([99_999]), ValueError, "not in the index"),
        (lambda i: i.search(CODES, 0), ValueError, "k must be at least 1"),
        (lambda i: i.search(CODES, 2.0), TypeError, "k must be a whole number"),
        (
            lambda i: i.search(CODES, 1, scoring="cosine"),
            ValueError,
            "scoring must be 'auto', 'asymmetric' or 'hamming'",
        ),
        (lambda i: i.search(CODES, 1, scoring="asymmetric"), TypeError, "asymmetric scoring needs queries as emb"),
        (lambda i: i.search(CODES, 1, rerank=5), TypeError, "re-ranking needs queries as embeddings"),
        (lambda i: i.search(DIGITS[:1], 5, rerank=4), ValueError, "rerank must be at least 5"),
        (lambda i: i.search(DIGITS[None], 5), ValueError, "queries must be 2-D"),
        (lambda i: i.search(DIGITS[0, :5], 5), ValueError, "queries has 5 features, but 64"),
        (lambda i: i.add(DIGITS[0]), ValueError, "items must be 2-D"),
        (lambda i: i.upsert(DIGITS[:2], ids=[3, 3]), ValueError, "more than once"),
        (lambda i: i.search_radius(CODES, -1), ValueError, "radius must be at least 0"),
        (lambda i: i.search_radius(CODES, 3, limit=0), ValueError, "limit must be at least 1"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(index: BinaryIndex, action, error, message: str) -> None:
    before = index.search(DIGITS[:5], 1797)
    with pytest.raises(error, match=message):
        action(index)
    assert len(index) == 1797
    np.testing.assert_array_equal(index.search(DIGITS[:5], 1797).ids, before.ids)


def test_what_an_index_lacks_is_named(quantizer: HouseholderQuantizer) -> None:
    index = BinaryIndex(24)
    assert len(index.search_radius(CODES, 5)[0].ids) == 0
    index.add(CODES)
    with pytest.raises(TypeError, match="no quantizer; got a float32 array"):
        index.search(DIGITS[:1], 1)
    with_codes = BinaryIndex(quantizer=quantizer)
    with_codes.add(DIGITS)
    with pytest.raises(ValueError, match="keep_embeddings=True"):
        with_codes.search(DIGITS[:1], 1, rerank=5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "n_bits is missing"),
        ({"n_bits": 0}, ValueError, "n_bits must be from 1 to 65536"),
        (
            {"n_bits": 8, "metric": "dot"},
            ValueError,
            "metric must be one of cosine, euclidean, inner_product; got 'dot'",
        ),
        ({"n_bits": 8, "keep_embeddings": 1}, TypeError, "keep_embeddings must be True or False"),
        ({"n_bits": 8, "keep_embeddings": True}, ValueError, "keep_embeddings needs a quantizer"),
        ({"quantizer": HouseholderQuantizer(8)}, ValueError, "quantizer must be fitted"),
    ],
)
def test_bad_options_are_named(options, error, message: str) -> None:
    with pytest.raises(error, match=message):
        BinaryIndex(**options)


def test_bits_must_be_the_quantizers(quantizer: HouseholderQuantizer) -> None:
    with pytest.raises(ValueError, match="n_bits is 8, but the quantizer makes codes of 24"):
        BinaryIndex(8, quantizer=quantizer)


def test_an_address_names_a_folder_or_an_engine(tmp_path, index: BinaryIndex) -> None:
    assert index.address is None
    with pytest.raises(ValueError, match="path is missing"):
        index.save()
    index.save(tmp_path / "index")
    assert len(open_index(tmp_path / "index")) == 1797
    assert len(open_index(f"file:{tmp_path / 'index'}")) == 1797
    with pytest.raises(ValueError, match="no index engine is called 'carrier-pigeon'"):
        open_index("carrier-pigeon:home")
    with pytest.raises(FileNotFoundError, match="no index at"):
        open_index(tmp_path / "nowhere")
