"""CSQ: each item goes to the hash center of its class."""

from typing import Literal

import torch
from torch import Tensor

from h2q.similarity.losses.base import SimilarityLoss
from h2q.similarity.losses.codebooks import class_codes, majority_codes
from h2q.similarity.losses.pairs import as_multi_hot, mean_where

__all__ = ["CSQ"]


class CSQ(SimilarityLoss):
    """Central similarity quantization: the cross-entropy between the bits and those of the item's hash center.

    Mean over items and bits of::

        -(c log h + (1 - c) log(1 - h)),    h = (1 + tanh z) / 2

    with c in {0, 1} the bits of the center of the item's class; of several classes, the majority of their centers'
    bits. Items without a label are left out.

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        A center each.
    codebook : {"auto", "hadamard", "bernoulli"}
        Where the centers come from, see `class_codes`; "auto", as published: rows of a Hadamard matrix where k is a
        power of 2 and there are at most 2 k classes, fair coins otherwise.
    random_state : int
        Of the coins, for centers and for ties in the majority.

    Notes
    -----
    Domain: any embeddings (before the tanh); their norms matter. No parameters: the centers are fixed. Its quantization
    term is the penalty "csq" (`h2q.similarity.penalties`), a sum over bits. The authors' code weighs a mean over bits
    with 0.05 (their `lambda2`), which is 0.05 / k here, and adds 0.2 times (`lambda1`) a weighted pairwise likelihood,
    that of `HashNet` between the halves of a batch, which this loss leaves out, as the paper does.

    Source: Yuan, Wang, Zhang, Tay, Jie, Liu and Feng, "Central Similarity Quantization for Efficient Image and Video
    Retrieval", CVPR 2020, equations 3 to 6 and algorithm 1, and the authors' code
    (yuanli2333/Hadamard-Matrix-for-hashing). Since (1 + tanh z) / 2 is the logistic function of 2 z, no logarithm of 0
    is ever taken.

    Examples
    --------
    >>> loss = CSQ(n_bits=8, n_classes=10)
    >>> loss(torch.zeros(2, 8), torch.tensor([0, 9]))
    tensor(0.6931)
    """

    penalty = "csq"
    needs_n_classes = True
    centers: Tensor
    ties: Tensor

    def __init__(
        self,
        *,
        n_bits: int,
        n_classes: int,
        codebook: Literal["auto", "hadamard", "bernoulli"] = "auto",
        random_state: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("centers", class_codes(n_classes, n_bits, codebook=codebook, random_state=random_state))
        # Not the centers' own seed: ties must not repeat the first center.
        self.register_buffer("ties", class_codes(1, n_bits, codebook="bernoulli", random_state=random_state + 1)[0])

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the bits of all items that have a label."""
        dtype = embeddings.dtype
        multi_hot = as_multi_hot(labels, len(self.centers), dtype)
        targets = (1 + majority_codes(multi_hot, self.centers.to(dtype), self.ties.to(dtype))) / 2
        values = torch.nn.functional.binary_cross_entropy_with_logits(2 * embeddings, targets, reduction="none")
        return mean_where(values.mean(dim=1), multi_hot.any(dim=1))
