"""DHN: likelihood of pairwise similarity under the logistic function of inner products."""

from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.base import PairLoss
from h2q.similarity.losses.pairs import likelihood_losses, mean_where

__all__ = ["DHN"]


class DHN(PairLoss):
    """Deep hashing network: the pairwise cross-entropy.

    Mean over pairs of::

        log(1 + exp(x_ij)) - s_ij x_ij,    x_ij = scale z_i . z_j

    Parameters
    ----------
    scale : float
        Above 0; default 1, as published. The authors' code and others have 1/2, which is `DPSH`.

    Notes
    -----
    Domain: any embeddings; their norms matter. The published network ends in a tanh, and without one nothing but
    weight decay bounds the norms. No learned parameters. Its quantization term is the penalty "dhn"; a well-known
    implementation's is "dhn_implementation" (`h2q.similarity.penalties`).

    Source: Zhu, Long, Wang and Cao, "Deep Hashing Network for Efficient Similarity Retrieval", AAAI 2016. There the sum
    over all pairs is taken; the mean does not depend on the batch size.

    Examples
    --------
    >>> import torch
    >>> DHN()(torch.zeros(2, 8), torch.tensor([0, 0]))
    tensor(0.6931)
    """

    penalty = "dhn"

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = check_number(scale, "scale", above=0)

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over pairs."""
        return mean_where(likelihood_losses(self.scale * (embeddings @ embeddings.T), similar), pairs)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"scale={self.scale:g}"
