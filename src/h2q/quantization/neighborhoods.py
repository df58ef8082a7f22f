"""Distilled neighborhoods: a linear code whose prefixes keep the nearest neighbors of embeddings.

The code of a centered row y is sgn(y W); its first L bits are a code, too. For a batch of rows, the cosines of the
embeddings give each row i a distribution over the others, and so does every prefix of the relaxed codes
h = tanh(sharpness y W):

    P_ij = softmax_j(cos(x_i, x_j) / temperature),      Q^L_ij = softmax_j(kappa_L <h_i, h_j>_L / L),      j != i

where <., .>_L is the inner product of the first L entries. The loss is the mean over rows of the weighted sum over
lengths of KL(P_i || Q^L_i). W and the concentrations kappa_L descend by Adam; the rate falls to 0 along a cosine while
the sharpness rises, so that the relaxed codes become signs.

The loss over neighborhoods is that of stochastic neighbor embedding (Hinton, Roweis, NIPS 2002), and codes for several
lengths at once are those of Matryoshka representations (Kusupati et al., NeurIPS 2022).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Distillation", "NestedLoss", "distill", "match_temperature", "nearest_rows", "neighborhoods", "nested_loss"]

_ANCHORS, _NEIGHBORS, _OTHERS = 32, 15, 64  # rows of a batch: anchors, the nearest of each, and any others
_MAX_ANCHORS = 16_384  # different anchors: finding the neighbors of many rows takes long
_RATE = 0.08  # in units of a mean entry of the projection
_CONCENTRATION, _CONCENTRATION_RATE = 20.0, 0.05
_SHARPNESS = (2.0, 5.0)  # first and last, for projected rows of unit variance
_PERPLEXITY, _MAX_SHARE = 80.0, 0.2  # rows of a batch that count as neighbors of a row, and their largest share
_ADAM = (0.9, 0.999)
_SCORED_BYTES = 64 << 20  # products of rows computed at a time


@dataclass(frozen=True)
class NestedLoss:
    """Value and gradient of the loss of a batch.

    Attributes
    ----------
    value : float
        Mean over rows of the sum over lengths of the divergence, in nats.
    by_length : ndarray, shape (n_lengths,)
        The divergence of each length.
    slope : ndarray, shape (m, k)
        Gradient by the projected rows Z.
    concentration_slopes : ndarray, shape (n_lengths,)
        Gradient by the logarithms of the concentrations.
    """

    value: float
    by_length: NDArray[np.floating]
    slope: NDArray[np.floating]
    concentration_slopes: NDArray[np.floating]


def neighborhoods(directions: NDArray[np.floating], temperature: float) -> NDArray[np.floating]:
    """Return each row's distribution over the other rows, softmax of cosine / temperature; shape (m, m).

    Parameters
    ----------
    directions : ndarray, shape (m, d)
        Rows of unit norm.
    temperature : float
        Cosine difference that counts as a factor of e.

    Examples
    --------
    >>> neighborhoods(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 0.5).round(3).tolist()
    [[0.0, 0.881, 0.119], [0.881, 0.0, 0.119], [0.5, 0.5, 0.0]]
    """
    scores = directions @ directions.T
    scores /= scores.dtype.type(temperature)
    _log_softmax_of_others(scores)
    return np.exp(scores, out=scores)


def match_temperature(directions: NDArray[np.floating], perplexity: float) -> float:
    """Return the temperature at which the distributions over other rows have this perplexity, on average.

    Cosines spread more in some sets of embeddings than in others; the number of rows that count does not.

    Parameters
    ----------
    directions : ndarray, shape (m, d)
        Rows of unit norm.
    perplexity : float
        Mean exponential of the entropy, from 1 to m - 1.

    Examples
    --------
    >>> rows = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 20)))[0]
    >>> rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    >>> targets = neighborhoods(rows, match_temperature(rows, 10.0))
    >>> entropies = -np.sum(targets * np.log(np.maximum(targets, 1e-300)), axis=1)
    >>> float(np.exp(entropies).mean().round(2))
    10.0
    """
    low, high = np.log(1e-4), np.log(1e2)
    tiny = np.finfo(directions.dtype).tiny
    for _ in range(30):
        middle = (low + high) / 2
        targets = neighborhoods(directions, np.exp(middle))
        entropies = -np.sum(targets * np.log(np.maximum(targets, tiny)), axis=1)
        if np.exp(entropies).mean() < perplexity:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def nested_loss(
    Z: NDArray[np.floating],
    targets: NDArray[np.floating],
    lengths: Sequence[int],
    concentrations: NDArray[np.floating],
    sharpness: float,
    weights: Sequence[float],
) -> NestedLoss:
    """Return the divergence of the neighborhoods that prefixes of relaxed codes give, and its gradient.

    Parameters
    ----------
    Z : ndarray, shape (m, k)
        Projected rows; ``tanh(sharpness * Z)`` are the relaxed codes.
    targets : ndarray, shape (m, m)
        Distribution of each row over the others, zero on the diagonal; see `neighborhoods`.
    lengths : sequence of int
        Lengths of the prefixes, increasing, the last is k.
    concentrations : ndarray, shape (n_lengths,)
        The factors kappa of the mean products of codes.
    sharpness : float
        Slope of the relaxed sign at zero.
    weights : sequence of float
        Weight of each length in the sum.
    """
    H = np.tanh(Z * Z.dtype.type(sharpness))
    m, starts = len(Z), [0, *lengths[:-1]]
    products = np.zeros((m, m), Z.dtype)
    entropy = float(np.sum(targets * np.log(np.maximum(targets, np.finfo(Z.dtype).tiny)), dtype=np.float64))
    values, concentration_slopes = np.zeros(len(lengths)), np.zeros(len(lengths))
    slopes = []  # of the products of each length
    for number, (start, stop) in enumerate(zip(starts, lengths, strict=True)):
        part = H[:, start:stop]
        products += part @ part.T
        scale = Z.dtype.type(concentrations[number] / stop)
        scores = products * scale
        _log_softmax_of_others(scores)
        values[number] = (entropy - _product(targets, scores)) / m
        slope = np.exp(scores, out=scores)
        slope -= targets
        slope *= scale * Z.dtype.type(weights[number] / m)
        concentration_slopes[number] = _product(slope, products)  # the diagonal of the slope is zero
        slopes.append(slope)
    gradient = np.empty_like(Z)
    for number in reversed(range(len(lengths))):
        if number + 1 < len(lengths):
            slopes[number] += slopes[number + 1]
        columns = slice(starts[number], lengths[number])
        both = slopes[number] + slopes[number].T
        np.matmul(both, H[:, columns], out=gradient[:, columns])
    gradient *= Z.dtype.type(sharpness) * (1 - np.square(H))
    return NestedLoss(float(values @ np.asarray(weights)), values, gradient, concentration_slopes)


def _product(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the sum of the products of entries."""
    return float(np.vdot(a, b))


