"""MIHash: mutual information between distances and similarity."""

import torch
from torch import Tensor

from h2q.checks import check_integer
from h2q.similarity.losses.base import PairLoss
from h2q.similarity.losses.pairs import mean_where

__all__ = ["MIHash"]

_SMALLEST = 1e-7  # added to probabilities inside logarithms


class MIHash(PairLoss):
    """MIHash: the distances of an item to the others of the batch tell as much as possible about their similarity.

    Minus the mean over items i of the mutual information, in nats::

        H(D) - p(+) H(D | +) - p(-) H(D | -),    d_ij = (k - h_i . h_j) / 2,    h = tanh(z / 2)

    with D the distances to the other items, + the similar and - the dissimilar ones. The distributions are histograms
    with centers 0, k / n_bins, ..., k, to which a distance contributes linearly between its two nearest centers.

    Parameters
    ----------
    n_bins : int
        At least 1; default 16.

    Notes
    -----
    Domain: any embeddings (before the tanh); their norms matter. No learned parameters, and no penalty.

    Source: Cakir, He, Bargal and Sclaroff, "MIHash: Online Hashing with Mutual Information", ICCV 2017, section 3, and
    "Hashing with Mutual Information", IEEE TPAMI 2019, for batches. There h = 2 sigma(z) - 1, which is tanh(z / 2).

    Examples
    --------
    >>> codes = torch.tensor([[9.0], [9.0], [-9.0], [-9.0]]).repeat(1, 4)
    >>> loss = MIHash(n_bins=4)
    >>> loss(codes, torch.tensor([0, 0, 1, 1])).item() < loss(codes, torch.tensor([0, 1, 0, 1])).item() < 0
    True
    """

    def __init__(self, *, n_bins: int = 16) -> None:
        super().__init__()
        self.n_bins = check_integer(n_bins, "n_bins", low=1)

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return minus the mean mutual information."""
        n_bits = embeddings.shape[1]
        relaxed = torch.tanh(embeddings / 2)
        distances = (n_bits - relaxed @ relaxed.T) / 2
        width = n_bits / self.n_bins
        centers = width * torch.arange(self.n_bins + 1, dtype=distances.dtype, device=distances.device)
        shares = (1 - (distances[:, :, None] - centers).abs() / width).clamp_min(0)
        total = pairs.sum(dim=1).clamp_min(1)

        def entropy(of: Tensor) -> tuple[Tensor, Tensor]:
            """Return the share of the pairs, and the entropy of their distances."""
            counts = of.sum(dim=1).to(shares.dtype)
            histogram = (shares * of[:, :, None]).sum(dim=1) / counts.clamp_min(1)[:, None]
            return counts / total, -(histogram * (histogram + _SMALLEST).log()).sum(dim=1)

        (_, whole), (p_similar, of_similar), (p_other, of_other) = (
            entropy(of) for of in (pairs, similar & pairs, ~similar & pairs)
        )
        information = whole - p_similar * of_similar - p_other * of_other
        return -mean_where(information, pairs.any(dim=1))

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"n_bins={self.n_bins}"
