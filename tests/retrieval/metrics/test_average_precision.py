"""Average precision against every order of the tied items, other libraries, and the authors' key."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ranx import Qrels, Run, evaluate
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from torchmetrics.retrieval import RetrievalMAP

from h2q.quantization import SignQuantizer
from h2q.retrieval import embeddings_mean_average_precision, mean_average_precision

DIGITS = load_digits()
EMBEDDINGS = DIGITS.data.astype(np.float32) - DIGITS.data.mean(axis=0).astype(np.float32)


def plain_average_precision(
    relevant: list[bool], cut: int, divisor: str, all_relevant: int | None = None
) -> float | None:
    """The definition, by one loop over one ranking. None: nothing is relevant."""
    total = sum(relevant) if all_relevant is None else all_relevant
    if total == 0:
        return None
    hits, precisions = 0, 0.0
    for rank, good in enumerate(relevant[:cut], 1):
        if good:
            hits += 1
            precisions += hits / rank
    divide = hits if divisor == "retrieved" else min(cut, total)
    return precisions / divide if divide else 0.0


def all_orders(distances: list[int], relevant: list[bool]) -> list[list[bool]]:
    """Every ranking by distance: all orders of each group of ties."""
    groups = [[relevant[i] for i in range(len(distances)) if distances[i] == d] for d in sorted(set(distances))]
    choices = [list(itertools.permutations(group)) for group in groups]
    return [[flag for group in combination for flag in group] for combination in itertools.product(*choices)]


def as_input(distances: list[int], relevant: list[bool], n_bits: int) -> tuple:
    """Codes at these distances from a query of zeros, and labels with this relevance."""
    bits = np.arange(n_bits)[None] < np.array(distances)[:, None]
    return (
        np.zeros((1, (n_bits + 7) // 8), np.uint8),
        np.packbits(bits, axis=1),
        np.array([1]),
        np.array(relevant).astype(int),
    )


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=7),
    st.one_of(st.none(), st.integers(1, 8)),
    st.one_of(st.none(), st.integers(0, 4)),
    st.sampled_from(["retrieved", "relevant"]),
)
@settings(max_examples=200)
def test_policies_are_the_mean_best_and_worst_over_all_orders(items, k, radius, divisor: str) -> None:
    distances, relevant = [d for d, _ in items], [r for _, r in items]
    rankings = all_orders(distances, relevant)
    counted = len(items) if radius is None else sum(d <= radius for d in distances)
    cut = min(counted, len(items) if k is None else k)
    total = sum(relevant)
    values = []
    for ranking in rankings:
        if divisor == "retrieved":
            values.append(plain_average_precision(ranking[:cut], cut, divisor, total) if cut else 0.0)
        else:
            limit = min(len(items) if k is None else k, len(items))
            hits = sum(ranking[:cut])
            raw = plain_average_precision(ranking[:cut], cut, "retrieved", total) if cut else 0.0
            values.append((raw or 0.0) * hits / min(limit, total) if total else 0.0)
    arguments = {"n_bits": 3, "k": k, "radius": radius, "divisor": divisor}
    given_input = as_input(distances, relevant, 3)
    values = [value or 0.0 for value in values]

    def value(ties: str) -> float:
        return mean_average_precision(*given_input, ties=ties, **arguments).value

    assert value("expected") == pytest.approx(np.mean(values), abs=1e-9)
    # Putting relevant items first is best for what divides by all relevant; what divides by the retrieved can gain by
    # retrieving fewer, so there the policy is one order, not a bound.
    if divisor == "relevant" or cut >= len(items):
        assert value("optimistic") == pytest.approx(max(values), abs=1e-9)
        assert value("pessimistic") == pytest.approx(min(values), abs=1e-9)
    first = sorted(range(len(items)), key=lambda i: (distances[i], not relevant[i]))
    last = sorted(range(len(items)), key=lambda i: (distances[i], relevant[i]))
    row = sorted(range(len(items)), key=lambda i: (distances[i], i))
    if divisor == "retrieved" and cut:
        for ties, order in (("optimistic", first), ("pessimistic", last), ("index", row)):
            expected = plain_average_precision([relevant[i] for i in order], cut, divisor, total) or 0.0
            assert value(ties) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("k", [None, 50, 137, 1000])
@pytest.mark.parametrize("divisor", ["retrieved", "relevant"])
def test_expected_is_the_mean_over_sampled_orders(k: int | None, divisor: str) -> None:
    codes = SignQuantizer(8).fit(EMBEDDINGS).encode(EMBEDDINGS)
    exact = mean_average_precision(
        codes[:1], codes[1:], DIGITS.target[:1], DIGITS.target[1:], n_bits=8, k=k, divisor=divisor
    ).value
    generator, samples = np.random.default_rng(0), []
    for _ in range(400):
        order = 1 + generator.permutation(len(codes) - 1)
        samples.append(
            mean_average_precision(
                codes[:1], codes[order], DIGITS.target[:1], DIGITS.target[order], n_bits=8, k=k, divisor=divisor,
                ties="index",
            ).value
        )  # fmt: skip
    standard_error = np.std(samples) / np.sqrt(len(samples))
    assert abs(np.mean(samples) - exact) < 4 * standard_error + 1e-9


@pytest.mark.filterwarnings("ignore:unsafe cast from uint64 to int64")  # in ranx's own kernels
def test_rankings_without_ties_agree_with_other_libraries() -> None:
    x, labels = EMBEDDINGS[:300].astype(np.float64), DIGITS.target[:300]
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    # As many distances as items: the code of item i, seen from the query of zeros, has rank(i) bits set.
    similarity = x[:20] @ x[20:].T
    ours, sklearn_values, torch_values, ranx_values = [], [], [], []
    for q in range(20):
        ranks = np.argsort(np.argsort(-similarity[q]))
        relevant = labels[20:] == labels[q]
        query, database, one, flags = as_input(ranks.tolist(), relevant.tolist(), 280)
        values = {
            ties: mean_average_precision(query, database, one, flags, n_bits=280, ties=ties).value
            for ties in ("expected", "index", "optimistic", "pessimistic")
        }
        assert max(values.values()) - min(values.values()) < 1e-9
        ours.append(values["expected"])
        sklearn_values.append(average_precision_score(relevant, -ranks.astype(float)))
        scores = torch.tensor(1.0 - ranks / 281)
        torch_values.append(float(RetrievalMAP()(scores, torch.tensor(relevant), torch.zeros(280, dtype=torch.long))))
        documents = [f"d{i}" for i in range(280)]
        run = Run({"q": dict(zip(documents, (1000.0 - ranks).tolist(), strict=True))})
        qrels = Qrels({"q": {d: 1 for d, good in zip(documents, relevant, strict=True) if good}})
        ranx_values.append(float(evaluate(qrels, run, "map")))
    np.testing.assert_allclose(ours, sklearn_values, atol=1e-9)
    np.testing.assert_allclose(ours, ranx_values, atol=1e-9)
    # torchmetrics computes in float32.
    np.testing.assert_allclose(ours, torch_values, atol=1e-6)


@pytest.mark.parametrize("radius", [None, 2])
def test_float_policy_is_the_authors_key(radius: int | None) -> None:
    codes = SignQuantizer(16).fit(EMBEDDINGS).encode(EMBEDDINGS)
    unit = EMBEDDINGS / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    bits = np.unpackbits(codes, axis=1).astype(np.int64)
    result = mean_average_precision(
        codes[:50], codes[50:], DIGITS.target[:50], DIGITS.target[50:], n_bits=16, k=200, radius=radius, ties="float",
        query_embeddings=EMBEDDINGS[:50], database_embeddings=EMBEDDINGS[50:],
    )  # fmt: skip
    for q in range(50):
        hamming = (bits[q] != bits[50:]).sum(axis=1)
        key = 10 * hamming + ((unit[q].astype(np.float64) - unit[50:]) ** 2).sum(axis=1)
        order = np.argsort(key, kind="stable")
        if radius is not None:
            order = order[hamming[order] <= radius]
        ranking = (DIGITS.target[50:] == DIGITS.target[q])[order].tolist()
        expected = plain_average_precision(ranking, 200, "retrieved", 1) or 0.0
        assert result.per_query[q] == pytest.approx(expected, abs=1e-6)


def test_multi_hot_labels_share_at_least_one_label() -> None:
    generator = np.random.default_rng(0)
    codes = SignQuantizer(16).fit(EMBEDDINGS).encode(EMBEDDINGS)
    tags = generator.random((len(codes), 70)) < 0.02
    result = mean_average_precision(codes[:30], codes[30:], tags[:30], tags[30:], n_bits=16, empty="skip", ties="index")
    bits = np.unpackbits(codes, axis=1)
    for q in range(30):
        order = np.argsort((bits[q] != bits[30:]).sum(axis=1), kind="stable")
        relevant = (tags[q] & tags[30:]).any(axis=1)[order].tolist()
        expected = plain_average_precision(relevant, len(order), "retrieved")
        assert np.isnan(result.per_query[q]) if expected is None else result.per_query[q] == pytest.approx(expected)
    one_hot = np.eye(10, dtype=int)[DIGITS.target]
    same = [
        mean_average_precision(codes[:30], codes, labels[:30], labels, n_bits=16).value
        for labels in (DIGITS.target, one_hot)
    ]
    assert same[0] == pytest.approx(same[1], abs=1e-12)


def test_embeddings_are_ranked_by_cosine() -> None:
    result = embeddings_mean_average_precision(
        EMBEDDINGS[:40], EMBEDDINGS[40:], DIGITS.target[:40], DIGITS.target[40:], k=300
    )
    unit = EMBEDDINGS.astype(np.float64) / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    for q in range(40):
        order = np.argsort(-(unit[q] @ unit[40:].T), kind="stable")
        ranking = (DIGITS.target[40:] == DIGITS.target[q])[order].tolist()
        assert result.per_query[q] == pytest.approx(plain_average_precision(ranking, 300, "retrieved"), abs=1e-6)
    low, high = result.confidence_interval()
    assert low < result.value < high
    assert (result.k, result.n_queries, result.n_database, result.ties) == (300, 40, 1757, "expected")


CODES = np.array([[0], [1], [3]], np.uint8)


def test_queries_that_nothing_answers_count_as_zero_or_not_at_all() -> None:
    arguments = (CODES[:2], CODES, [0, 9], [0, 0, 1])
    zero = mean_average_precision(*arguments, n_bits=8)
    skip = mean_average_precision(*arguments, n_bits=8, empty="skip")
    assert zero.per_query[1] == 0
    assert zero.value == pytest.approx(skip.value / 2)
    assert np.isnan(mean_average_precision(CODES, CODES, [7, 8, 9], [0, 0, 1], n_bits=8, empty="skip").value)


def test_one_item_and_equal_codes_have_defined_values() -> None:
    assert mean_average_precision(CODES[:1], CODES[2:], [1], [1], n_bits=8).value == 1
    equal = np.zeros((4, 1), np.uint8)
    result = mean_average_precision(equal[:1], equal, [1], [1, 1, 0, 0], n_bits=8, k=100)
    orders = set(itertools.permutations([1, 1, 0, 0]))
    expected = np.mean([plain_average_precision(list(map(bool, order)), 4, "retrieved") for order in orders])
    assert result.value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ties": "random"}, ValueError, "ties must be one of 'expected', 'float'"),
        ({"divisor": "all"}, ValueError, "divisor must be one of"),
        ({"empty": "drop"}, ValueError, "empty must be one of"),
        ({"k": 0}, ValueError, "k must be at least 1"),
        ({"radius": -1}, ValueError, "radius must be at least 0"),
        ({"n_bits": 16}, ValueError, r"query_codes must have shape \(n, 2\)"),
        ({"ties": "float"}, ValueError, "needs query_embeddings and database_embeddings"),
        (
            {"ties": "float", "query_embeddings": np.ones((2, 4)), "database_embeddings": np.ones((3, 4))},
            ValueError,
            "query_embeddings must have 3 rows",
        ),
        (
            {"ties": "float", "query_embeddings": np.full((3, 4), np.nan), "database_embeddings": np.ones((3, 4))},
            ValueError,
            "query_embeddings contains NaN",
        ),
    ],
)
def test_bad_options_are_named(change, error, message: str) -> None:
    with pytest.raises(error, match=message):
        mean_average_precision(CODES, CODES, [0, 0, 1], [0, 0, 1], **({"n_bits": 8} | change))


@pytest.mark.parametrize(
    ("query_labels", "database_labels", "message"),
    [
        ([0, 1], [0, 0, 1], "query_labels must have 3 rows"),
        ([0, 0, 1], [0, 0, 1, 1], "database_labels must have 3 rows"),
        ([0, 0, -1], [0, 0, 1], "query_labels must not be negative"),
        ([0, 0, 1], np.eye(3, dtype=int), "must be of one kind"),
        (np.eye(3, dtype=int), np.eye(3, 4, dtype=int), "as many classes; got 3 and 4"),
    ],
)
def test_bad_labels_are_named(query_labels, database_labels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_average_precision(CODES, CODES, query_labels, database_labels, n_bits=8)


def test_nothing_to_rank_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 queries and 0 items"):
        mean_average_precision(CODES, CODES[:0], [0, 0, 1], [], n_bits=8)
