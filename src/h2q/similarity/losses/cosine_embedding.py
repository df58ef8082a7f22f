"""CEL: the cosine embedding loss with the margin of the best binary codes."""

from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.base import PairLoss
from h2q.similarity.losses.margins import code_margin
from h2q.similarity.losses.pairs import cosine_similarities, mean_where

__all__ = ["CosineEmbedding"]


class CosineEmbedding(PairLoss):
    """Cosine embedding loss (CEL).

    Mean over pairs of::

        1 - cos(z_i, z_j)                if similar
        max(0, cos(z_i, z_j) - margin)   if not

    Parameters
    ----------
    n_bits : int
        Bits k, for the margin.
    n_classes : int
        At least 2, for the margin.
    margin : float, optional
        -1 to 1. Default: 1 - 2 d / k with d the minimum distance of the best known binary linear code of length k and
        dimension ceil(log2(n_classes)), see `code_margin`.

    Notes
    -----
    Domain: any embeddings, only directions count. No learned parameters.

    Source: Schwengber, Resende, Orenstein and Oliveira, "Deep Hashing via Householder Quantization", arXiv 2311.04207,
    2023, and the authors' code; the margin is that of Xu et al., "HHF: Hashing-guided Hinge Function for Deep Hashing
    Retrieval", IEEE Transactions on Multimedia, 2022. For a given margin this is `torch.nn.CosineEmbeddingLoss` over
    all pairs. The authors' mean counts each item's pair with itself, whose loss is 0.

    Examples
    --------
    >>> import torch
    >>> loss = CosineEmbedding(n_bits=16, n_classes=10)
    >>> loss.margin
    0.0
    >>> loss(torch.eye(16)[:3], torch.tensor([0, 0, 1]))  # the only similar pair is at right angles: 1 of 3 pairs
    tensor(0.3333)
    """

    penalty = "l2"
    unit_norm = True
    needs_n_classes = True

    def __init__(self, *, n_bits: int, n_classes: int, margin: float | None = None) -> None:
        super().__init__()
        self.margin = (
            code_margin(n_bits, n_classes) if margin is None else check_number(margin, "margin", low=-1, high=1)
        )

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over pairs."""
        cosines = cosine_similarities(embeddings)
        return mean_where((1 - cosines).where(similar, (cosines - self.margin).clamp_min(0)), pairs)

    def extra_repr(self) -> str:
        """Return the margin, for `repr`."""
        return f"margin={self.margin:g}"
