"""OrthoArc: OrthoHash with its margin on the angle."""

import torch
from torch import Tensor

from h2q.similarity.losses.orthohash import OrthoHash

__all__ = ["OrthoArc"]

_LARGEST_COSINE = 0.99999  # beyond, the gradient of the angle has no bound


class OrthoArc(OrthoHash):
    """OrthoArc: cross-entropy of cosine similarities to a fixed binary codebook, with an angular margin.

    Mean over items of::

        - sum_c y_c / |y| log softmax_c(scale cos(angle(z, b_c) + margin y_c))

    with b_c the fixed code of class c and y the item's labels. Items without a label are left out.

    Parameters
    ----------
    n_bits, n_classes, scale, codebook, random_state
        As for `OrthoHash`.
    margin : float
        In radians, 0 to 2; default 0.2, that of the authors' code.

    Notes
    -----
    Domain: any embeddings, only directions count. No parameters: the codebook is fixed. No penalty: see `OrthoHash`.
    Cosines are clipped to 0.99999, as in the authors' code.

    Source: the variant with the margin of ArcFace in Hoe, Ng, Zhang, Chan, Song and Xiang, "One Loss for All: Deep
    Hashing with a Single Cosine Similarity based Learning Objective", NeurIPS 2021 (arXiv 2109.14449), and the authors'
    code (kamwoh/orthohash, ``m_type="arc"``).

    Examples
    --------
    >>> loss = OrthoArc(n_bits=8, n_classes=4, codebook="hadamard")
    >>> loss(loss.codebook, torch.arange(4))  # on the codes: about log(1 + 3 exp(-8 cos 0.2))
    tensor(0.0012)
    """

    def margin_cosines(self, cosines: Tensor, targets: Tensor) -> Tensor:
        """Add the margin to the angle of an item's own classes."""
        angles = torch.acos(cosines.clamp(-_LARGEST_COSINE, _LARGEST_COSINE))
        return torch.cos(angles + self.margin * targets)
