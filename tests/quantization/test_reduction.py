import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from h2q.quantization.reduction import principal_components


@pytest.mark.parametrize("n", [1797, 40])
def test_components_are_those_of_scikit_learn(n):
    X = load_digits().data[:n].astype(np.float32)
    X -= X.mean(axis=0)
    components, expected = principal_components(X, 10), PCA(10, svd_solver="full").fit(X)
    np.testing.assert_allclose(np.abs(np.sum(components.directions * expected.components_, axis=1)), 1, atol=1e-4)
    np.testing.assert_allclose(components.variances * n / (n - 1), expected.explained_variance_, rtol=1e-4)
    assert components.rank == 10


def test_directions_without_variance_are_zero():
    X = np.zeros((50, 8), np.float32)
    X[:, :3] = np.random.default_rng(0).standard_normal((50, 3))
    components = principal_components(X, 6)
    assert components.rank == 3
    assert not components.directions[3:].any()
    assert not components.variances[3:].any()


def test_more_directions_than_rows_have_no_variance():
    X = np.random.default_rng(0).standard_normal((4, 30)).astype(np.float32)
    components = principal_components(X, 10)
    assert components.rank == 4
    assert components.directions.shape == (10, 30)
    np.testing.assert_allclose(components.directions[:4] @ components.directions[:4].T, np.eye(4), atol=1e-6)


def test_the_sign_of_a_direction_is_settled():
    X = load_digits().data.astype(np.float32)
    X -= X.mean(axis=0)
    directions = principal_components(X, 5).directions
    assert (directions[np.arange(5), np.abs(directions).argmax(axis=1)] > 0).all()
    np.testing.assert_allclose(principal_components(-X, 5).directions, directions, atol=1e-4)
