"""Results: their value, what they were computed with, and how sure they are."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from h2q.evaluation import (
    diagnose_codes,
    evaluate_codes,
    mean_average_precision,
    neighbor_recall,
    precision_recall_curve,
)
from h2q.evaluation.results import MeanOverQueries

VALUES = np.random.default_rng(0).beta(2, 3, 300)


def test_interval_is_that_of_scipys_bootstrap() -> None:
    low, high = MeanOverQueries(VALUES, 300).confidence_interval(0.9, n_resamples=5_000)
    theirs = bootstrap(
        (VALUES,), np.mean, n_resamples=5_000, method="percentile", confidence_level=0.9, rng=np.random.default_rng(1)
    ).confidence_interval
    assert (low, high) == (pytest.approx(theirs.low, abs=1e-3), pytest.approx(theirs.high, abs=1e-3))


def test_the_interval_follows_from_the_seed() -> None:
    result = MeanOverQueries(VALUES, 300)
    whole = result.confidence_interval(random_state=3)
    assert result.confidence_interval(random_state=3) == whole
    assert result.confidence_interval(random_state=4) != whole


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


RANDOM = np.random.default_rng(1)
CODES, LABELS = RANDOM.integers(0, 256, (40, 1), dtype=np.uint8), RANDOM.integers(0, 3, 40)


def test_a_result_shows_its_value_and_options_and_no_arrays() -> None:
    result = mean_average_precision(CODES[:5], CODES, LABELS[:5], LABELS, n_bits=8, k=10)
    assert repr(result) == (
        f"MeanAveragePrecision(value={result.value:.4f}, n_queries=5, n_database=40, k=10, ties='expected', "
        "divisor='retrieved', empty='zero', n_bits=8)"
    )
    assert f"<td>{result.value:.4f}</td>" in result._repr_html_()
    neighbors = neighbor_recall([[1, 2]], [[2, 3]])
    assert repr(neighbors) == "NeighborRecall(value=0.5000, n_queries=1, k=2, n_found=2)"


def test_a_curve_shows_its_range() -> None:
    curve = precision_recall_curve(CODES[:5], CODES, LABELS[:5], LABELS, n_bits=8, by="radius")
    assert repr(curve).startswith("PrecisionRecallCurve(cuts='9 from 0 to 8', by='radius', n_queries=5")


def test_an_evaluation_is_a_table() -> None:
    evaluation = evaluate_codes(CODES[:5], CODES, LABELS[:5], LABELS, n_bits=8, ks=[3, None], radii=[0])
    lines = repr(evaluation).splitlines()
    assert [line.split()[0] for line in lines] == ["cut", "first", "all", "radius"]
    assert f"{evaluation.at_k[3].recall.value:.4f}" in lines[1]
    assert evaluation._repr_html_().count("<tr>") == 4
    within = evaluation.within_radius[0]
    assert repr(within) == (
        f"CutEvaluation(mean_average_precision={within.mean_average_precision.value:.4f}, "
        f"precision={within.precision.value:.4f}, recall={within.recall.value:.4f})"
    )


def test_a_diagnosis_shows_its_numbers_and_findings() -> None:
    shown = repr(diagnose_codes(np.zeros((50, 1), np.uint8), 8))
    assert shown.startswith("CodesDiagnosis(n_items=50, n_bits=8, effective_bits=0.0000, distinct_codes=1, findings=(")
    assert "array" not in shown


def test_the_interval_does_not_depend_on_the_blocks_of_draws() -> None:
    many = np.random.default_rng(2).random(1 << 19)  # two samples of these fill a block
    low, high = MeanOverQueries(many, len(many)).confidence_interval(n_resamples=5)
    generator = np.random.default_rng(0)
    means = [many[generator.integers(0, len(many), len(many))].mean() for _ in range(5)]
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-12)
