"""The estimators, which differ in how they find the rotation."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.errors import describe
from h2q.progress import progress_bar
from h2q.quantization.base import BaseQuantizer
from h2q.quantization.objectives import OBJECTIVES, Objective
from h2q.quantization.procrustes import alternate, random_rotation
from h2q.quantization.sgd import SCHEDULES, Schedule, learn_rotation

__all__ = ["HouseholderQuantizer", "ITQQuantizer", "RandomRotationQuantizer", "SignQuantizer"]

_HELD_OUT = 0.1


class HouseholderQuantizer(BaseQuantizer):
    """Learn the rotation whose codes lose the least, as a product of Householder reflections (H²Q).

    Parameters
    ----------
    n_bits : int, optional
        Bits of a code. None: as many as the embeddings have dimensions; fewer: that many principal components first.
    center : bool
        Whether the mean is taken away first (True), or rows are scaled to unit norm instead (False, as in the paper).
    whitening : float
        0 (the paper's) to 1: principal components are scaled by variance^(-whitening / 2) before the rotation.
    objective : {"l2", "l1", "min_entry", "bit_variance"} or callable
        What is made small: see `h2q.quantization.objectives`. A callable takes Z, (n, n_bits), and returns the value
        and its gradient dL/dZ.
    schedule : {"annealed", "constant"} or Schedule
        ``"annealed"``: the rate falls to 0, then Procrustes iterations where the objective is ``"l2"``.
        ``"constant"``: the paper's, rate 0.1, batches of 128 rows, 300 epochs, and the epoch that is best on rows
        held out (a tenth of them).
    n_init : int, optional
        So many starts are made, and the best is kept. None: as many as the schedule says (annealed: eight up to 32
        bits, beyond them one). Worth its time where classes have collapsed to points.
    max_samples : int
        At most so many rows, drawn uniformly, are learned from.
    random_state : int, RandomState, Generator, optional
        The same seed gives the same bytes.

    Attributes
    ----------
    rotation_ : ndarray of float32, shape (n_bits_, n_bits_)
        The orthogonal matrix; `h2q.quantization.householder.from_matrix` gives its reflections.
    mean_ : ndarray of float32, shape (d,)
        The mean that is taken away; zeros without `center`.
    projection_ : ndarray of float32, shape (d, n_bits_)
        Components, whitening and rotation in one.
    reconstruction_ : ndarray of float32, shape (n_bits_, d)
        From signs back to centered embeddings, for `decode`.
    loss_curve_ : ndarray of float64
        The objective after each epoch, then after each Procrustes iteration.
    n_bits_ : int
        Bits of a code.
    n_features_in_ : int
        The number d of dimensions of an embedding.

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
    >>> quantizer.quantization_error(X) < SignQuantizer(n_bits=16).fit(X).quantization_error(X)
    True
    """

    def __init__(
        self,
        n_bits: int | None = None,
        *,
        center: bool = True,
        whitening: float = 0.0,
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
        if isinstance(self.schedule, Schedule):
            schedule = self.schedule
        else:
            schedule = SCHEDULES[self.schedule](*Z.shape, polish=objective is OBJECTIVES["l2"])
        if self.n_init is not None:
            schedule = replace(schedule, n_init=self.n_init)
        held_out = None
        if not schedule.anneal and len(Z) > 1:
            order = generator.permutation(len(Z))
            n_held_out = max(1, round(_HELD_OUT * len(Z)))
            held_out, Z = Z[order[:n_held_out]], Z[order[n_held_out:]]
        with progress_bar(
            "learning a rotation", schedule.total, enabled=schedule.total * Z.shape[1] > 2**18
        ) as advance:
            learned = learn_rotation(Z, objective, schedule, generator, held_out=held_out, advance=advance)
        self.loss_curve_ = np.array(learned.loss_curve)
        return learned.rotation


class ITQQuantizer(BaseQuantizer):
    """Iterative quantization: alternate between codes and the rotation that fits them, until nothing is gained.

    Parameters
    ----------
    n_bits : int, optional
        Bits of a code. None: as many as the embeddings have dimensions; fewer: that many principal components first.
    center : bool
        Whether the mean is taken away first (True), or rows are scaled to unit norm instead (False).
    whitening : float
        0 to 1: principal components are scaled by variance^(-whitening / 2) before the rotation.
    n_init : int
        So many random rotations to start from; the one that ends lowest is kept.
    max_iter : int
        At most so many iterations a start.
    tol : float
        A start has converged once an iteration lowers the error by less than this.
    max_samples : int
        At most so many rows, drawn uniformly, are learned from.
    random_state : int, RandomState, Generator, optional
        The same seed gives the same bytes.

    Attributes
    ----------
    rotation_, mean_, projection_, reconstruction_, n_bits_, n_features_in_
        As in `HouseholderQuantizer`.
    loss_curve_ : ndarray of float64
        The L2 quantization error before the first iteration and after each, of the start that was kept.
    n_iter_ : int
        The iterations of that start.

    References
    ----------
    Gong, Lazebnik, Gordo, Perronnin, "Iterative Quantization" (TPAMI 2013).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:, 1:32]
    >>> ITQQuantizer(n_bits=12, random_state=0).fit(X).encode(X).shape
    (1797, 2)
    """

    def __init__(
        self,
        n_bits: int | None = None,
        *,
        center: bool = True,
        whitening: float = 0.0,
        n_init: int = 1,
        max_iter: int = 1000,
        tol: float = 1e-7,
        max_samples: int = 100_000,
        random_state: Any = None,
    ) -> None:
        self.n_bits = n_bits
        self.center = center
        self.whitening = whitening
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.max_samples = max_samples
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_integer(self.n_init, "n_init", low=1)
        check_integer(self.max_iter, "max_iter", low=1)
        if not self.tol >= 0:
            raise ValueError(f"tol must not be negative; got {describe(self.tol)}")

    def _find_rotation(self, Z: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        results = []
        with progress_bar("ITQ", None, enabled=self.n_init * Z.size > 2**24) as advance:
            for _ in range(self.n_init):
                start = random_rotation(Z.shape[1], generator)
                results.append(alternate(Z, start, max_iter=self.max_iter, tol=self.tol, advance=advance))
        best = min(results, key=lambda result: result.error)
        self.loss_curve_ = np.array(best.loss_curve)
        self.n_iter_ = len(best.loss_curve) - 1
        return best.rotation


class RandomRotationQuantizer(BaseQuantizer):
    """A rotation drawn uniformly (Haar): what any learned rotation has to beat.

    Parameters
    ----------
    n_bits, center, whitening, max_samples, random_state
        As in `HouseholderQuantizer`.

    Attributes
    ----------
    rotation_, mean_, projection_, reconstruction_, n_bits_, n_features_in_
        As in `HouseholderQuantizer`.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((100, 20))
    >>> RandomRotationQuantizer(random_state=0).fit(X).encode(X).shape
    (100, 3)
    """

    def __init__(
        self,
        n_bits: int | None = None,
        *,
        center: bool = True,
        whitening: float = 0.0,
        max_samples: int = 100_000,
        random_state: Any = None,
    ) -> None:
        self.n_bits = n_bits
        self.center = center
        self.whitening = whitening
        self.max_samples = max_samples
        self.random_state = random_state

    def _find_rotation(self, Z: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        return random_rotation(Z.shape[1], generator)


class SignQuantizer(BaseQuantizer):
    """The signs of the embeddings as they are (of their principal components, where `n_bits` is fewer).

    Parameters
    ----------
    n_bits, center, whitening, max_samples, random_state
        As in `HouseholderQuantizer`; `random_state` draws the sample where there are more than `max_samples` rows.

    Attributes
    ----------
    rotation_, mean_, projection_, reconstruction_, n_bits_, n_features_in_
        As in `HouseholderQuantizer`; `rotation_` is the identity.

    Examples
    --------
    >>> X = np.array([[1.0, -2.0, 0.5], [-1.0, 2.0, 0.5]])
    >>> SignQuantizer(center=False).fit(X[:, :2]).encode(X[:, :2])
    array([[128],
           [ 64]], dtype=uint8)
    """

    def __init__(
        self,
        n_bits: int | None = None,
        *,
        center: bool = True,
        whitening: float = 0.0,
        max_samples: int = 100_000,
        random_state: Any = None,
    ) -> None:
        self.n_bits = n_bits
        self.center = center
        self.whitening = whitening
        self.max_samples = max_samples
        self.random_state = random_state

    def _find_rotation(self, Z: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        return np.eye(Z.shape[1], dtype=np.float32)
