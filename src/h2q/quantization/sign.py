"""Plain signs: the codes without stage two."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.quantization.registry import register
from h2q.quantization.rotation import RotationQuantizer

__all__ = ["SignQuantizer"]


@register("sign", label="sign", position=0)
class SignQuantizer(RotationQuantizer):
    """Signs of the embeddings without a rotation (of their principal components, if `n_bits` is less than d).

    Parameters
    ----------
    n_bits, center, whitening, max_samples, random_state
        As in `HouseholderQuantizer`; `random_state` draws the sample if there are more than `max_samples` rows.

    Attributes
    ----------
    rotation_, mean_, projection_, reconstruction_, spread_, n_bits_, n_features_in_
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
        return np.eye(Z.shape[1], dtype=np.float32)
