"""DCH: cross-entropy under a Cauchy distribution of Hamming distances."""

import torch
from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.base import PairLoss
from h2q.similarity.losses.pairs import balanced_weights, check_fraction, cosine_similarities, mean_where

__all__ = ["DCH"]

# Of the k bits: dissimilar items in one place have an infinite loss, and gradients that no step size survives.
_SMALLEST_DISTANCE = 1e-5


class DCH(PairLoss):
    """Deep Cauchy hashing: the pairwise Cauchy cross-entropy.

    Mean over pairs of::

        w_ij (s_ij log(d_ij / gamma) + log(1 + gamma / d_ij)),    d_ij = k/2 (1 - cos(z_i, z_j))

    with w_ij = N / N1 for the N1 similar of the N pairs and N / N0 for the others, that is, the loss is
    log(1 + d / gamma) averaged over similar pairs plus log(1 + gamma / d) averaged over dissimilar ones.

    Parameters
    ----------
    gamma : float
        Scale of the Cauchy distribution, in bits: the distance at which p(similar) = 1/2. Above 0; default 20, that of
        the paper's code. The authors of Householder quantization take 10.
    similar_fraction : float, optional
        N1 / N of the whole training set, above 0 and below 1. Default: that of each batch.

    Notes
    -----
    Domain: any embeddings, only directions count. No learned parameters. Its quantization term,
    log(1 + d(abs(z), 1) / gamma), is the penalty "dch" (`h2q.similarity.penalties`).

    So that items in one place have finite gradients, 1e-5 k bits are added to d in log(1 + gamma / d), as the authors
    of Householder quantization do.

    Source: Cao, Long, Liu and Wang, "Deep Cauchy Hashing for Hamming Space Retrieval", CVPR 2018, equations 2, 6 and 8.
    Older commits of the authors' repository (thulab/DeepHash, for instance 1453a7c) have another formula, a logistic of
    gamma / (gamma^2 + d).

    Examples
    --------
    >>> codes = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    >>> DCH(gamma=2.0)(codes, torch.tensor([0, 0, 1]))  # 0 for the similar pair, log(1 + 2 / 2) for the others
    tensor(0.6931)
    """

    penalty = "dch"
    unit_norm = True

    def __init__(self, *, gamma: float = 20.0, similar_fraction: float | None = None) -> None:
        super().__init__()
        self.gamma = check_number(gamma, "gamma", above=0)
        self.similar_fraction = check_fraction(similar_fraction)

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted mean over pairs."""
        n_bits = embeddings.shape[1]
        distances = n_bits / 2 * (1 - cosine_similarities(embeddings)).clamp_min(0)
        apart = torch.log1p(self.gamma / (distances + _SMALLEST_DISTANCE * n_bits))
        values = torch.log1p(distances / self.gamma).where(similar, apart)
        weights = balanced_weights(similar, pairs, self.similar_fraction, values.dtype)
        return mean_where(weights * values, pairs)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"gamma={self.gamma:g}, similar_fraction={self.similar_fraction}"
