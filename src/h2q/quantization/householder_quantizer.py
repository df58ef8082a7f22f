"""H²Q: a rotation learned as a product of Householder reflections."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.errors import describe
from h2q.quantization.objectives import OBJECTIVES, Objective
from h2q.quantization.registry import register
from h2q.quantization.rotation import RotationQuantizer
from h2q.quantization.sgd import SCHEDULES, Schedule, learn_rotation

__all__ = ["HouseholderQuantizer"]

_HELD_OUT = 0.1


@register("h2q", label="H²Q", position=30)
class HouseholderQuantizer(RotationQuantizer):
    """Learn a rotation with a low quantization error, as a product of Householder reflections (H²Q).

    Parameters
    ----------
    n_bits : int, optional
        Bits of a code. None: one bit a dimension. Fewer: the embeddings are first reduced to that many principal
        components.
    center : bool
        True: subtract the mean. False, as in the paper: scale rows to unit norm instead.
    whitening : float or "auto"
        Power of the whitening, from 0 (none, as in the paper) to 1 (unit variance): principal components are scaled by
        variance^(-whitening / 2) before the rotation. ``"auto"``, with labels or pairs given to `fit`: rows are
        multiplied by S^(-power / 2), S the scatter within classes, so that bits do not go to what differs between
        similar items; the power, from 0 to 1, is chosen on rows held out. Without labels ``"auto"`` is 0: the best
        power depends on what counts as similar, which embeddings alone do not tell.
    objective : {"l2", "l1", "min_entry", "bit_variance", "mean_abs", "closest_sphere_bits", "cos_sim"} or callable
        Function to minimize; see `h2q.quantization.objectives`. A callable takes Z, (n, n_bits), and returns the value
        and its gradient dL/dZ.
    schedule : {"annealed", "constant"} or Schedule
        ``"annealed"``: the learning rate falls to 0; Procrustes iterations follow if the objective is ``"l2"``.
        ``"constant"``, as in the paper: rate 0.1, batches of 128 rows, 300 epochs; the epoch with the lowest loss on
        a held-out tenth of the rows is kept.
    n_init : int, optional
        Number of starts; the best is kept. None: as the schedule says (annealed: eight up to 32 bits, one beyond).
        More starts help where classes have collapsed to points.
    max_samples : int
        Maximum number of rows to fit on; more are sampled uniformly.
    random_state : int, RandomState, Generator, optional
        Seed. The same seed gives the same bytes on the same machine, library versions and number of BLAS threads.

    Attributes
    ----------
    rotation_ : ndarray of float32, shape (n_bits_, n_bits_)
        The orthogonal matrix; `h2q.quantization.householder.from_matrix` gives its reflections.
    mean_ : ndarray of float32, shape (d,)
        Mean of the rows; zeros if `center` is False.
    projection_ : ndarray of float32, shape (d, n_bits_)
        Principal components, whitening and rotation as one matrix.
    reconstruction_ : ndarray of float32, shape (n_bits_, d)
        Decoder: maps signs to centered embeddings.
    spread_ : ndarray of float32, shape (2,)
        Mean squared distance of the rows to the mean; standard deviation of their norms over the mean norm.
    whitening_ : float
        Power of the whitening; with ``"auto"`` the one that was chosen.
    loss_curve_ : ndarray of float64
        Objective after each round of the descent, then L2 error before the first Procrustes iteration and after each.
    n_bits_ : int
        Bits of a code.
    n_features_in_ : int
        Number d of dimensions of an embedding.

    References
    ----------
    Schwengber, Resende, Orenstein, Oliveira, "Deep Hashing via Householder Quantization" (arXiv 2311.04207).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:, 1:32]
    >>> quantizer = HouseholderQuantizer(n_bits=16, random_state=0).fit(X)
    >>> quantizer.encode(X[:2]).shape
    (2, 2)
    >>> quantizer.quantization_error(X) < 0.3
    True
    """

    def __init__(
        self,
        n_bits: int | None = None,
        *,
        center: bool = True,
        whitening: float | str = 0.0,
        objective: str | Objective = "l2",
        schedule: str | Schedule = "annealed",
        n_init: int | None = None,
        max_samples: int = 100_000,
        random_state: Any = None,
    ) -> None:
        self.n_bits = n_bits
        self.center = center
        self.whitening = whitening
        self.objective = objective
        self.schedule = schedule
        self.n_init = n_init
        self.max_samples = max_samples
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not callable(self.objective) and self.objective not in OBJECTIVES:
            raise ValueError(
                f"objective must be one of {sorted(OBJECTIVES)}, or a function Z -> (value, gradient); "
                f"got {describe(self.objective)}"
            )
        if not isinstance(self.schedule, Schedule) and self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {sorted(SCHEDULES)}, or a Schedule; got {describe(self.schedule)}"
            )
        if self.n_init is not None:
            check_integer(self.n_init, "n_init", low=1)

    def _find_rotation(self, Z: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        objective = self.objective if callable(self.objective) else OBJECTIVES[self.objective]
        polish = objective is OBJECTIVES["l2"]
        schedule, held_out = self._make_schedule(*Z.shape, polish=polish), None
        if not schedule.anneal and len(Z) > 1:
            order = generator.permutation(len(Z))
            n_held_out = max(1, round(_HELD_OUT * len(Z)))
            held_out, Z = Z[order[:n_held_out]], Z[order[n_held_out:]]
            schedule = self._make_schedule(*Z.shape, polish=polish)  # an epoch is of the rows that are left
        learned = learn_rotation(Z, objective, schedule, generator, held_out=held_out)
        self.loss_curve_ = np.array(learned.loss_curve)
        return learned.rotation

    def _make_schedule(self, n: int, k: int, *, polish: bool) -> Schedule:
        """Return the schedule for n rows of k dimensions."""
        if isinstance(self.schedule, Schedule):
            schedule = self.schedule
        else:
            schedule = SCHEDULES[self.schedule](n, k, polish=polish)
        return schedule if self.n_init is None else replace(schedule, n_init=self.n_init)
