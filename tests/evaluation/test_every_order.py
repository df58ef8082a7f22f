"""Every metric under every policy for ties against all orders of small rankings, by plain loops."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2q.evaluation import evaluate_codes, mean_average_precision, ndcg, precision, precision_recall_curve, recall

QUERY_TAGS = (1, 1, 0)
N_BITS = 3
# Unit vectors at three angles from the query's (1, 0), the first one nearest.
DIRECTIONS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0))

Item = tuple[int, tuple[int, int, int], int]  # Hamming distance, tags, direction
ITEMS = st.lists(
    st.tuples(st.integers(0, N_BITS), st.tuples(*[st.integers(0, 1)] * 3), st.integers(0, 2)), min_size=1, max_size=6
)


def grade(item: Item) -> int:
    return sum(a * b for a, b in zip(item[1], QUERY_TAGS, strict=True))


def rankings_of(items: list[Item], ties: str) -> list[list[Item]]:
    """All rankings that a policy allows."""
    keys = {
        "expected": lambda item: (item[0],),
        "embeddings": lambda item: (item[0], item[2]),
        "optimistic": lambda item: (item[0], -grade(item)),
        "pessimistic": lambda item: (item[0], grade(item)),
    }
    if ties == "row":
        return [sorted(items, key=lambda item: item[0])]
    key = keys[ties]
    groups = [list(group) for _, group in itertools.groupby(sorted(items, key=key), key=key)]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    return [[item for group in order for item in group] for order in orders]


def counted(ranking: list[Item], k: int | None, radius: int | None) -> list[Item]:
    return [item for item in ranking[:k] if radius is None or item[0] <= radius]


def plain_average_precision(ranking: list[Item], k: int | None, radius: int | None, divisor: str) -> float | None:
    n_relevant = sum(grade(item) > 0 for item in ranking)
    if n_relevant == 0:
        return None
    hits, precisions = 0, 0.0
    for rank, item in enumerate(counted(ranking, k, radius), 1):
        if grade(item) > 0:
            hits += 1
            precisions += hits / rank
    divide = hits if divisor == "retrieved" else min(len(ranking) if k is None else min(k, len(ranking)), n_relevant)
    return precisions / divide if divide else 0.0


def plain_precision(ranking: list[Item], k: int | None, radius: int | None) -> float | None:
    top = counted(ranking, k, radius)
    return sum(grade(item) > 0 for item in top) / len(top) if top else None


def plain_recall(ranking: list[Item], k: int | None, radius: int | None) -> float | None:
    n_relevant = sum(grade(item) > 0 for item in ranking)
    return sum(grade(item) > 0 for item in counted(ranking, k, radius)) / n_relevant if n_relevant else None


def plain_ndcg(ranking: list[Item], k: int | None, gain: str) -> float | None:
    def value(item: Item) -> int:
        return grade(item) if gain == "linear" else 2 ** grade(item) - 1

    def discounted(order: list[Item]) -> float:
        return sum(value(item) / math.log2(rank + 1) for rank, item in enumerate(order[:k], 1))

    best = discounted(sorted(ranking, key=grade, reverse=True))
    return discounted(ranking) / best if best else None


def expectation(values: list[float | None], empty: str) -> float:
    """What a policy comes to; a query has a value in all orders or in none."""
    there = [value for value in values if value is not None]
    assert len(there) in (0, len(values))
    return sum(there) / len(there) if there else (0.0 if empty == "zero" else math.nan)


def as_input(items: list[Item]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The query's and the items' codes, tags and embeddings."""
    bits = np.arange(N_BITS)[None] < np.array([item[0] for item in items])[:, None]
    tags = np.array([item[1] for item in items])
    embeddings = np.array([DIRECTIONS[item[2]] for item in items])
    return (
        (np.zeros((1, 1), np.uint8), np.packbits(bits, axis=1), np.array([QUERY_TAGS]), tags),
        {"n_bits": N_BITS, "query_embeddings": np.array([DIRECTIONS[0]]), "database_embeddings": embeddings},
    )


