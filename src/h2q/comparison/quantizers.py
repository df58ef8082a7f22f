"""Quantizers side by side on the same embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from h2q.comparison.scoring import EmbeddedFolds, Score, score_quantizer
from h2q.progress import progress_bar
from h2q.quantization import make_quantizer, quantizer_info, quantizer_names

__all__ = ["Contender", "compare_quantizers", "default_contenders", "itq_options"]

_ITQ_OPERATIONS = 7e11


@dataclass(frozen=True)
class Contender:
    """A quantizer with its options.

    Attributes
    ----------
    label : str
        Name in tables and figures.
    quantizer : str
        Name in `h2q.quantization.quantizer_names`.
    options : mapping
        Parameters of the quantizer other than `n_bits` and `random_state`.

    Examples
    --------
    >>> Contender("ITQ, five starts", "itq", {"n_init": 5}).make(32, random_state=0)
    ITQQuantizer(n_bits=32, n_init=5, random_state=0)
    """

    label: str
    quantizer: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, n_bits: int | None, random_state: Any) -> Any:
        """Return the unfitted quantizer."""
        return make_quantizer(self.quantizer, n_bits, random_state=random_state, **self.options)

    @property
    def in_bytes(self) -> bool:
        """Whether an item takes whole bytes, one of them for scalars."""
        return quantizer_info(self.quantizer).in_bytes

    def takes(self, n_bits: int) -> bool:
        """Whether there are codes of this length: one byte of scalars may leave none for the code."""
        return n_bits > 8 or not self.in_bytes


def default_contenders(
    options: Mapping[str, Any] | None = None,
    own_options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    rotations_only: bool = True,
) -> tuple[Contender, ...]:
    """Return every registered quantizer, baselines first.

    Parameters
    ----------
    options : mapping, optional
        Parameters of all quantizers that have them, such as `center`.
    own_options : mapping of str to mapping, optional
        Further parameters by quantizer, such as ``{"itq": {"n_init": 5}}``.
    rotations_only : bool
        See `h2q.quantization.quantizer_names`.

    Examples
    --------
    >>> [contender.label for contender in default_contenders()][:4]
    ['sign', 'random rotation', 'ITQ', 'H²Q']
    """
    own = own_options or {}
    return tuple(
        Contender(quantizer_info(name).label, name, _options_of(name, options or {}) | dict(own.get(name, {})))
        for name in quantizer_names(rotations_only=rotations_only)
    )


def _options_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the quantizer has."""
    return {option: value for option, value in options.items() if option in quantizer_info(name).options}


def itq_options(n_rows: int, n_bits: int) -> dict[str, Any]:
    """Return starts and iterations of ITQ that end in about half a minute on one core, but 50 iterations at least.

    An iteration multiplies all rows twice by a matrix and takes one singular value decomposition.

    Examples
    --------
    >>> itq_options(10_000, 64), itq_options(15_000, 384)
    ({'n_init': 5, 'max_iter': 200}, {'n_init': 1, 'max_iter': 62})
    """
    iterations = int(_ITQ_OPERATIONS / (4 * n_rows * n_bits**2 + 40 * n_bits**3))
    max_iter = max(50, min(200, iterations))
    return {"n_init": max(1, min(5, iterations // max_iter)), "max_iter": max_iter}


def compare_quantizers(
    folds: EmbeddedFolds,
    lengths: Sequence[int],
    contenders: Sequence[Contender] | None = None,
    *,
    random_state: int = 0,
    progress: bool = True,
    **scoring: Any,
) -> list[Score]:
    """Fit and score every quantizer at every code length.

    Parameters
    ----------
    folds : EmbeddedFolds
        Embeddings to fit on, queries and database.
    lengths : sequence of int
        Bits of an item, each at most the number of dimensions. Quantizers that need more are left out.
    contenders : sequence of Contender, optional
        The quantizers. Default: `default_contenders`.
    random_state : int
        Seed of every quantizer.
    progress : bool
        Whether to show a progress bar on a terminal.
    **scoring
        Further options of `score_quantizer`.

    Returns
    -------
    list of Score
        By code length, then in the order of the contenders; ``name`` is the contender's label.

    Raises
    ------
    TypeError, ValueError
        If the embeddings or a parameter are not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data.astype(np.float32)
    >>> scores = compare_quantizers(EmbeddedFolds(X[100:], X[:100], X[100:]), [16])
    >>> [score.name for score in scores][:4]
    ['sign', 'random rotation', 'ITQ', 'H²Q']
    >>> scores[3].quantization_error_l2 < scores[0].quantization_error_l2
    True
    """
    contenders = default_contenders() if contenders is None else contenders
    scores = []
    with progress_bar("comparing", len(lengths) * len(contenders), enabled=progress) as advance:
        for n_bits in lengths:
            for contender in contenders:
                if contender.takes(n_bits):
                    quantizer = contender.make(n_bits, random_state)
                    scores.append(score_quantizer(quantizer, folds, name=contender.label, **scoring))
                advance(1)
    return scores
