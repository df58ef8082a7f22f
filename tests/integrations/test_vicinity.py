from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from vicinity import Metric, Vicinity

import h2q
from h2q.integrations.vicinity import H2QBackend, load

X = np.asarray(load_digits().data, np.float32)
NAMES = [f"digit {row}" for row in range(len(X))]


@pytest.fixture
def store() -> Vicinity[str]:
    quantizer = h2q.RefinedQuantizer(7, random_state=0).fit(X)
    return Vicinity(NAMES[:1000], H2QBackend.from_vectors(X[:1000], quantizer=quantizer))


def test_items_come_and_go_as_in_vicinitys_own_back_end(store: Vicinity[str]) -> None:
    """The same operations on Vicinity's exact back end: an item is its own nearest in both."""
    own: Vicinity[str] = Vicinity.from_vectors_and_items(X[:1000], NAMES[:1000], metric="cosine")
    for vicinity in (store, own):
        vicinity.insert(NAMES[1000:1200], X[1000:1200])
        vicinity.delete([NAMES[row] for row in (0, 7, 500, 1100)])
        assert len(vicinity) == 1196
    rows = [1, 6, 8, 499, 501, 1099, 1101, 1199]
    nearest = [result[0][0] for result in store.query(X[rows], k=1)]
    assert nearest == [result[0][0] for result in own.query(X[rows], k=1)] == [NAMES[row] for row in rows]
    gone = [item for result in store.query(X[[0, 7, 500, 1100]], k=5) for item, _ in result]
    assert not {NAMES[0], NAMES[7], NAMES[500], NAMES[1100]} & set(gone)


def test_saved_and_loaded_by_its_own_load(store: Vicinity[str], tmp_path: Path) -> None:
    store.delete([NAMES[3]])
    store.save(tmp_path / "store")
    loaded = load(tmp_path / "store")
    assert loaded.items == store.items
    assert loaded.metric == Metric.COSINE
    assert loaded.query(X[:5], k=3) == store.query(X[:5], k=3)


def test_a_threshold_bounds_the_distances(store: Vicinity[str]) -> None:
    (result,) = store.query_threshold(X[42], threshold=0.1, max_k=50)
    assert "digit 42" in [item for item, _ in result]
    assert all(distance < 0.1 for _, distance in result)
    assert 0 < len(result) < 50


def test_other_metrics_are_refused() -> None:
    with pytest.raises(ValueError, match=r"metric must be one of cosine, .*; got 'hamming'"):
        H2QBackend.from_vectors(X, metric="hamming")
