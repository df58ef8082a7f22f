"""DSH: a contrastive loss on squared distances."""

import torch
from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.base import PairLoss
from h2q.similarity.losses.pairs import mean_where

__all__ = ["DSH"]


class DSH(PairLoss):
    """Deep supervised hashing: similar items are pulled together, others are pushed to a margin.

    Mean over pairs of::

        1/2 |z_i - z_j|^2                   if similar
        1/2 max(0, margin - |z_i - z_j|^2)  if not

    Parameters
    ----------
    margin : float, optional
        Above 0; default 2 k, as published: half of the largest squared distance of two codes in {-1, 1}.

    Notes
    -----
    Domain: any embeddings; their norms matter. No learned parameters. Its quantization term is the penalty "l1"
    (`h2q.similarity.penalties`), with weight 0.01 in the paper.

    Source: Liu, Wang, Shan and Chen, "Deep Supervised Hashing for Fast Image Retrieval", CVPR 2016, equation 4. There
    the sum over all pairs is taken; the mean does not depend on the batch size.

    Examples
    --------
    >>> codes = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
    >>> DSH()(codes[:2], torch.tensor([0, 1])), DSH()(codes[1:], torch.tensor([0, 1]))
    (tensor(2.), tensor(0.))
    """

    penalty = "l1"

    def __init__(self, *, margin: float | None = None) -> None:
        super().__init__()
        self.margin = None if margin is None else check_number(margin, "margin", above=0)

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over pairs."""
        norms = embeddings.square().sum(dim=1)
        distances = (norms[:, None] + norms[None, :] - 2 * embeddings @ embeddings.T).clamp_min(0)
        margin = 2 * embeddings.shape[1] if self.margin is None else self.margin
        return mean_where(torch.where(similar, distances, (margin - distances).clamp_min(0)) / 2, pairs)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"margin={self.margin}"
