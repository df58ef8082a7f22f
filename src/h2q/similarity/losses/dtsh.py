"""DTSH: likelihood of triplets under the logistic function of differences of inner products."""

from torch import Tensor
from torch.nn.functional import softplus

from h2q.checks import check_number
from h2q.similarity.losses.base import PairLoss
from h2q.similarity.losses.pairs import mean_where

__all__ = ["DTSH"]


class DTSH(PairLoss):
    """Deep supervised hashing with triplet labels: the negative log-likelihood of the triplets of a batch.

    Mean over items i that have a similar item p and a dissimilar item n in the batch, of the mean over (p, n) of::

        log(1 + exp(-(t_ip - t_in - margin))),    t_ij = scale z_i . z_j

    Parameters
    ----------
    margin : float
        Not negative; default 5, that of a public implementation (swuxyj/DeepHash-pytorch).
    scale : float
        Above 0; default 1/2, as published. That implementation has 1.

    Notes
    -----
    Domain: any embeddings; their norms matter. No learned parameters. Its quantization term, the squared distance
    to the sign, is the penalty "l2" (`h2q.similarity.penalties`). Time and memory grow with the cube of the batch size.

    Source: Wang, Shi and Kitani, "Deep Supervised Hashing with Triplet Labels", ACCV 2016 (arXiv 1612.03900). There the
    sum over a list of triplets is taken.

    Examples
    --------
    >>> import torch
    >>> codes = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    >>> DTSH(margin=0.0)(codes, torch.tensor([0, 0, 1]))  # log(1 + exp(-(1 - -1))) for the two items that have both
    tensor(0.1269)
    """

    penalty = "l2"

    def __init__(self, *, margin: float = 5.0, scale: float = 0.5) -> None:
        super().__init__()
        self.margin = check_number(margin, "margin", low=0)
        self.scale = check_number(scale, "scale", above=0)

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over triplets."""
        products = self.scale * (embeddings @ embeddings.T)
        positive, negative = similar & pairs, ~similar & pairs
        triplets = positive[:, :, None] & negative[:, None, :]
        values = softplus(-(products[:, :, None] - products[:, None, :] - self.margin))
        counts = triplets.sum(dim=(1, 2))
        return mean_where((values * triplets).sum(dim=(1, 2)) / counts.clamp_min(1), counts > 0)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"margin={self.margin:g}, scale={self.scale:g}"
