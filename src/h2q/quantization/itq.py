"""ITQ: a rotation learned by alternating codes and the orthogonal Procrustes solution."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.errors import describe
from h2q.progress import progress_bar
from h2q.quantization.procrustes import alternate, random_rotation
from h2q.quantization.registry import register
from h2q.quantization.rotation import RotationQuantizer

__all__ = ["ITQQuantizer"]


@register("itq", label="ITQ", position=20)
class ITQQuantizer(RotationQuantizer):
    """Iterative quantization: alternate between codes and the rotation that fits them, until convergence.

    Parameters
    ----------
    n_bits : int, optional
        Bits of a code. None: one bit a dimension. Fewer: the embeddings are first reduced to that many principal
        components.
    center : bool
        True: subtract the mean. False: scale rows to unit norm instead.
    whitening : float or "auto"
        As in `HouseholderQuantizer`.
    n_init : int
        Number of random rotations to start from; the result with the lowest error is kept.
    max_iter : int
        Maximum number of iterations of one start.
    tol : float
        Convergence: stop once an iteration lowers the error by less than this.
    max_samples : int
        Maximum number of rows to fit on; more are sampled uniformly.
    random_state : int, RandomState, Generator, optional
        Seed. The same seed gives the same bytes on the same machine, library versions and number of BLAS threads.

    Attributes
    ----------
    rotation_, mean_, projection_, reconstruction_, spread_, n_bits_, n_features_in_
        As in `HouseholderQuantizer`.
    loss_curve_ : ndarray of float64
        L2 quantization error of the best start: before the first iteration and after each.
    n_iter_ : int
        Number of iterations of the best start.

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
        whitening: float | str = 0.0,
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
        with progress_bar("ITQ iterations", None, enabled=self.n_init * Z.size > 2**24) as advance:
            for _ in range(self.n_init):
                start = random_rotation(Z.shape[1], generator)
                results.append(alternate(Z, start, max_iter=self.max_iter, tol=self.tol, advance=advance))
        best = min(results, key=lambda result: result.error)
        self.loss_curve_ = np.array(best.loss_curve)
        return best.rotation

    @property
    def n_iter_(self) -> int:
        """Number of iterations of the best start."""
        return len(self.loss_curve_) - 1
