import numpy as np
import pytest
from scipy.special import logsumexp

from h2q.quantization import HouseholderQuantizer, Schedule
from h2q.quantization.objectives import OBJECTIVES, objective, quantization_errors, row_errors, scale_rows

VALUES = {
    "l2": lambda Z: np.mean((Z - np.where(Z > 0, 1, -1)) ** 2),
    "l1": lambda Z: np.mean(np.abs(Z - np.where(Z > 0, 1, -1))),
    "min_entry": lambda Z: logsumexp(-(Z**2), axis=1).mean(),
    "bit_variance": lambda Z: np.mean((1 / (1 + np.exp(-Z))) * (1 - 1 / (1 + np.exp(-Z)))),
    "mean_abs": lambda Z: np.mean([np.var(np.abs(row)) for row in Z]),
    "closest_sphere_bits": lambda Z: (
        np.mean(
            [np.linalg.norm(row - np.linalg.norm(row) / np.sqrt(len(row)) * np.where(row > 0, 1, -1)) ** 2 for row in Z]
        )
        / Z.shape[1]
    ),
    "cos_sim": lambda Z: -np.mean([row @ np.where(row > 0, 1, -1) / len(row) for row in Z]),
}


@pytest.fixture
def Z() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((6, 5)) * 2


def test_there_are_the_four_of_the_paper_and_the_three_of_its_code():
    assert set(OBJECTIVES) == set(VALUES)


def test_two_of_them_are_l2_on_the_sphere(Z):
    scaled = Z * np.sqrt(Z.shape[1]) / np.linalg.norm(Z, axis=1, keepdims=True)
    l2 = OBJECTIVES["l2"](scaled)[0]
    assert OBJECTIVES["closest_sphere_bits"](scaled)[0] == pytest.approx(l2)
    assert 2 + 2 * OBJECTIVES["cos_sim"](scaled)[0] == pytest.approx(l2)


def test_a_row_of_zeros_has_no_direction():
    value, gradient = OBJECTIVES["closest_sphere_bits"](np.zeros((1, 4)))
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", sorted(VALUES))
def test_value_is_that_of_the_formula(name, Z):
    assert OBJECTIVES[name](Z)[0] == pytest.approx(VALUES[name](Z), abs=1e-12)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_gradient_is_that_of_finite_differences(name, Z):
    before = Z.copy()
    gradient, step = OBJECTIVES[name](Z)[1], 1e-6
    assert gradient.shape == Z.shape
    np.testing.assert_array_equal(Z, before)
    for i, j in np.ndindex(Z.shape):
        E = np.zeros_like(Z)
        E[i, j] = step
        difference = (VALUES[name](Z + E) - VALUES[name](Z - E)) / (2 * step)
        assert gradient[i, j] == pytest.approx(difference, abs=1e-8)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_float32_stays_float32(name, Z):
    value, gradient = OBJECTIVES[name](Z.astype(np.float32))
    assert gradient.dtype == np.float32
    assert value == pytest.approx(OBJECTIVES[name](Z)[0], abs=1e-6)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_the_sign_of_a_coordinate_does_not_matter(name, Z):
    value, gradient = OBJECTIVES[name](Z)
    flip = np.array([1, -1, 1, 1, -1])
    flipped_value, flipped_gradient = OBJECTIVES[name](Z * flip)
    assert flipped_value == pytest.approx(value)
    np.testing.assert_allclose(flipped_gradient, gradient * flip)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_large_entries_overflow_nothing(name):
    value, gradient = OBJECTIVES[name](np.array([[300.0, -300.0, 0.0]], dtype=np.float32))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_a_new_objective_is_one_function():
    @objective("shrink_entries")
    def shrink_entries(Z):
        return float(np.exp(-9 * Z**2).mean()), -18 * Z * np.exp(-9 * Z**2) / Z.size

    try:
        X, schedule = np.random.default_rng(0).standard_normal((200, 8)), Schedule(5, 10, 32, 0.5)
        quantizer = HouseholderQuantizer(objective="shrink_entries", schedule=schedule, random_state=0).fit(X)
        by_value = HouseholderQuantizer(objective=shrink_entries, schedule=schedule, random_state=0).fit(X)
        np.testing.assert_array_equal(quantizer.rotation_, by_value.rotation_)
        assert quantizer.loss_curve_[-1] < quantizer.loss_curve_[0]
    finally:
        del OBJECTIVES["shrink_entries"]


def test_quantization_errors_of_many_rows_are_those_of_all_of_them() -> None:
    rows = np.random.default_rng(0).standard_normal((40_000, 3)).astype(np.float32)
    rows[20_000:] = [1, -1, 1]  # perfect
    scaled = rows[:20_000] * np.sqrt(3) / np.linalg.norm(rows[:20_000], axis=1, keepdims=True)
    errors = quantization_errors(rows)
    assert errors.l1 == pytest.approx(np.abs(scaled - np.sign(scaled)).mean() / 2, rel=1e-5)
    assert errors.l2 == pytest.approx(((scaled - np.sign(scaled)) ** 2).mean() / 2, rel=1e-5)
    assert errors.l2 == pytest.approx(row_errors(rows).mean(), rel=1e-5)


def test_rows_of_zeros_stay_zeros():
    assert scale_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))[1].tolist() == [0, 0]
