import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from h2q.quantization import householder

GOLDEN = Path(__file__).parent.parent / "golden" / "householder.json"
SIZES = [(1, 1), (2, 1), (5, 3), (16, 16), (64, 64), (65, 65), (100, 70), (129, 129), (200, 200)]


def product_of_reflections(V: np.ndarray) -> np.ndarray:
    U = np.eye(len(V))
    for v in V.T.astype(np.float64):
        U -= 2 * np.outer(U @ v, v) / (v @ v)
    return U


def draw(k: int, m: int, seed: int = 0, dtype: type = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((k, m)).astype(dtype)


@pytest.mark.parametrize(("k", "m"), SIZES)
@pytest.mark.parametrize(("dtype", "tol"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_the_compact_form_is_the_product_of_the_reflections(k, m, dtype, tol):
    V = draw(k, m, dtype=dtype)
    U = householder.to_matrix(V)
    assert U.dtype == dtype
    np.testing.assert_allclose(U, product_of_reflections(V), atol=tol)
    assert np.sign(scipy.linalg.det(U)) == (-1) ** m


def test_torch_and_golden_values_agree():
    """The golden values are written by tests/golden/make_householder.py, which knows torch and loops, not h2q."""
    for case in json.loads(GOLDEN.read_text()):
        V, A = np.array(case["V"]), np.array(case["A"])
        np.testing.assert_allclose(householder.to_matrix(V), case["U"], atol=1e-12)
        np.testing.assert_allclose(householder.gradient(V, A), case["gradient"], atol=1e-11)


def test_torch_householder_product_is_the_same():
    V = np.tril(draw(6, 4))
    V /= np.diag(V)  # LAPACK's form: unit diagonal, zeros above
    tau = 2 / (V**2).sum(axis=0)
    Q = torch.linalg.householder_product(torch.tensor(V), torch.tensor(tau)).numpy()
    np.testing.assert_allclose(householder.to_matrix(V)[:, :4], Q, atol=1e-14)


@pytest.mark.parametrize(("k", "m"), SIZES)
def test_apply_is_the_product_with_the_matrix(k, m):
    V, X = draw(k, m), draw(7, k, seed=1)
    np.testing.assert_allclose(householder.apply(X, V), X @ householder.to_matrix(V), atol=1e-12)


@pytest.mark.parametrize(("k", "m"), [(1, 1), (4, 4), (6, 3), (70, 70)])
def test_gradient_is_that_of_finite_differences(k, m):
    V, A, step = draw(k, m), draw(k, k, seed=1), 1e-6
    dV = householder.gradient(V, A)
    for i, j in [(0, 0), (k - 1, m - 1), (k // 2, m // 2), (0, m - 1), (k - 1, 0)]:
        E = np.zeros_like(V)
        E[i, j] = step
        difference = (A * (householder.to_matrix(V + E) - householder.to_matrix(V - E))).sum() / (2 * step)
        np.testing.assert_allclose(dV[i, j], difference, atol=1e-7)


def test_gradient_in_float32_is_that_in_float64():
    V, A = draw(96, 96), draw(96, 96, seed=1)
    single = householder.gradient(V.astype(np.float32), A.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, householder.gradient(V, A), atol=1e-4)


@given(k=st.integers(1, 150), share=st.floats(0, 1), seed=st.integers(0, 2**31), spread=st.floats(0, 1))
def test_matrices_are_orthogonal_in_float32(k, share, seed, spread):
    m = round(share * k)
    generator = np.random.default_rng(seed)
    # From all columns nearly parallel (spread 0) to independent (spread 1), of lengths far apart.
    V = generator.standard_normal((k, 1)) + spread * 10 * generator.standard_normal((k, m))
    V = (V * 10.0 ** generator.uniform(-3, 3, m)).astype(np.float32)
    U = householder.to_matrix(V).astype(np.float64)
    assert np.abs(U.T @ U - np.eye(k)).max() < 1e-6
    # Applied without being formed, in float32, products round more.
    rotated = householder.apply(np.eye(k, dtype=np.float32), V).astype(np.float64)
    assert np.abs(rotated.T @ rotated - np.eye(k)).max() < 1e-5


@given(k=st.integers(2, 40), n=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_similarities_do_not_change(k, n, seed):
    V, X = draw(k, k, seed), draw(n, k, seed + 1)
    rotated = householder.apply(X, V)
    np.testing.assert_allclose(rotated @ rotated.T, X @ X.T, atol=1e-10)


@pytest.mark.parametrize("k", [1, 2, 3, 17, 64, 150])
@pytest.mark.parametrize("determinant", [1, -1])
@pytest.mark.parametrize(("dtype", "tol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_any_orthogonal_matrix_has_reflections(k, determinant, dtype, tol):
    U = ortho_group.rvs(k, random_state=0) if k > 1 else np.ones((1, 1))
    if np.sign(scipy.linalg.det(U)) != determinant:
        U[:, 0] *= -1
    V = householder.from_matrix(U.astype(dtype))
    assert V.dtype == dtype
    assert V.shape[1] <= k
    assert (-1) ** V.shape[1] == determinant
    np.testing.assert_allclose(householder.to_matrix(V), U, atol=tol)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-9, 1e-5, 1.0, np.pi - 1e-9, np.pi])
def test_reflections_of_rotations_by_any_angle(angle):
    U = np.eye(4)
    U[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(householder.to_matrix(householder.from_matrix(U)), U, atol=1e-15)


def test_permutations_and_sign_flips_have_reflections():
    U = np.eye(9)[np.random.default_rng(0).permutation(9)] * np.array([1, -1, 1, 1, -1, 1, -1, -1, 1])
    np.testing.assert_allclose(householder.to_matrix(householder.from_matrix(U)), U, atol=1e-14)


def test_the_identity_needs_no_reflection_and_v_equal_to_it_is_minus_the_identity(capfd):
    assert householder.from_matrix(np.eye(5)).shape == (5, 0)
    np.testing.assert_array_equal(householder.to_matrix(np.zeros((5, 0))), np.eye(5))
    assert capfd.readouterr() == ("", "")  # LAPACK prints warnings of empty matrices
    np.testing.assert_array_equal(householder.to_matrix(np.eye(5)), -np.eye(5))


@pytest.mark.parametrize(
    ("V", "error", "message"),
    [
        (np.array([[1.0, 0.0], [0.0, 0.0]]), ValueError, "1 column.* zero .*column 1.*draw these columns again"),
        (np.array([[np.nan]]), ValueError, "not finite"),
        (np.zeros((3, 2)), ValueError, r"2 column.*first: column 0\)"),
        (np.ones((2, 3)), ValueError, r"m <= k.*\(2, 3\)"),
        (np.ones(3), ValueError, r"\(3,\)"),
        (np.eye(2, dtype=int), TypeError, "float32 or float64; got an int64"),
        ([[1.0]], TypeError, "float32 or float64"),
    ],
)
def test_what_are_no_reflections_is_refused(V, error, message):
    with pytest.raises(error, match=message):
        householder.to_matrix(V)


@pytest.mark.parametrize(
    ("U", "error", "message"),
    [
        (np.ones((2, 3)), ValueError, "square"),
        (np.ones((2, 2, 2)), ValueError, r"square; got shape \(2, 2, 2\)"),
        (2 * np.eye(3), ValueError, "orthogonal.*3.0e"),
        (np.full((2, 2), np.nan), ValueError, "orthogonal"),
        (np.eye(3, dtype=int), TypeError, "float32 or float64"),
    ],
)
def test_what_is_not_orthogonal_has_no_reflections(U, error, message):
    with pytest.raises(error, match=message):
        householder.from_matrix(U)


@pytest.mark.parametrize(("k", "accepted", "refused"), [(1, 49, 51), (4, 99, 100), (9, 149, 151)])
def test_orthogonal_means_to_a_hundred_roundings_of_each_column(k, accepted, refused):
    step = np.finfo(np.float32).eps
    householder.from_matrix(np.eye(k, dtype=np.float32) * (1 + accepted * step))
    with pytest.raises(ValueError, match="U must be orthogonal"):
        householder.from_matrix(np.eye(k, dtype=np.float32) * (1 + refused * step))
