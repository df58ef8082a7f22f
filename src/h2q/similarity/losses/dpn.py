"""DPN: each bit of an item goes beyond a margin on the side of its class's code."""

from typing import Literal

import torch
from torch import Tensor

from h2q.checks import check_integer, check_number
from h2q.similarity.losses.base import SimilarityLoss
from h2q.similarity.losses.codebooks import class_codes, majority_codes
from h2q.similarity.losses.pairs import as_multi_hot, mean_where

__all__ = ["DPN"]


class DPN(SimilarityLoss):
    """Deep polarized network: a hinge on each bit.

    Mean over items and bits of::

        max(0, margin - z t)

    with t in {-1, 1} the bits of the code of the item's class; of several classes, the majority of their codes' bits.
    Items without a label are left out.

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        A code each.
    margin : float
        Above 0; default 1, as published.
    codebook : {"balanced", "bernoulli", "hadamard", "auto"}
        Where the codes come from, see `class_codes`. Default, as in the authors' code: half of the bits of each, drawn
        at random, are -1.
    update_every : int
        Epochs between two updates of the codes, for which `step_epoch` must be called before each epoch: each code
        becomes the majority of the signs of its class's items in the epoch before. 0, the authors' default: the codes
        are fixed.
    random_state : int
        Seed of the codes, and of ties in the majority.

    Notes
    -----
    Domain: any embeddings; their norms matter. No parameters: the codes are fixed, or follow from signs. No penalty:
    the margin keeps entries away from 0.

    Source: Fan, Ng, Ju, Zhang, Liu, Chan and Yang, "Deep Polarized Network for Supervised Learning of Accurate Binary
    Hashing Codes", IJCAI 2020, and the authors' code (kamwoh/DPN), whose ``--centroid-update-time`` is `update_every`.
    There an item counts for the first of its classes only, here for each; a bit of as many signs of each kind is 0
    there, and stays as it was here.

    Examples
    --------
    >>> loss = DPN(n_bits=8, n_classes=4)
    >>> labels = torch.arange(4)
    >>> loss(loss.codebook, labels), loss(0.25 * loss.codebook, labels)
    (tensor(0.), tensor(0.7500))
    """

    needs_n_classes = True
    codebook: Tensor
    ties: Tensor
    votes: Tensor

    def __init__(
        self,
        *,
        n_bits: int,
        n_classes: int,
        margin: float = 1.0,
        codebook: Literal["balanced", "bernoulli", "hadamard", "auto"] = "balanced",
        update_every: int = 0,
        random_state: int = 0,
    ) -> None:
        super().__init__()
        self.margin = check_number(margin, "margin", above=0)
        self.update_every = check_integer(update_every, "update_every", low=0)
        self.register_buffer("codebook", class_codes(n_classes, n_bits, codebook=codebook, random_state=random_state))
        self.register_buffer("votes", torch.zeros_like(self.codebook))
        # Not the seed of the codes: ties must not repeat the first code.
        self.register_buffer("ties", class_codes(1, n_bits, codebook="bernoulli", random_state=random_state + 1)[0])

    def step_epoch(self, epoch: int, n_epochs: int) -> None:
        """Begin an epoch, counted from 0: update the codes if it is time to."""
        check_integer(epoch, "epoch", low=0)
        if self.update_every and epoch and epoch % self.update_every == 0:
            self.codebook.copy_(torch.where(self.votes == 0, self.codebook, self.votes.sign()))
        self.votes.zero_()

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the bits of all items that have a label."""
        dtype = embeddings.dtype
        multi_hot = as_multi_hot(labels, len(self.codebook), dtype)
        targets = majority_codes(multi_hot, self.codebook.to(dtype), self.ties.to(dtype))
        if self.training and self.update_every:
            self.votes += (multi_hot.T @ embeddings.detach().sign()).to(self.votes.dtype)
        values = (self.margin - embeddings * targets).clamp_min(0)
        return mean_where(values.mean(dim=1), multi_hot.any(dim=1))

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"margin={self.margin:g}, update_every={self.update_every}"
