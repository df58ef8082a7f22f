"""What the metrics say where there is little or nothing to rank, and to input that is not as it should be."""

import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q.evaluation import (
    evaluate_codes,
    mean_average_precision,
    ndcg,
    precision,
    precision_recall_curve,
    recall,
    scores_mean_average_precision,
)
from h2q.quantization import RandomRotationQuantizer

CODES = np.array([[0], [1], [3]], np.uint8)
FUNCTIONS = (mean_average_precision, precision, recall, ndcg, precision_recall_curve, evaluate_codes)


@pytest.mark.parametrize("empty", ["zero", "skip"])
def test_labels_without_any_positive(empty: str) -> None:
    arguments = (CODES, CODES, [7, 8, 9], [0, 0, 1])
    nothing = 0.0 if empty == "zero" else math.nan
    for function in (mean_average_precision, recall, ndcg):
        result = function(*arguments, n_bits=8, empty=empty)
        np.testing.assert_array_equal(result.per_query, [nothing] * 3)
        assert result.value == pytest.approx(nothing, nan_ok=True)
    assert precision(*arguments, n_bits=8, empty=empty).value == 0
    curve = precision_recall_curve(*arguments, n_bits=8, empty=empty)
    np.testing.assert_array_equal(curve.precision, 0)
    np.testing.assert_array_equal(curve.recall, nothing)
    tags = np.zeros((3, 2), int)
    assert ndcg(CODES, CODES, tags, tags, n_bits=8, empty=empty).value == pytest.approx(nothing, nan_ok=True)


@pytest.mark.parametrize("empty", ["zero", "skip"])
def test_a_radius_that_holds_nothing(empty: str) -> None:
    far = np.array([[255]], np.uint8)
    nothing = 0.0 if empty == "zero" else math.nan
    options = {"n_bits": 8, "radius": 2, "empty": empty}
    assert precision(far, CODES, [0], [0, 0, 1], **options).value == pytest.approx(nothing, nan_ok=True)
    # There are relevant items, only none is found: that is a score, of 0.
    assert recall(far, CODES, [0], [0, 0, 1], **options).value == 0
    for ties in ("expected", "row", "optimistic", "pessimistic"):
        assert mean_average_precision(far, CODES, [0], [0, 0, 1], ties=ties, **options).value == 0


def test_k_beyond_the_database_means_all() -> None:
    for function in (mean_average_precision, precision, recall, ndcg):
        for ties in ("expected", "row", "optimistic", "pessimistic"):
            beyond, all_items = (
                function(CODES, CODES, [0, 0, 1], [0, 0, 1], n_bits=8, k=k, ties=ties) for k in (4_000, None)
            )
            np.testing.assert_array_equal(beyond.per_query, all_items.per_query)
            assert beyond.k == 4_000


def test_one_item() -> None:
    for label, value in ((1, 1.0), (2, 0.0)):
        for function in (mean_average_precision, precision, recall, ndcg):
            assert function(CODES[:1], CODES[2:], [1], [label], n_bits=8, k=1).value == value


def test_all_codes_equal() -> None:
    equal = np.zeros((10, 1), np.uint8)
    labels = np.arange(10) % 2
    assert precision(equal, equal, labels, labels, n_bits=8, k=3).value == pytest.approx(0.5)
    assert recall(equal, equal, labels, labels, n_bits=8, k=3).value == pytest.approx(0.3)
    high, low = (
        mean_average_precision(equal, equal, labels, labels, n_bits=8, k=5, ties=ties).value
        for ties in ("optimistic", "pessimistic")
    )
    assert (high, low) == (1.0, 0.0)


