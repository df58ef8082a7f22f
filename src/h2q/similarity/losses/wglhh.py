"""WGLHH: divergence of a Gaussian of Hamming distances from the labels, with attention to badly trained pairs."""

from typing import Literal

import torch
from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.base import PairLoss
from h2q.similarity.losses.pairs import balanced_weights, check_fraction, cosine_similarities, mean_where

__all__ = ["WGLHH"]


class WGLHH(PairLoss):
    """Weighted Gaussian loss based Hamming hashing.

    Mean over pairs of::

        w_ij a_ij (p log(2 p / (p + s)) + s log(2 s / (s + p)))
        p = exp(-alpha d^2),   d = k/2 (1 - cos(z_i, z_j)),   a_ij = exp(abs((1 + cos(z_i, z_j)) / 2 - s_ij))

    that is p log 2 for dissimilar pairs and p log p - (1 + p) log(1 + p) + (1 + p) log 2 for similar ones.

    Parameters
    ----------
    alpha : float
        Of the Gaussian, in 1 / bits^2. Above 0; default 0.1.
    similar_weight : float or "balanced", optional
        w of a similar pair, above 0, where that of a dissimilar pair is 1. Default: 1.1 below 32 bits, 1.7 at 64 and
        1.6 otherwise, those of the published code on MS COCO. "balanced": N / N1 and N / N0, so that both
        kinds weigh the same, as in the code of the authors of Householder quantization.
    similar_fraction : float, optional
        N1 / N of the whole training set for "balanced", above 0 and below 1. Default: that of each batch.
    form : {"divergence", "h2q_implementation"}
        "h2q_implementation": the formula in the code of the authors of Householder quantization, for reproduction,
        p for dissimilar pairs and p log p - (1 + p) log(1 + p) for similar ones: it lacks terms in log 2, so that the
        loss of a similar pair at distance 0 is at its steepest.

    Notes
    -----
    Domain: any embeddings, only directions count. No learned parameters. Its quantization term, the squared distance
    to the sign, is the penalty "l2" (`h2q.similarity.penalties`) with weight 0.001.

    Source: Tu, Mao, Kong, Shao, Li, Wei and Huang, "Weighted Gaussian Loss based Hamming Hashing", ACM Multimedia 2021,
    from the formula and settings of its Paddle implementation (LiuJinyu1229/paddle); that adds 1e-4 inside the
    logarithms, which the closed form above does not need.

    Examples
    --------
    >>> codes = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    >>> WGLHH()(codes[:2], torch.tensor([0, 0]))
    tensor(0.)
    >>> WGLHH()(codes[:2], torch.tensor([0, 1]))  # e log 2: the worst that a dissimilar pair can be
    tensor(1.8842)
    """

    penalty = "l2"
    unit_norm = True

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        similar_weight: float | Literal["balanced"] | None = None,
        similar_fraction: float | None = None,
        form: Literal["divergence", "h2q_implementation"] = "divergence",
    ) -> None:
        super().__init__()
        self.alpha = check_number(alpha, "alpha", above=0)
        if isinstance(similar_weight, str) and similar_weight != "balanced":
            raise ValueError(f'similar_weight must be a number above 0, "balanced" or None; got {similar_weight!r}')
        if similar_weight is not None and not isinstance(similar_weight, str):
            similar_weight = check_number(similar_weight, "similar_weight", above=0)
        if form not in ("divergence", "h2q_implementation"):
            raise ValueError(f'form must be "divergence" or "h2q_implementation"; got {form!r}')
        if similar_fraction is not None and similar_weight != "balanced":
            raise ValueError('similar_fraction needs similar_weight="balanced"')
        self.similar_weight, self.form = similar_weight, form
        self.similar_fraction = check_fraction(similar_fraction)

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted mean over pairs."""
        cosines = cosine_similarities(embeddings)
        exponents = self.alpha * (embeddings.shape[1] / 2 * (1 - cosines)).square()
        p = torch.exp(-exponents)
        together = -exponents * p - (1 + p) * torch.log1p(p)
        apart = p
        if self.form == "divergence":
            log_2 = 0.6931471805599453
            together, apart = together + (1 + p) * log_2, apart * log_2
        attention = torch.exp(((1 + cosines) / 2 - similar.to(p.dtype)).abs())
        weights = self._weights(similar, pairs, embeddings.shape[1], p.dtype)
        return mean_where(weights * attention * together.where(similar, apart), pairs)

    def _weights(self, similar: Tensor, pairs: Tensor, n_bits: int, dtype: torch.dtype) -> Tensor:
        if isinstance(self.similar_weight, str):
            return balanced_weights(similar, pairs, self.similar_fraction, dtype)
        published = 1.1 if n_bits < 32 else 1.7 if n_bits == 64 else 1.6
        return 1 + similar.to(dtype) * ((self.similar_weight or published) - 1)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return (
            f"alpha={self.alpha:g}, similar_weight={self.similar_weight!r}, similar_fraction={self.similar_fraction}, "
            f"form={self.form!r}"
        )
