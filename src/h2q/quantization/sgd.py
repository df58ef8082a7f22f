"""Learn a rotation by minibatch gradient descent on Householder reflections.

Two schedules, by name. `annealed`, the default: the rate falls from a large value to 0 along a cosine. The noise of the
large rate leaves the local optima that ITQ ends in, and the fall settles in a better one; if the objective is the L2
error, a few full-batch Procrustes iterations follow. `constant`, as in the paper: a constant rate, 300 epochs, and the
epoch with the lowest loss on held-out embeddings.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.progress import progress_bar
from h2q.quantization.householder import compact_wy
from h2q.quantization.objectives import Objective
from h2q.quantization.procrustes import alternate
from h2q.quantization.threads import one_thread_if_small

__all__ = ["SCHEDULES", "LearnedRotation", "Schedule", "annealed", "constant", "learn_rotation"]

_STILL = 1e-6  # a rotation whose entries move less than this in a round has converged


@dataclass(frozen=True)
class Schedule:
    """Settings of a descent.

    Attributes
    ----------
    rounds : int
        Rounds; the loss curve has a value for each.
    steps : int
        Steps of a round.
    batch_size : int
        Maximum number of rows of a step.
    rate : float
        Initial learning rate.
    anneal : bool
        True: the rate falls to 0 along a cosine. False: it is constant, and the round with the lowest loss on held-out
        rows is kept.
    n_init : int
        Number of starts; the best is kept.
    polish_iterations : int
        Maximum number of Procrustes iterations over all rows at the end of a start. They lower the L2 error, whatever
        the objective.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from h2q.quantization import HouseholderQuantizer
    >>> short = Schedule(rounds=5, steps=20, batch_size=128, rate=1.0)
    >>> quantizer = HouseholderQuantizer(16, schedule=short, random_state=0).fit(load_digits().data)
    >>> len(quantizer.loss_curve_)
    5
    """

    rounds: int
    steps: int
    batch_size: int
    rate: float
    anneal: bool = True
    n_init: int = 1
    polish_iterations: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "batch_size", "n_init"):
            check_integer(getattr(self, name), name, low=1)
        check_integer(self.polish_iterations, "polish_iterations", low=0)
        if not self.rate > 0:
            raise ValueError(f"rate must be positive; got {self.rate}")

    @property
    def total(self) -> int:
        """Maximum number of steps of all starts together."""
        return self.n_init * self.rounds * self.steps


@dataclass(frozen=True)
class LearnedRotation:
    """A rotation and the course of its descent.

    Attributes
    ----------
    rotation : ndarray of float32, shape (k, k)
        The orthogonal matrix.
    loss_curve : tuple of float
        Objective after each round: on the held-out rows if there are any, otherwise the mean over the round's batches.
        Then the L2 error before the first Procrustes iteration and after each.
    """

    rotation: NDArray[np.float32]
    loss_curve: tuple[float, ...]


def annealed(n: int, k: int, *, polish: bool) -> Schedule:
    """Return the default schedule for n rows of k dimensions: 600 to 1,800 steps.

    Two ratios matter: the rate over the batch size, which sets the noise at the start (too much noise for too long
    misses good codes; too little, and the descent ends in the first optimum); and the rate over k, which sets how far a
    step goes. So batches grow with k, which also spreads the cost of forming U (of order k^3) over more rows. In few
    dimensions good optima are few and far apart: there are several starts. The constants are the best over embeddings
    of nine heads and two backbones; benchmarks/quantization_fit.py measures them. More rows pay for more steps and
    larger batches: with 20 passes the descent ends below converged ITQ on text embeddings, with 7 above it.
    """
    batch_size = max(32, k, min(k * k // 128, 4 * k))
    n_init = min(k, 8) if k <= 32 else 1
    steps, polish_iterations = 30, 80
    if n * k > 2**20:
        steps, polish_iterations = 30, 5
        if 32 < k <= 128:
            batch_size, steps, polish_iterations = 4 * k, 60, 30
    batch_size = min(n, batch_size)
    if k > 128:
        steps = min(max(20, 28 * n // batch_size // 30), 60)
    rate = batch_size / max(96.0, 8.0 * k**0.5)
    return Schedule(30, steps, batch_size, rate, True, n_init, polish_iterations if polish else 0)


def constant(n: int, k: int, *, polish: bool) -> Schedule:
    """Return the paper's schedule: rate 0.1, batches of 128 rows, 300 epochs."""
    batch_size = min(128, n)
    return Schedule(300, n // batch_size, batch_size, 0.1, False)


SCHEDULES: dict[str, Callable[..., Schedule]] = {"annealed": annealed, "constant": constant}


def learn_rotation(
    X: NDArray[np.float32],
    objective: Objective,
    schedule: Schedule,
    generator: np.random.Generator,
    *,
    held_out: NDArray[np.float32] | None = None,
) -> LearnedRotation:
    """Minimize an objective of X U over the orthogonal matrices U, starting from U = -I.

    Parameters
    ----------
    X : ndarray of float32, shape (n, k)
        Rows of norm sqrt(k).
    objective : callable
        Z -> (value, dL/dZ).
    schedule : Schedule
        Rounds, steps, batches and rates.
    generator : numpy.random.Generator
        Draws the batches.
    held_out : ndarray of float32, shape (m, k), optional
        Held-out rows, to choose the best round.

    Returns
    -------
    LearnedRotation
        Orthogonal to float32 precision.

    Raises
    ------
    FloatingPointError
        If the objective is not finite.
    """
    starts, takes_long = [], schedule.total * X.shape[1] > 2**18
    learning = progress_bar("learning a rotation", schedule.total, enabled=takes_long)
    with one_thread_if_small(X.shape[1]), learning as advance:
        for _ in range(schedule.n_init):
            U, value, curve = _descend(X, objective, schedule, generator, held_out, advance)
            if schedule.polish_iterations:
                with progress_bar("polishing", schedule.polish_iterations, enabled=takes_long) as advance_polishing:
                    polished = alternate(X, U, max_iter=schedule.polish_iterations, tol=1e-6, advance=advance_polishing)
                U, value, curve = polished.rotation, polished.error, [*curve, *polished.loss_curve]
            elif schedule.n_init > 1:
                value = objective(X @ U)[0]
            starts.append((value, U, curve))
    _, U, curve = min(starts, key=lambda start: start[0])
    return LearnedRotation(U, tuple(curve))


def _descend(
    X: NDArray[np.float32],
    objective: Objective,
    schedule: Schedule,
    generator: np.random.Generator,
    held_out: NDArray[np.float32] | None,
    advance: Callable[[int], None],
) -> tuple[NDArray[np.float32], float, list[float]]:
    """Descend once; return the rotation, its loss and the loss curve."""
    V = np.eye(X.shape[1], dtype=np.float32)
    U = best = -V
    best_loss = np.inf if held_out is None else objective(held_out @ U)[0]
    batches, curve = _batches(X, schedule.batch_size, generator), []
    for number in range(schedule.rounds):
        total = 0.0
        for step in range(schedule.steps):
            rate = schedule.rate
            if schedule.anneal:
                done = (number * schedule.steps + step) / (schedule.rounds * schedule.steps)
                rate *= 0.5 * (1 + np.cos(np.pi * done))
            batch, factors = next(batches), compact_wy(V)
            value, slope = objective(batch @ factors.to_matrix())
            V = factors.reflections - np.float32(rate) * factors.gradient(batch.T @ slope)
            total += value
        before, U = U, compact_wy(V).to_matrix()
        loss = total / schedule.steps if held_out is None else objective(held_out @ U)[0]
        curve.append(loss)
        advance(schedule.steps)
        if not np.isfinite(loss):
            raise FloatingPointError(f"the objective became {loss} in round {number + 1}: its gradient is too large")
        if held_out is None or loss < best_loss:
            best, best_loss = U, loss
        if np.abs(U - before).max() < _STILL:
            break
    return best, best_loss, curve


def _batches(X: NDArray[np.float32], batch_size: int, generator: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Yield batches of rows endlessly, each row once per pass, in a buffer that is reused."""
    batch_size = min(batch_size, len(X))
    batch = np.empty((batch_size, X.shape[1]), np.float32)
    while True:
        order = generator.permutation(len(X))
        for start in range(0, len(X) - batch_size + 1, batch_size):
            yield np.take(X, order[start : start + batch_size], axis=0, out=batch, mode="clip")
