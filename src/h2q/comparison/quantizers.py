"""Quantizers side by side on the same embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from h2q.comparison.scoring import EmbeddedFolds, Score, score_quantizer
from h2q.progress import progress_bar
from h2q.quantization import make_quantizer, quantizer_info, quantizer_names

__all__ = ["Contender", "compare_quantizers", "default_contenders"]


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
    """

    label: str
    quantizer: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, n_bits: int | None, random_state: Any) -> Any:
        """Return the unfitted quantizer."""
        return make_quantizer(self.quantizer, n_bits, random_state=random_state, **self.options)


def default_contenders(
    options: Mapping[str, Any] | None = None, own_options: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Contender, ...]:
    """Return every registered quantizer, baselines first.

    Parameters
    ----------
    options : mapping, optional
        Parameters of all quantizers, such as `center`.
    own_options : mapping of str to mapping, optional
        Further parameters by quantizer, such as ``{"itq": {"n_init": 5}}``.

    Examples
    --------
    >>> [contender.label for contender in default_contenders()][:4]
    ['sign', 'random rotation', 'ITQ', 'H²Q']
    """
    own = own_options or {}
    return tuple(
        Contender(quantizer_info(name).label, name, {**(options or {}), **own.get(name, {})})
        for name in quantizer_names()
    )


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
        Bits of the codes, each at most the number of dimensions.
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
                quantizer = contender.make(n_bits, random_state)
                scores.append(score_quantizer(quantizer, folds, name=contender.label, **scoring))
                advance(1)
    return scores
