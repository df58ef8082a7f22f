import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q.quantization import householder
from h2q.quantization.objectives import OBJECTIVES
from h2q.quantization.procrustes import alternate, random_rotation
from h2q.quantization.sgd import SCHEDULES, Schedule, annealed, constant, learn_rotation

L2 = OBJECTIVES["l2"]
SHORT = Schedule(rounds=10, steps=20, batch_size=32, rate=0.5)


def normalized(X: np.ndarray) -> np.ndarray:
    X = X - X.mean(axis=0)
    return (X * (np.sqrt(X.shape[1]) / np.linalg.norm(X, axis=1, keepdims=True))).astype(np.float32)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return normalized(load_digits().data[:, [c for c in range(64) if c % 8 not in (0, 7)]])


def test_annealed_ends_below_the_best_of_20_converged_itq_starts(digits):
    generator = np.random.default_rng(0)
    starts = [random_rotation(48, generator) for _ in range(20)]
    itq = [alternate(digits, U, max_iter=1000, tol=1e-7).error for U in starts]
    learned = learn_rotation(digits, L2, annealed(*digits.shape, polish=True), generator)
    assert L2(digits @ learned.rotation)[0] < min(itq)


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_planted_codes_are_recovered(noise):
    recovered = []
    for seed in range(1, 5):
        generator = np.random.default_rng(seed)
        signs = np.where(generator.random((5000, 64)) < 0.5, -1.0, 1.0)
        planted = random_rotation(64, generator)
        X = normalized(signs @ planted.T + noise * generator.standard_normal((5000, 64)))
        learned = learn_rotation(X, L2, annealed(5000, 64, polish=True), generator)
        # Up to the order and the sign of the bits, which no objective can know.
        agreement = np.abs(np.sign(X @ learned.rotation).T @ signs).max(axis=0) / 5000
        recovered.append(int((agreement > 0.99).sum()))
    # One start in about twenty ends with four bits mixed among themselves, an optimum that ITQ knows, too.
    assert sorted(recovered)[1:] == [64, 64, 64]
    assert min(recovered) >= 60


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_falls(name, digits):
    start = OBJECTIVES[name](digits)[0]
    learned = learn_rotation(digits, OBJECTIVES[name], SHORT, np.random.default_rng(0))
    assert OBJECTIVES[name](digits @ learned.rotation)[0] < start


def test_one_step_is_one_step_of_the_formulas(digits):
    batch_of_all = Schedule(rounds=1, steps=1, batch_size=len(digits), rate=0.3)
    learned = learn_rotation(digits, L2, batch_of_all, np.random.default_rng(0))
    X, V = digits.astype(np.float64), np.eye(48)
    _, slope = L2(X @ householder.to_matrix(V))
    expected = householder.to_matrix(V - 0.3 * householder.gradient(V, X.T @ slope))
    np.testing.assert_allclose(learned.rotation, expected, atol=1e-5)


def test_constant_keeps_the_round_that_is_best_on_rows_held_out(digits):
    held_out, rows = digits[:200], digits[200:]
    noisy = Schedule(rounds=15, steps=5, batch_size=8, rate=0.5, anneal=False)
    learned = learn_rotation(rows, L2, noisy, np.random.default_rng(0), held_out=held_out)
    assert len(learned.loss_curve) == 15
    assert L2(held_out @ learned.rotation)[0] == pytest.approx(min(learned.loss_curve), abs=1e-6)
    assert min(learned.loss_curve) < learned.loss_curve[-1]  # so it was not simply the last


def test_many_rows_of_few_dimensions_get_more_steps_and_larger_batches():
    assert annealed(5_000, 64, polish=True) == Schedule(30, 30, 64, 64 / 96, polish_iterations=80)
    assert annealed(15_000, 128, polish=True) == Schedule(30, 60, 512, 512 / 96, polish_iterations=30)
    assert annealed(15_000, 128, polish=False).polish_iterations == 0
    assert annealed(100_000, 384, polish=True) == Schedule(30, 60, 1152, 1152 / (8 * 384**0.5), polish_iterations=5)


def test_the_papers_schedule_is_rate_0_1_batches_of_128_and_300_epochs():
    assert constant(5000, 64, polish=True) == Schedule(300, 39, 128, 0.1, anneal=False)
    assert set(SCHEDULES) == {"annealed", "constant"}


def test_descent_stops_once_nothing_moves():
    signs = np.where(np.random.default_rng(0).random((256, 8)) < 0.5, np.float32(-1), np.float32(1))
    learned = learn_rotation(signs, L2, Schedule(50, 4, 64, 0.1), np.random.default_rng(0))
    assert len(learned.loss_curve) == 1
    assert learned.loss_curve[0] == pytest.approx(0, abs=1e-9)


def test_the_best_start_is_kept(digits):
    several = Schedule(rounds=4, steps=5, batch_size=16, rate=1.0, n_init=5)
    learned = learn_rotation(digits, L2, several, np.random.default_rng(0))
    generator = np.random.default_rng(0)
    single = Schedule(rounds=4, steps=5, batch_size=16, rate=1.0)
    errors = [L2(digits @ learn_rotation(digits, L2, single, generator).rotation)[0] for _ in range(5)]
    assert L2(digits @ learned.rotation)[0] == pytest.approx(min(errors), abs=1e-7)


def test_the_same_seed_gives_the_same_bytes(digits):
    first, second = (learn_rotation(digits, L2, SHORT, np.random.default_rng(5)) for _ in range(2))
    assert first.rotation.tobytes() == second.rotation.tobytes()
    assert first.loss_curve == second.loss_curve


def test_an_objective_that_is_not_finite_is_an_error(digits):
    with pytest.raises(FloatingPointError, match="the objective became nan in round 1"):
        learn_rotation(digits, lambda Z: (np.nan, np.zeros_like(Z)), SHORT, np.random.default_rng(0))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 64), (100_000, 1024), (100, 2), (5000, 4096)])
def test_schedules_suit_any_size(n, k):
    for schedule in (annealed(n, k, polish=True), constant(n, k, polish=True)):
        assert 1 <= schedule.batch_size <= n
        assert schedule.steps >= 1
        assert schedule.n_init >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds must be at least 1; got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"n_init": 0}, "n_init must be at least 1; got 0"),
        ({"rate": -1.0}, "rate must be positive"),
    ],
)
def test_a_schedule_that_does_nothing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**({"rounds": 1, "steps": 1, "batch_size": 1, "rate": 1.0} | options))


def test_a_batch_larger_than_the_data_is_all_of_it(digits):
    whole, larger = (
        learn_rotation(digits[:20], L2, Schedule(2, 2, size, 0.5), np.random.default_rng(0)) for size in (20, 500)
    )
    assert whole.rotation.tobytes() == larger.rotation.tobytes()