def _log_softmax_of_others(scores: NDArray[np.floating]) -> None:
    """Turn scores of shape (m, m) into logarithms of distributions over the other rows, in place.

    The diagonal becomes a large negative number whose exponential is zero, so that products with it stay finite.
    """
    np.fill_diagonal(scores, -1e4)
    scores -= scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))


def nearest_rows(directions: NDArray[np.float32], anchors: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the k other rows of largest cosine to each anchor, in no order; shape (n_anchors, k).

    Parameters
    ----------
    directions : ndarray of float32, shape (n, d)
        Rows of unit norm.
    anchors : ndarray of int64
        Rows whose neighbors are wanted.
    k : int
        At most n - 1.

    Examples
    --------
    >>> rows = np.array([[1, 0], [0, 1], [0.8, 0.6], [-1, 0]], np.float32)
    >>> nearest_rows(rows, np.array([0, 1]), 1).tolist()
    [[2], [2]]
    """
    step = max(1, _SCORED_BYTES // (4 * len(directions)))
    parts = []
    for start in range(0, len(anchors), step):
        some = anchors[start : start + step]
        cosines = directions[some] @ directions.T
        cosines[np.arange(len(some)), some] = -np.inf
        parts.append(np.argpartition(cosines, len(directions) - k, axis=1)[:, len(directions) - k :])
    return np.concatenate(parts)


@dataclass(frozen=True)
class Distillation:
    """A learned projection and the course of its descent.

    Attributes
    ----------
    projection : ndarray of float32, shape (p, k)
        The matrix W.
    loss_curve : ndarray of float64, shape (steps,)
        Loss of the batch of each step.
    """

    projection: NDArray[np.float32]
    loss_curve: NDArray[np.float64]


def distill(
    directions: NDArray[np.float32],
    centered: NDArray[np.float32],
    start: NDArray[np.float32],
    lengths: Sequence[int],
    generator: np.random.Generator,
    *,
    steps: int,
    advance: Callable[[int], None] = lambda steps: None,
) -> Distillation:
    """Return the projection whose codes keep the neighborhoods of rows, at all lengths at once.

    Parameters
    ----------
    directions : ndarray of float32, shape (n, d)
        Rows of unit norm; their cosines are the truth.
    centered : ndarray of float32, shape (n, p)
        The same rows as the projection takes them.
    start : ndarray of float32, shape (p, k)
        First projection.
    lengths : sequence of int
        Lengths of the prefixes, increasing, the last is k.
    generator : numpy.random.Generator
        Draws the batches.
    steps : int
        Steps of the descent.
    advance : callable
        Called with the number of steps done since the last call, for a progress bar.
    """
    n = len(centered)
    deviations = np.sqrt(np.square(centered @ start).mean(axis=0, dtype=np.float64))
    projection = (start / np.maximum(deviations, 1e-12)).astype(np.float32)
    if n < 3 or not deviations.max() > 0:
        return Distillation(projection, np.zeros(0))
    anchors = generator.choice(n, min(n, _MAX_ANCHORS, _ANCHORS * steps), replace=False)
    neighbors = nearest_rows(directions, anchors, min(_NEIGHBORS, n - 1))
    weights = np.sqrt(np.array(lengths) / lengths[0]).tolist()
    concentrations = np.full(len(lengths), np.log(_CONCENTRATION))
    size = float(np.linalg.norm(projection, axis=0).mean()) / np.sqrt(len(projection))
    descents = _Adam(_RATE * size, projection), _Adam(_CONCENTRATION_RATE, concentrations)
    curve, temperature = np.zeros(steps), 0.0
    for step in range(steps):
        batch = generator.choice(len(anchors), min(_ANCHORS, len(anchors)), replace=False)
        others = generator.integers(0, n, _OTHERS)
        rows = np.unique(np.concatenate([anchors[batch], neighbors[batch].ravel(), others]))
        temperature = temperature or match_temperature(directions[rows], min(_PERPLEXITY, _MAX_SHARE * len(rows)))
        part, targets = centered[rows], neighborhoods(directions[rows], temperature)
        sharpness = _SHARPNESS[0] + (_SHARPNESS[1] - _SHARPNESS[0]) * step / steps
        loss = nested_loss(part @ projection, targets, lengths, np.exp(concentrations), sharpness, weights)
        factor = 0.5 * (1 + np.cos(np.pi * step / steps))
        descents[0].step(part.T @ loss.slope, factor)
        descents[1].step(loss.concentration_slopes, factor)
        curve[step] = loss.value
        advance(1)
    return Distillation(projection, curve)


class _Adam:
    """The descent of Kingma and Ba (ICLR 2015); it changes an array in place."""

    def __init__(self, rate: float, values: NDArray[Any]) -> None:
        self._rate, self._values, self._steps = rate, values, 0
        self._mean, self._square = np.zeros_like(values), np.zeros_like(values)

    def step(self, slope: NDArray[Any], factor: float) -> None:
        """Descend along a gradient, at the rate times a factor."""
        self._steps += 1
        for moment, values, decay in ((self._mean, slope, _ADAM[0]), (self._square, np.square(slope), _ADAM[1])):
            moment *= decay
            moment += (1 - decay) * values
        correction = np.sqrt(1 - _ADAM[1] ** self._steps) / (1 - _ADAM[0] ** self._steps)
        scale = self._values.dtype.type(self._rate * factor * correction)
        self._values -= scale * self._mean / (np.sqrt(self._square) + self._values.dtype.type(1e-12))
