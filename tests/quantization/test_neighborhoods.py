import numpy as np
import pytest
import torch
from scipy.optimize import check_grad
from sklearn.datasets import load_digits

from h2q.quantization.neighborhoods import _Adam, distill, nearest_rows, neighborhoods, nested_loss

DIGITS = load_digits().data[:, 1:33].astype(np.float64)
DIRECTIONS = DIGITS / np.linalg.norm(DIGITS, axis=1, keepdims=True)
LENGTHS, WEIGHTS, SHARPNESS = (3, 4, 9), (1.0, 2.0, 0.5), 1.7


def example():
    generator = np.random.default_rng(0)
    Z = (DIGITS[:12] - DIGITS.mean(axis=0)) @ generator.standard_normal((32, 9)) / 30
    return Z, neighborhoods(DIRECTIONS[:12], 0.1), np.array([3.0, 5.0, 8.0])


def torch_loss(Z, targets, concentrations):
    """Return the loss as the formula reads, without its shortcuts."""
    H, m, total = torch.tanh(SHARPNESS * Z), len(Z), 0
    for length, concentration, weight in zip(LENGTHS, concentrations, WEIGHTS, strict=True):
        for i in range(m):
            others = [j for j in range(m) if j != i]
            scores = concentration * (H[others, :length] @ H[i, :length]) / length
            target = targets[i, others]
            total = total + weight * (target * (target.log() - scores.log_softmax(0))).sum() / m
    return total


def test_neighborhoods_are_softmaxes_of_the_others():
    targets = neighborhoods(DIRECTIONS[:30], 0.1)
    scores = np.exp(DIRECTIONS[:30] @ DIRECTIONS[:30].T / 0.1) * (1 - np.eye(30))
    np.testing.assert_allclose(targets, scores / scores.sum(axis=1, keepdims=True), atol=1e-12)


def test_loss_and_gradient_are_those_of_autograd():
    Z, targets, concentrations = example()
    loss = nested_loss(Z, targets, LENGTHS, concentrations, SHARPNESS, WEIGHTS)
    variables = [torch.tensor(Z, requires_grad=True), torch.tensor(np.log(concentrations), requires_grad=True)]
    value = torch_loss(variables[0], torch.tensor(targets), variables[1].exp())
    value.backward()
    assert loss.value == pytest.approx(value.item(), rel=1e-10)
    assert loss.value == pytest.approx(loss.by_length @ WEIGHTS)
    np.testing.assert_allclose(loss.slope, variables[0].grad, atol=1e-10)
    np.testing.assert_allclose(loss.concentration_slopes, variables[1].grad, atol=1e-10)


def test_gradient_is_that_of_finite_differences():
    Z, targets, concentrations = example()

    def loss(flat):
        return nested_loss(flat.reshape(Z.shape), targets, LENGTHS, concentrations, SHARPNESS, WEIGHTS)

    assert check_grad(lambda z: loss(z).value, lambda z: loss(z).slope.ravel(), Z.ravel()) < 1e-5


def test_float32_is_as_good():
    Z, targets, concentrations = example()
    expected = nested_loss(Z, targets, LENGTHS, concentrations, SHARPNESS, WEIGHTS)
    loss = nested_loss(Z.astype(np.float32), targets.astype(np.float32), LENGTHS, concentrations, SHARPNESS, WEIGHTS)
    assert loss.slope.dtype == np.float32
    assert loss.value == pytest.approx(expected.value, rel=1e-4)
    np.testing.assert_allclose(loss.slope, expected.slope, atol=1e-5)


def test_the_loss_is_zero_where_codes_have_the_neighborhoods_of_embeddings():
    Z, _, concentrations = example()
    H = np.tanh(SHARPNESS * Z)
    scores = concentrations[2] * H @ H.T / 9
    np.fill_diagonal(scores, -np.inf)
    targets = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    loss = nested_loss(Z, targets, (9,), concentrations[2:], SHARPNESS, (1.0,))
    assert loss.value == pytest.approx(0, abs=1e-10)
    assert np.abs(loss.slope).max() < 1e-10


def test_nearest_rows_against_sorting():
    rows = DIRECTIONS.astype(np.float32)
    anchors = np.arange(0, len(rows), 13)
    near = nearest_rows(rows, anchors, 5)
    cosines = rows[anchors] @ rows.T
    cosines[np.arange(len(anchors)), anchors] = -np.inf
    expected = np.sort(cosines, axis=1)[:, -5:]
    np.testing.assert_allclose(np.sort(np.take_along_axis(cosines, near, 1), axis=1), expected, atol=1e-6)
    assert not (near == anchors[:, None]).any()


def test_adam_is_that_of_torch():
    generator = np.random.default_rng(0)
    values, slopes = generator.standard_normal((4, 3)), generator.standard_normal((20, 4, 3))
    theirs = torch.tensor(values.copy(), requires_grad=True)
    optimizer, descent = torch.optim.Adam([theirs], lr=0.1), _Adam(0.1, values)
    for slope in slopes:
        theirs.grad = torch.tensor(slope)
        optimizer.step()
        descent.step(slope, 1.0)
    np.testing.assert_allclose(values, theirs.detach(), atol=1e-6)


def test_distilling_lowers_the_loss_of_all_lengths():
    rows = DIRECTIONS.astype(np.float32)
    centered = rows - rows.mean(axis=0)
    start = np.linalg.svd(centered, full_matrices=False)[2][:16].T
    losses = []
    for steps in (1, 150):
        learned = distill(rows, centered, start, (4, 16), np.random.default_rng(0), steps=steps)
        assert learned.loss_curve.shape == (steps,)
        codes = np.where(centered[:400] @ learned.projection > 0, 1.0, -1.0)
        targets = neighborhoods(rows[:400], 0.1)
        # The best concentration for each length.
        trials = [
            nested_loss(10 * codes, targets, (4, 16), np.array([c, c]), 1.0, (1.0, 1.0)).by_length
            for c in np.geomspace(1, 50, 20)
        ]
        losses.append(np.min(trials, axis=0))
    assert (losses[1] < losses[0] - 0.02).all()
