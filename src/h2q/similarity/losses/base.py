"""Base classes of the losses: modules ``loss(embeddings, labels)`` that return a scalar in full precision."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from h2q.similarity.losses.pairs import check_batch, check_size, distinct_pairs, similar_pairs

__all__ = ["PairLoss", "SimilarityLoss"]


class SimilarityLoss(nn.Module):
    """Base of all losses: checks the batch, computes in full precision, and leaves the formula to `batch_loss`.

    Attributes
    ----------
    penalty : str or None
        The name of the loss's own quantization penalty in `h2q.similarity.penalties`.
    unit_norm : bool
        Whether only the direction of an embedding counts: rows are scaled to norm 1 inside.
    needs_n_classes : bool
        Whether the constructor takes `n_bits` and `n_classes`.

    Examples
    --------
    >>> class Spread(SimilarityLoss):
    ...     '''Pulls the mean of the embeddings to zero.'''
    ...
    ...     def batch_loss(self, embeddings, labels):
    ...         return embeddings.mean(dim=0).square().sum()
    >>> Spread()(torch.tensor([[1.0, 2.0], [1.0, -2.0]]), torch.tensor([0, 1]))
    tensor(1.)
    """

    penalty: ClassVar[str | None] = None
    unit_norm: ClassVar[bool] = False
    needs_n_classes: ClassVar[bool] = False

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (n, k)
            Real-valued, of any floating-point type; halves are computed with as float32, also under autocast.
        labels : Tensor of shape (n,) or (n, c)
            Class ids, or multi-hot rows.

        Returns
        -------
        Tensor of shape ()
            0, with gradients of 0, where the batch holds nothing that the loss is about (one item has no pairs).

        Raises
        ------
        ValueError
            If shapes do not fit, or entries are so large (above 1e18 in float32) that squared norms overflow, which
            would give gradients of 0 or NaN.
        """
        check_batch(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            if embeddings.dtype in (torch.float16, torch.bfloat16):
                embeddings = embeddings.float()
            check_size(embeddings)
            return self.batch_loss(embeddings, labels)

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a checked batch in float32 or float64."""
        raise NotImplementedError


class PairLoss(SimilarityLoss):
    """Base of losses that are about pairs alone: the formula is `pair_loss`.

    On the joint batch of several processes this is the joint loss: pairs across processes are pairs as well.

    Examples
    --------
    >>> class Distance(PairLoss):
    ...     '''Mean squared distance of similar pairs.'''
    ...
    ...     def pair_loss(self, embeddings, similar, pairs, labels):
    ...         squared = (embeddings[:, None] - embeddings[None]).square().sum(dim=2)
    ...         return squared[similar & pairs].mean()
    >>> Distance()(torch.tensor([[1.0, 2.0], [1.0, -2.0]]), torch.tensor([3, 3]))
    tensor(16.)
    """

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return `pair_loss` of the pairs of different items."""
        return self.pair_loss(
            embeddings, similar_pairs(labels), distinct_pairs(len(embeddings), embeddings.device), labels
        )

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, given which of n x n pairs are similar and which are pairs of different items."""
        raise NotImplementedError