@given(
    ITEMS,
    st.one_of(st.none(), st.integers(1, 7)),
    st.one_of(st.none(), st.integers(0, N_BITS)),
    st.sampled_from(["expected", "embeddings", "row", "optimistic", "pessimistic"]),
    st.sampled_from(["retrieved", "relevant"]),
    st.sampled_from(["zero", "skip"]),
    st.sampled_from(["exponential", "linear"]),
)
@settings(max_examples=400)
def test_every_metric_is_its_mean_over_all_orders(
    items: list[Item], k: int | None, radius: int | None, ties: str, divisor: str, empty: str, gain: str
) -> None:
    rankings = rankings_of(items, ties)
    arguments, options = as_input(items)
    options |= {"ties": ties, "empty": empty}

    def expect(value: float, values: list[float | None]) -> None:
        assert value == pytest.approx(expectation(values, empty), abs=1e-9, nan_ok=True)

    expect(
        mean_average_precision(*arguments, k=k, radius=radius, divisor=divisor, **options).value,
        [plain_average_precision(ranking, k, radius, divisor) for ranking in rankings],
    )
    expect(
        precision(*arguments, k=k, radius=radius, **options).value,
        [plain_precision(ranking, k, radius) for ranking in rankings],
    )
    expect(
        recall(*arguments, k=k, radius=radius, **options).value,
        [plain_recall(ranking, k, radius) for ranking in rankings],
    )
    expect(
        ndcg(*arguments, k=k, gain=gain, **options).value,
        [plain_ndcg(ranking, k, gain) for ranking in rankings],
    )


@given(ITEMS, st.sampled_from(["expected", "embeddings", "row", "optimistic", "pessimistic"]))
@settings(max_examples=50)
def test_curves_and_evaluations_hold_the_single_values(items: list[Item], ties: str) -> None:
    arguments, options = as_input(items)
    options |= {"ties": ties, "empty": "skip"}
    scores = evaluate_codes(*arguments, ks=[2, None], radii=[0, 2], divisor="relevant", gain="linear", **options)
    by_rank = precision_recall_curve(*arguments, by="rank", cuts=[2, 9], **options)
    by_radius = precision_recall_curve(*arguments, by="radius", **options)
    assert list(by_radius.cuts) == [0, 1, 2, 3]

    def same(value: float, expected: float) -> None:
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)

    cuts = [(scores.at_k[2], {"k": 2}), (scores.at_k[None], {"k": None})]
    cuts += [(scores.within_radius[radius], {"radius": radius}) for radius in (0, 2)]
    for one, cut in cuts:
        single = mean_average_precision(*arguments, divisor="relevant", **cut, **options)
        same(one.mean_average_precision.value, single.value)
        assert (one.mean_average_precision.k, one.mean_average_precision.radius) == (single.k, single.radius)
        same(one.precision.value, precision(*arguments, **cut, **options).value)
        same(one.recall.value, recall(*arguments, **cut, **options).value)
        if one.ndcg is not None:
            same(one.ndcg.value, ndcg(*arguments, gain="linear", **cut, **options).value)
    same(by_rank.precision[0], scores.at_k[2].precision.value)
    same(by_rank.recall[1], scores.at_k[None].recall.value)
    same(by_radius.precision[2], scores.within_radius[2].precision.value)
    same(by_radius.recall[0], scores.within_radius[0].recall.value)


@given(ITEMS)
@settings(max_examples=50)
def test_optimistic_and_pessimistic_are_bounds(items: list[Item]) -> None:
    arguments, options = as_input(items)
    low, expected, high = (
        mean_average_precision(*arguments, ties=ties, divisor="relevant", k=4, **options).value
        for ties in ("pessimistic", "expected", "optimistic")
    )
    every = [plain_average_precision(ranking, 4, None, "relevant") or 0.0 for ranking in rankings_of(items, "expected")]
    assert (low, high) == (pytest.approx(min(every), abs=1e-9), pytest.approx(max(every), abs=1e-9))
    assert low - 1e-9 <= expected <= high + 1e-9
