"""Results: their value, what they were computed with, and how sure they are."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from h2q.evaluation.results import MeanOverQueries

VALUES = np.random.default_rng(0).beta(2, 3, 300)


def test_interval_is_that_of_scipys_bootstrap() -> None:
    low, high = MeanOverQueries(VALUES, 300).confidence_interval(0.9, n_resamples=5_000)
    theirs = bootstrap(
        (VALUES,), np.mean, n_resamples=5_000, method="percentile", confidence_level=0.9, rng=np.random.default_rng(1)
    ).confidence_interval
    assert (low, high) == (pytest.approx(theirs.low, abs=1e-3), pytest.approx(theirs.high, abs=1e-3))


def test_interval_follows_from_the_seed_and_not_from_the_blocks_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    result = MeanOverQueries(VALUES, 300)
    whole = result.confidence_interval(random_state=3)
    assert result.confidence_interval(random_state=3) == whole
    assert result.confidence_interval(random_state=4) != whole
    monkeypatch.setattr("h2q.evaluation.results._BLOCK_DRAWS", 7 * 300)
    assert result.confidence_interval(random_state=3) == whole


def test_skipped_queries_do_not_count() -> None:
    some = MeanOverQueries(np.array([0.5, np.nan, 1.0]), 3)
    assert (some.value, some.n_queries) == (0.75, 3)
    assert some.confidence_interval() == MeanOverQueries(np.array([0.5, 1.0]), 2).confidence_interval()
    none = MeanOverQueries(np.array([np.nan]), 1)
    assert math.isnan(none.value)
    assert all(math.isnan(bound) for bound in none.confidence_interval())


def test_bad_options_are_named() -> None:
    result = MeanOverQueries(VALUES, 300)
    with pytest.raises(ValueError, match="level must be a number between 0 and 1; got 95"):
        result.confidence_interval(95)
    with pytest.raises(ValueError, match="n_resamples must be at least 1; got 0"):
        result.confidence_interval(n_resamples=0)
