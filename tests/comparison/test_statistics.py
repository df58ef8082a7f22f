"""Statistics over cells, against counts by hand."""

import math

import pytest

from h2q.comparison.statistics import compare_cells, count_wins, mean_and_deviation, recovered_share


def test_compare_counts_what_changed() -> None:
    baseline = dict.fromkeys(range(10), 0.5)
    values = {cell: 0.5 + difference for cell, difference in enumerate([0.1] * 8 + [-0.2, 0.0])}
    comparison = compare_cells(values, baseline)
    assert comparison is not None
    assert (comparison.n_cells, comparison.n_better, comparison.n_worse) == (10, 8, 1)
    assert comparison.share_better == 0.8
    assert comparison.mean == pytest.approx(0.06)
    assert (comparison.largest, comparison.smallest) == (pytest.approx(0.1), pytest.approx(-0.2))
    # nine cells differ; one or fewer on one side, or on the other
    assert comparison.p_value == pytest.approx(2 * (math.comb(9, 0) + math.comb(9, 1)) / 2**9)


def test_compare_takes_shared_cells_only() -> None:
    assert compare_cells({"a": 1.0}, {"b": 0.0}) is None
    comparison = compare_cells({"a": 1.0, "b": 0.0}, {"a": 1.0, "c": 9.0})
    assert comparison is not None
    assert (comparison.n_cells, comparison.p_value) == (1, 1.0)


def test_recovered_share_is_a_ratio_of_means() -> None:
    assert recovered_share({1: 0.6, 2: 0.5}, {1: 0.5, 2: 0.5}, {1: 0.7, 2: 0.5, 3: 1.0}) == pytest.approx(0.5)
    assert recovered_share({1: 0.4}, {1: 0.5}, {1: 0.6}) == pytest.approx(-1.0)
    assert recovered_share({1: 0.6}, {1: 0.5}, {1: 0.4}) is None


def test_wins_share_draws_and_need_all_contenders() -> None:
    scores = {"a": {1: 0.9, 2: 0.5, 3: 0.1}, "b": {1: 0.1, 2: 0.5, 3: 0.2}, "c": {1: 0.2, 2: 0.5}}
    assert count_wins(scores) == pytest.approx({"a": 1 + 1 / 3, "b": 1 / 3, "c": 1 / 3})
    assert count_wins({}) == {}


def test_mean_and_deviation() -> None:
    assert mean_and_deviation([2.0]) == (2.0, None)
    mean, deviation = mean_and_deviation([1.0, 2.0, 3.0])
    assert (mean, deviation) == (2.0, 1.0)
