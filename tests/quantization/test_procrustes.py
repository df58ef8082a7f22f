import numpy as np
import pytest
import scipy.linalg
from sklearn.datasets import load_digits

from h2q.quantization.procrustes import alternate, cross_product, polar_factor, random_rotation


def normalized(X: np.ndarray) -> np.ndarray:
    X = X - X.mean(axis=0)
    return (X * (np.sqrt(X.shape[1]) / np.linalg.norm(X, axis=1, keepdims=True))).astype(np.float32)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return normalized(load_digits().data[:, [c for c in range(64) if c % 8 not in (0, 7)]])


def test_polar_factor_is_scipys_procrustes_solution():
    generator = np.random.default_rng(0)
    X, B = generator.standard_normal((50, 9)), np.sign(generator.standard_normal((50, 9)))
    expected, _ = scipy.linalg.orthogonal_procrustes(X, B)
    np.testing.assert_allclose(polar_factor(X.T @ B), expected, atol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1797, 48), (12_000, 200)])
def test_cross_product_in_chunks_is_that_of_the_whole(n, k):
    generator = np.random.default_rng(0)
    X, U = generator.standard_normal((n, k)).astype(np.float32), random_rotation(k, generator)
    mean_absolute, product = cross_product(X, U)
    Z = X.astype(np.float64) @ U
    assert mean_absolute == pytest.approx(np.abs(Z).mean(), rel=1e-5)
    # Entries that are zero but for rounding may have either sign.
    np.testing.assert_allclose(product, X.T @ np.sign(Z), atol=1e-4 * n**0.5 + 20)


def test_error_falls_to_a_fixed_point(digits):
    result = alternate(digits, random_rotation(48, np.random.default_rng(0)), max_iter=2000, tol=0)
    assert (np.diff(result.loss_curve) < 0).all()
    Z = digits @ result.rotation
    assert result.error == pytest.approx(np.mean((Z - np.sign(Z)) ** 2), abs=1e-5)
    expected, _ = scipy.linalg.orthogonal_procrustes(digits, np.sign(Z))
    further = digits @ expected
    assert np.mean((further - np.sign(further)) ** 2) == pytest.approx(result.error, abs=1e-5)


def test_the_curve_runs_from_the_start_to_the_rotation_returned(digits):
    start = random_rotation(48, np.random.default_rng(0))
    result = alternate(digits, start, max_iter=4, tol=0)
    Z = digits @ start
    assert result.loss_curve[0] == pytest.approx(np.mean((Z - np.sign(Z)) ** 2), abs=1e-5)
    assert len(result.loss_curve) == 5
    assert result.error == result.loss_curve[-1]


def test_it_stops_after_the_first_iteration_that_gains_less_than_the_tolerance(digits):
    curve = alternate(digits, random_rotation(48, np.random.default_rng(0)), max_iter=40, tol=0).loss_curve
    gains = -np.diff(curve)
    tol = float(gains[9] + gains[10]) / 2
    iterations = []
    result = alternate(
        digits, random_rotation(48, np.random.default_rng(0)), max_iter=40, tol=tol, advance=iterations.append
    )
    expected = int(np.flatnonzero(gains < tol)[0]) + 1
    assert len(iterations) == expected < 40
    assert result.loss_curve == curve[: expected + 1]


def test_random_rotations_are_orthogonal_of_either_determinant_and_spread_evenly():
    generator = np.random.default_rng(0)
    rotations = np.stack([random_rotation(3, generator) for _ in range(2000)]).astype(np.float64)
    np.testing.assert_allclose(
        rotations.transpose(0, 2, 1) @ rotations, np.broadcast_to(np.eye(3), (2000, 3, 3)), atol=1e-6
    )
    # Under the Haar measure entries have mean 0 and variance 1/k, and both determinants are as likely.
    assert np.abs(rotations.mean(axis=0)).max() < 0.05
    np.testing.assert_allclose((rotations**2).mean(axis=0), 1 / 3, atol=0.03)
    assert 0.4 < (np.linalg.det(rotations) > 0).mean() < 0.6
