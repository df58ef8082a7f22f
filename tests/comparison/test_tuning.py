"""The choice of a quantizer: on rows held out, by neighbors, labels or pairs."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import h2q
from h2q.comparison import Trial, itq_options
from h2q.comparison.tuning_folds import tuning_folds
from h2q.evaluation import float_neighbors, mean_average_precision, neighbor_recall

DIGITS, LABELS = load_digits(return_X_y=True)
X = (DIGITS + np.roll(DIGITS, 1, axis=1) + np.random.default_rng(0).normal(size=DIGITS.shape)).astype(np.float32)
X, LABELS = X[:700], LABELS[:700]
FAST = ("sign", "random", "itq", "h2q", "refined")
PAIRS = np.concatenate([np.flatnonzero(c == LABELS)[:60].reshape(-1, 2) for c in range(10)])


@pytest.fixture(scope="module")
def by_neighbors() -> tuple[Any, list[Trial]]:
    seen: list[Trial] = []
    return h2q.tune(X, 8, quantizers=FAST, on_trial=seen.append), seen


def test_neighbors_choose_refined_codes_and_say_what_reranking_adds(by_neighbors: tuple[Any, list[Trial]]) -> None:
    result, seen = by_neighbors
    assert tuple(seen) == result.trials
    assert {trial.contender.quantizer for trial in seen} >= {"sign", "random", "itq", "h2q", "refined"}
    assert {"center", "whitening"} <= {name for trial in seen for name in trial.contender.options}
    assert (result.best.contender.quantizer, result.scoring) == ("refined", "asymmetric")
    values = [trial.value(scoring).value for trial in seen for scoring in ("hamming", "asymmetric")]
    assert result.best.value("asymmetric").value == max(values)
    first, *others = result.verdict()
    assert first.startswith("Use refined H²Q, scored asymmetrically: recall@10 ")
    assert any("re-ranking the first 50" in sentence for sentence in others)


def test_the_scores_are_those_of_an_index_on_rows_never_fitted_on(by_neighbors: tuple[Any, list[Trial]]) -> None:
    result, _ = by_neighbors
    folds, _ = tuning_folds(X, None, None, 10, "cosine", 500, 0)
    assert len(folds.queries) == 140 == result.n_queries
    assert not {row.tobytes() for row in folds.queries} & {row.tobytes() for row in folds.train}
    index = h2q.BinaryIndex(quantizer=result.quantizer().fit(folds.train), keep_embeddings=True)
    index.add(folds.database)
    truth = float_neighbors(folds.queries, folds.database, 10)
    found = index.search(folds.queries, 10).ids
    assert result.best.value("asymmetric").value == pytest.approx(neighbor_recall(truth, found).value, abs=1e-9)
    reranked = neighbor_recall(truth, index.search(folds.queries, 10, rerank=50).ids).value
    assert result.best.score.recall_reranked.value == pytest.approx(reranked, abs=1e-3)


def test_the_code_it_gives_runs_and_the_document_is_plain(by_neighbors: tuple[Any, list[Trial]]) -> None:
    import json

    result, _ = by_neighbors
    names = {"h2q": h2q, "X": X, "queries": X[:3]}
    exec(result.code(), names)
    assert names["neighbors"].ids[:, 0].tolist() == [0, 1, 2]
    document = json.loads(json.dumps(result.values()))
    assert document["choice"] == "refined H²Q"
    assert document["trials"][0]["hamming"]["value"] == result.trials[0].value("hamming").value


def test_labels_choose_by_mean_average_precision() -> None:
    result = h2q.tune(X, 5, labels=LABELS, scoring="hamming", quantizers=("sign", "h2q"))
    assert result.scoring == "hamming"
    folds, _ = tuning_folds(X, LABELS, None, 10, "cosine", 500, 0)
    quantizer = result.quantizer()
    known = {"y": folds.train_labels} if result.best.contender.options.get("whitening") == "auto" else {}
    quantizer.fit(folds.train, **known)
    codes = quantizer.encode_queries(folds.queries), quantizer.encode(folds.database)
    expected = mean_average_precision(*codes, folds.query_labels, folds.database_labels, n_bits=quantizer.n_bits_)
    assert result.best.value("hamming").value == expected.value
    assert "whitening auto" in "".join(trial.name for trial in result.trials)
    assert any("The float embeddings themselves" in sentence for sentence in result.verdict())


def test_rows_without_a_label_are_fitted_on_but_not_judged() -> None:
    some = LABELS.copy()
    some[200:] = -1
    folds, truth = tuning_folds(X, some, None, 10, "cosine", 500, 0)
    assert truth == "labels"
    assert (len(folds.queries), len(folds.database), len(folds.train)) == (40, 160, 660)
    assert folds.query_labels.any(axis=1).all()
    assert folds.database_labels.any(axis=1).all()
    names, _ = tuning_folds(X, [f"digit {label}" for label in LABELS], None, 10, "cosine", 500, 0)
    assert len(names.database) == 560


def test_pairs_are_searched_for_and_those_of_queries_are_not_learned_from() -> None:
    folds, truth = tuning_folds(X, None, PAIRS, 10, "cosine", 500, 0)
    assert truth == "pairs"
    partner = {X[a].tobytes(): X[b].tobytes() for a, b in PAIRS.tolist()}
    for query, row in zip(folds.queries, folds.true_neighbors[:, 0], strict=True):
        assert partner[query.tobytes()] == folds.database[row].tobytes()
    train = {row.tobytes() for row in folds.train}
    assert not train & {row.tobytes() for row in folds.queries}
    for a, b in folds.train_pairs.tolist():
        assert partner[folds.train[a].tobytes()] == folds.train[b].tobytes()
    result = h2q.tune(X, 2, pairs=PAIRS, time_limit=0)
    assert result.measure == "recall@10 of the pair"


def test_no_time_leaves_quantizers_out_and_says_so() -> None:
    result = h2q.tune(X, 8, time_limit=0)
    assert [trial.name for trial in result.trials] == ["sign"]
    assert "ITQ" in result.left_out
    assert result.verdict()[-1].startswith("No time was left for random rotation, ")


@pytest.mark.filterwarnings("ignore:X varies in")
@pytest.mark.parametrize(("n_features", "n_bytes", "used"), [(4, 48, 1), (64, 48, 9), (12, 2, 2)])
def test_more_bytes_than_dimensions_are_not_used(n_features: int, n_bytes: int, used: int) -> None:
    result = h2q.tune(X[:, :n_features], n_bytes, quantizers=("sign", "random", "refined"))
    assert max(trial.score.n_bytes for trial in result.trials) == used
    assert (n_bytes > result.best.score.n_bytes) == any("bytes are used" in text for text in result.verdict())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_thirty_rows_and_constant_columns_are_enough() -> None:
    rows = X[:30].copy()
    rows[:, 50:] = 1
    result = h2q.tune(rows, 5, n_queries=5, quantizers=("sign", "h2q"))
    assert (result.n_queries, result.n_items) == (5, 25)


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (X, {"labels": LABELS[:50]}, ValueError, "labels must have 700 rows, one an item; got 50"),
        (X, {"labels": np.zeros(700, int)}, ValueError, r"labels hold 1 class\(es\)"),
        (X, {"labels": LABELS, "pairs": PAIRS}, ValueError, "labels and pairs are two ways"),
        (X, {"pairs": [[0, 1], [0, 2]]}, ValueError, "pairs must leave some to choose by"),
        (X, {"pairs": [[0, 700], [0, 2]]}, ValueError, "pairs must be rows of X, from 0 to 699; got 700"),
        (X[:11], {}, ValueError, "k is 10, and 9 rows are left"),
        (X, {"n_bytes": 0}, ValueError, "n_bytes must be at least 1"),
        (X, {"scoring": "fast"}, ValueError, "scoring must be one of auto, asymmetric, hamming"),
        (X, {"quantizers": ["pq"]}, ValueError, "the name of a quantizer must be one of"),
        (X, {"quantizers": []}, ValueError, "quantizers must name at least one"),
        (X, {"time_limit": -1}, ValueError, "time_limit must be a finite number at least 0"),
        (np.where(X > 5, np.nan, X), {}, ValueError, "NaN"),
        (X[0], {}, ValueError, "2-D"),
    ],
)
def test_bad_arguments_are_named(rows: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        h2q.tune(rows, **({"n_bytes": 8, "time_limit": 0} | options))


def test_itq_gets_fewer_iterations_where_they_take_long() -> None:
    assert itq_options(1000, 16) == {"n_init": 5, "max_iter": 200}
    assert itq_options(20_000, 384) == {"n_init": 1, "max_iter": 50}
