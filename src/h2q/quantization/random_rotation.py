"""A rotation drawn at random: the baseline of every learned one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.quantization.procrustes import random_rotation
from h2q.quantization.registry import register
from h2q.quantization.rotation import RotationQuantizer

__all__ = ["RandomRotationQuantizer"]


@register("random", label="random rotation", position=10)
class RandomRotationQuantizer(RotationQuantizer):
    """A rotation drawn from the uniform (Haar) distribution: the baseline of every learned one.

    Parameters
    ----------
    n_bits, center, whitening, max_samples, random_state
        As in `HouseholderQuantizer`.

    Attributes
    ----------
    rotation_, mean_, projection_, reconstruction_, spread_, n_bits_, n_features_in_
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
        whitening: float | str = 0.0,
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
