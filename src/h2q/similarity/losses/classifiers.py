"""What losses with a linear classifier on the codes share."""

import torch
from torch import Tensor, nn

from h2q.checks import check_integer, check_n_bits
from h2q.similarity.losses.base import SimilarityLoss
from h2q.similarity.losses.pairs import as_multi_hot, mean_where

__all__ = ["ClassifierLoss", "signs", "straight_through"]


def signs(values: Tensor) -> Tensor:
    """Return 1 where a value is above 0 and -1 elsewhere, as codes have it."""
    return torch.where(values > 0, 1.0, -1.0).to(values.dtype)


def straight_through(values: Tensor, codes: Tensor) -> Tensor:
    """Return `codes`, with the gradients of `values`.

    >>> z = torch.tensor([0.3, -2.0], requires_grad=True)
    >>> straight_through(z, signs(z)).sum().backward()
    >>> z.grad
    tensor([1., 1.])
    """
    return codes.detach() + (values - values.detach())  # in this order the sum is exactly the codes


class ClassifierLoss(SimilarityLoss):
    """Base of losses that classify codes with a linear layer, which is trained with the network and then left out.

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        Classes c.
    bias : bool
        Whether the classifier has a bias.

    Attributes
    ----------
    weight : Parameter of shape (c, k)
        Initialized like `torch.nn.Linear`, from torch's global generator.
    bias : Parameter of shape (c,) or None
        Initialized likewise.

    Examples
    --------
    >>> from h2q.similarity.losses import GreedyHash
    >>> loss = GreedyHash(n_bits=8, n_classes=3)
    >>> isinstance(loss, ClassifierLoss), loss.weight.shape
    (True, torch.Size([3, 8]))
    """

    needs_n_classes = True
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, *, n_bits: int, n_classes: int, bias: bool) -> None:
        super().__init__()
        layer = nn.Linear(check_n_bits(n_bits), check_integer(n_classes, "n_classes", low=1), bias=bias)
        self.weight = nn.Parameter(layer.weight.detach())
        self.bias = nn.Parameter(layer.bias.detach()) if bias else None

    def cross_entropy(self, codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy of the classified codes, and which items have a label.

        The target of an item with several labels gives each the same share; items without a label are left out.
        """
        targets = as_multi_hot(labels, len(self.weight), codes.dtype)
        bias = None if self.bias is None else self.bias.to(codes.dtype)
        logits = nn.functional.linear(codes, self.weight.to(codes.dtype), bias)
        counts = targets.sum(dim=1)
        values = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1) / counts.clamp_min(1)
        return mean_where(values, counts > 0), counts > 0