def test_long_codes_in_many_blocks_are_ranked_as_by_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_digits()
    generator = np.random.default_rng(0)
    wide = digits.data @ generator.standard_normal((64, 150))
    codes = RandomRotationQuantizer(150, random_state=0).fit(wide).encode(wide)
    tags = generator.random((len(codes), 130)) < 0.03
    bits = np.unpackbits(codes, axis=1)
    monkeypatch.setattr("h2q.evaluation.rankers._ORDERED_PAIRS", 5_000)
    result = ndcg(codes[:40], codes, tags[:40], tags, n_bits=150, k=100, ties="row", empty="skip")
    for q in range(40):
        order = np.argsort((bits[q] != bits).sum(axis=1), kind="stable")
        gains = 2.0 ** (tags[q] & tags).sum(axis=1) - 1
        discounts = 1 / np.log2(np.arange(2, 102))
        best = (np.sort(gains)[::-1][:100] * discounts).sum()
        expected = (gains[order][:100] * discounts).sum() / best if best else math.nan
        assert result.per_query[q] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ties": "random"}, ValueError, "ties must be one of 'expected', 'embeddings'"),
        ({"ties": None}, ValueError, "ties must be one of"),
        ({"empty": "drop"}, ValueError, "empty must be one of 'zero', 'skip'; got 'drop'"),
        ({"n_bits": 16}, ValueError, r"query_codes must have shape \(n, 2\)"),
        ({"n_bits": 0}, ValueError, "n_bits must be from 1 to 65536; got 0"),
        ({"ties": "embeddings"}, ValueError, "needs query_embeddings and database_embeddings"),
        ({"query_codes": CODES.astype(float)}, TypeError, "query_codes must be packed bits of dtype uint8"),
        ({"database_codes": CODES[:0], "database_labels": []}, ValueError, "3 queries and 0 items"),
        ({"query_labels": [0, 1]}, ValueError, "query_labels must have 3 rows, one an item; got 2"),
        ({"database_labels": [0, 0, 1, 1]}, ValueError, "database_labels must have 3 rows"),
        ({"query_labels": [0, 0, -1]}, ValueError, "query_labels must not be negative; got -1"),
        ({"query_labels": [0, 0.5, 1]}, TypeError, "query_labels must be whole numbers"),
        ({"database_labels": np.eye(3, dtype=int)}, ValueError, "must be of one kind"),
        (
            {"query_labels": np.eye(3, dtype=int), "database_labels": np.eye(3, 4, dtype=int)},
            ValueError,
            "as many classes; got 3 and 4",
        ),
        (
            {"ties": "embeddings", "query_embeddings": np.ones((2, 4)), "database_embeddings": np.ones((3, 4))},
            ValueError,
            "query_embeddings must have 3 rows, one for each code; got 2",
        ),
        (
            {"ties": "embeddings", "query_embeddings": np.ones((3, 4)), "database_embeddings": np.ones((3, 5))},
            ValueError,
            "query_embeddings have 4 features and database_embeddings 5",
        ),
        (
            {"ties": "embeddings", "query_embeddings": np.full((3, 4), np.nan), "database_embeddings": np.ones((3, 4))},
            ValueError,
            "query_embeddings contains NaN",
        ),
    ],
)
def test_bad_input_is_named(function, change, error, message: str) -> None:
    arguments = {
        "query_codes": CODES, "database_codes": CODES, "query_labels": [0, 0, 1], "database_labels": [0, 0, 1],
        "n_bits": 8,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        function(**(arguments | change))


@pytest.mark.parametrize(
    ("function", "change", "error", "message"),
    [
        (mean_average_precision, {"k": 0}, ValueError, "k must be at least 1; got 0"),
        (mean_average_precision, {"k": 2.5}, TypeError, "k must be a whole number; got 2.5"),
        (precision, {"radius": -1}, ValueError, "radius must be at least 0; got -1"),
        (mean_average_precision, {"divisor": "all"}, ValueError, "divisor must be one of 'retrieved', 'relevant'"),
        (ndcg, {"gain": "cubic"}, ValueError, "gain must be one of 'exponential', 'linear'"),
        (precision_recall_curve, {"by": "recall"}, ValueError, "by must be one of 'rank', 'radius'"),
        (precision_recall_curve, {"cuts": []}, ValueError, "cuts must be a sequence of at least one whole number"),
        (
            precision_recall_curve,
            {"cuts": 5},
            ValueError,
            "cuts must be a sequence of at least one whole number; got 5",
        ),
        (precision_recall_curve, {"cuts": [0]}, ValueError, "k must be at least 1; got 0"),
        (evaluate_codes, {"ks": 5}, TypeError, r"ks must be a list, such as \[1, 2\]; got 5"),
        (evaluate_codes, {"ks": [], "radii": []}, ValueError, "ks and radii are both empty"),
        (evaluate_codes, {"divisor": "all"}, ValueError, "divisor must be one of"),
    ],
)
def test_bad_options_are_named(function, change, error, message: str) -> None:
    with pytest.raises(error, match=message):
        function(CODES, CODES, [0, 0, 1], [0, 0, 1], n_bits=8, **change)


def test_scores_may_be_infinite_but_not_nan() -> None:
    assert scores_mean_average_precision([[np.inf, 1.0, -np.inf]], [1], [0, 1, 1]).value == pytest.approx(7 / 12)
    assert scores_mean_average_precision([[2, 1, 1]], [1], [0, 1, 0]).value == pytest.approx((1 / 2 + 1 / 3) / 2)
    with pytest.raises(ValueError, match="scores contain NaN"):
        scores_mean_average_precision([[np.nan, 1.0]], [1], [0, 1])
    with pytest.raises(TypeError, match=r"scores must be numbers of shape \(n_queries, n_database\)"):
        scores_mean_average_precision([1.0, 2.0], [1], [0, 1])
    with pytest.raises(ValueError, match="database_labels must have 2 rows"):
        scores_mean_average_precision([[1.0, 2.0]], [1], [0, 1, 1])
