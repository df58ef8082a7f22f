"""OrthoHash: classification by cosine similarity to fixed codes, with a margin."""

from typing import Literal

import torch
from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.base import SimilarityLoss
from h2q.similarity.losses.codebooks import class_codes
from h2q.similarity.losses.pairs import as_multi_hot, cosine_similarities, mean_where

__all__ = ["OrthoHash"]


class OrthoHash(SimilarityLoss):
    """OrthoHash: cross-entropy of cosine similarities to a fixed binary codebook.

    Mean over items of::

        - sum_c y_c / |y| log softmax_c(scale (cos(z, b_c) - margin y_c))

    with b_c the fixed code of class c and y the item's labels (label smoothing where it has several). Items without a
    label are left out.

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        A code each.
    scale : float
        Above 0; default 8, that of the authors' code.
    margin : float
        0 to 2; default 0.2, that of the authors' code (for CIFAR-10 they take 0.3).
    codebook : {"bernoulli", "hadamard", "auto"}
        Where the codes come from, see `class_codes`. Default, as published: each bit by a fair coin.
    random_state : int
        Of the coin.

    Notes
    -----
    Domain: any embeddings, only directions count. No parameters: the codebook is fixed. No penalty: a large cosine
    similarity to a binary code is a small quantization error. The published network has batch normalization after the
    hash layer, for balanced bits.

    Source: Hoe, Ng, Zhang, Chan, Song and Xiang, "One Loss for All: Deep Hashing with a Single Cosine Similarity based
    Learning Objective", NeurIPS 2021 (arXiv 2109.14449), and the authors' code (kamwoh/orthohash).

    Examples
    --------
    >>> loss = OrthoHash(n_bits=8, n_classes=4, codebook="hadamard")
    >>> loss(loss.codebook, torch.arange(4))  # on the codes: log(1 + 3 exp(-8 (1 - 0.2)))
    tensor(0.0050)
    """

    unit_norm = True
    needs_n_classes = True
    codebook: Tensor

    def __init__(
        self,
        *,
        n_bits: int,
        n_classes: int,
        scale: float = 8.0,
        margin: float = 0.2,
        codebook: Literal["bernoulli", "hadamard", "auto"] = "bernoulli",
        random_state: int = 0,
    ) -> None:
        super().__init__()
        self.scale = check_number(scale, "scale", above=0)
        self.margin = check_number(margin, "margin", low=0, high=2)
        self.register_buffer("codebook", class_codes(n_classes, n_bits, codebook=codebook, random_state=random_state))

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all items that have a label."""
        targets = as_multi_hot(labels, len(self.codebook), embeddings.dtype)
        cosines = cosine_similarities(embeddings, self.codebook.to(embeddings.dtype))
        log_probabilities = torch.log_softmax(self.scale * self.margin_cosines(cosines, targets), dim=1)
        counts = targets.sum(dim=1)
        values = -(targets * log_probabilities).sum(dim=1) / counts.clamp_min(1)
        return mean_where(values, counts > 0)

    def margin_cosines(self, cosines: Tensor, targets: Tensor) -> Tensor:
        """Subtract the margin from the cosine similarities to an item's own classes."""
        return cosines - self.margin * targets

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"scale={self.scale:g}, margin={self.margin:g}"
