"""The float neighbors, and how many of them a search finds."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from h2q.evaluation import float_neighbors, neighbor_recall

DIGITS = load_digits().data


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_float_neighbors_are_those_of_scikit_learn(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2q.evaluation.exact_neighbors._CHUNK_ENTRIES", 20_000)
    database, queries = DIGITS[100:], DIGITS[:100] + 0.25
    search = NearestNeighbors(n_neighbors=11, metric=metric, algorithm="brute").fit(database)
    distances, expected = search.kneighbors(queries)
    nearest = float_neighbors(queries, database, 10, metric)
    clear = np.diff(distances, axis=1) > 1e-5
    # Where two neighbors are as near as float32 can tell, either may come first.
    agree = nearest == expected[:, :10]
    assert agree[clear.all(axis=1)].all()
    true_distances = search.set_params(n_neighbors=len(database)).kneighbors(queries)
    by_row = np.empty((len(queries), len(database)))
    np.put_along_axis(by_row, true_distances[1], true_distances[0], axis=1)
    np.testing.assert_allclose(np.take_along_axis(by_row, nearest, 1), distances[:, :10], rtol=1e-5, atol=1e-6)


def test_ties_go_to_the_lower_row() -> None:
    database = np.repeat(np.eye(3), 4, axis=0)
    np.testing.assert_array_equal(float_neighbors(np.eye(3)[1:2], database, 3), [[4, 5, 6]])


def test_recall_is_the_share_found() -> None:
    result = neighbor_recall([[1, 2, 3, 4], [5, 6, 7, 8]], [[4, 9, 1], [0, 1, 2]])
    np.testing.assert_allclose(result.per_query, [0.5, 0.0])
    assert (result.value, result.k, result.n_found) == (0.25, 4, 3)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"got \(2,\) and \(1, 2\)"):
        neighbor_recall([1, 2], [[1, 2]])
    with pytest.raises(ValueError, match="k must be from 1 to 3; got 4"):
        float_neighbors(np.eye(3), np.eye(3), 4)
    with pytest.raises(ValueError, match="metric must be 'cosine' or 'euclidean'; got 'dot'"):
        float_neighbors(np.eye(3), np.eye(3), 1, "dot")
    with pytest.raises(ValueError, match="queries has 2 features, but 3 were expected"):
        float_neighbors(np.eye(2), np.eye(3), 1)
