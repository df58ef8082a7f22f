"""DBDH: likelihood of pairwise similarity, with codes that have as many ones as minus ones."""

from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.base import PairLoss
from h2q.similarity.losses.pairs import likelihood_losses, mean_where

__all__ = ["DBDH"]


class DBDH(PairLoss):
    """Deep balanced discrete hashing: the pairwise cross-entropy of clipped embeddings, and a balance of each code.

    With u = max(-1, min(1, z))::

        mean over pairs of (log(1 + exp(t_ij)) - s_ij t_ij) + balance mean_i (mean_j u_ij)^2,    t_ij = u_i . u_j / 2

    Parameters
    ----------
    balance : float
        Weight of the balance, not negative; default 0.1, that of a public implementation (swuxyj/DeepHash-pytorch).

    Notes
    -----
    Domain: any embeddings; entries beyond -1 and 1 count as these and get no gradient. No learned parameters. No
    separate penalty: clipping bounds the entries.

    Source: Zheng, Zhang and Lu, "Deep Balanced Discrete Hashing for Image Retrieval", Neurocomputing 2020, from the
    formula of that implementation. The published network takes the sign with a straight-through gradient in place of
    the clipped value.

    Examples
    --------
    >>> import torch
    >>> DBDH()(torch.tensor([[9.0, -9.0], [9.0, -9.0]]), torch.tensor([0, 0]))  # balanced: log(1 + e) - 1
    tensor(0.3133)
    """

    def __init__(self, *, balance: float = 0.1) -> None:
        super().__init__()
        self.balance = check_number(balance, "balance", low=0)

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over pairs plus the balance."""
        clipped = embeddings.clamp(-1, 1)
        likelihood = mean_where(likelihood_losses(clipped @ clipped.T / 2, similar), pairs)
        return likelihood + self.balance * clipped.mean(dim=1).square().sum() / max(len(clipped), 1)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"balance={self.balance:g}"
