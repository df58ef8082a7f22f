"""Who leads: by paired differences, not by means alone."""

import numpy as np
import pytest

from h2q.comparison import compare_queries, describe_leaders, leaders

GENERATOR = np.random.default_rng(0)
HARD = GENERATOR.uniform(0, 1, 200)  # queries differ far more than contenders do


def test_a_paired_difference_shows_through_the_noise_of_the_queries() -> None:
    better = HARD + GENERATOR.normal(0.02, 0.02, 200)
    comparison = compare_queries(better, HARD)
    assert comparison.is_better
    assert not comparison.is_worse
    assert comparison.low < comparison.difference < comparison.high
    assert comparison.difference == pytest.approx(np.mean(better - HARD))
    assert compare_queries(HARD, better).is_worse
    # Unpaired, the same difference would drown.
    shuffled = compare_queries(GENERATOR.permutation(better), HARD)
    assert not shuffled.is_better


def test_skipped_queries_count_for_neither() -> None:
    first, second = np.array([0.5, np.nan, 0.7]), np.array([0.4, 0.9, 0.6])
    assert compare_queries(first, second).difference == pytest.approx(0.1)
    with pytest.raises(ValueError, match="one score a query"):
        compare_queries(first, second[:2])


def test_leaders_are_those_without_a_difference_from_the_best() -> None:
    scores = {"sign": HARD, "ITQ": HARD + 0.05, "H²Q": HARD + 0.05 + GENERATOR.normal(0, 0.01, 200)}
    assert leaders(scores) == ("ITQ", "H²Q")
    assert leaders({"sign": HARD, "H²Q": HARD + 0.05}) == ("H²Q",)


@pytest.mark.parametrize(("spread", "expected"), [(0.001, ("b",)), (0.015, ("a", "b")), (0.03, ("a", "b"))])
def test_a_difference_within_the_spread_over_seeds_is_none(spread: float, expected: tuple[str, ...]) -> None:
    seeds = np.array([[-spread], [0], [spread]])
    assert leaders({"a": HARD + seeds, "b": HARD + 0.02 + seeds}) == expected  # the spreads of both count


def test_leaders_in_words() -> None:
    assert describe_leaders({8: ["a", "b"]}, 2) == "8 bits: no difference between any of them"
    assert describe_leaders({8: ["a"], 16: ["a"], 32: ["a"]}, 3) == "8, 16 and 32 bits: a wins"
