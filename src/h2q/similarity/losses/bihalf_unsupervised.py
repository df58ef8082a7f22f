"""BiHalf without labels: balanced codes that are as similar as their features."""

from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.bihalf import half_codes
from h2q.similarity.losses.classifiers import straight_through
from h2q.similarity.losses.pairs import unit_rows
from h2q.similarity.losses.unsupervised import UnsupervisedLoss

__all__ = ["BiHalfUnsupervised"]


class BiHalfUnsupervised(UnsupervisedLoss):
    """Bi-half hashing without labels.

    With b the codes nearest to z of which each bit is 1 in half of the batch, and x the features::

        mean over pairs (i, j) of (cos(b_i, b_j) - cos(x_i, x_j))^2 + gamma / 2 mean over items and bits of (z - b)^2

    where the gradient of the first term with respect to b is taken for that with respect to z. The pairs are those of
    an item i of the first half of the batch with item i + n // 2.

    Parameters
    ----------
    gamma : float
        Not negative; default 6, that of the authors' code.

    Notes
    -----
    Domain: any embeddings; their norms matter. No learned parameters. The quantization term is the second gradient
    of the layer, as published.

    Source: Li and van Gemert, "Deep Unsupervised Image Hashing by Maximizing Bit Entropy", AAAI 2021 (arXiv
    2012.12334), and the authors' code (liyunqianggyn/Deep-Unsupervised-Image-Hashing).

    Examples
    --------
    >>> import torch
    >>> z = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    >>> loss = BiHalfUnsupervised()
    >>> round(loss(z, z).item(), 4), round(loss(z, torch.eye(2)).item(), 4)  # features at right angles
    (0.0, 1.0)
    """

    context = "features"

    def __init__(self, *, gamma: float = 6.0) -> None:
        super().__init__()
        self.gamma = check_number(gamma, "gamma", low=0)

    def batch_loss(self, embeddings: Tensor, context: Tensor) -> Tensor:
        """Return both terms."""
        codes = half_codes(embeddings)
        half = len(embeddings) // 2
        of_codes, of_features = (
            (rows[:half] * rows[half : 2 * half]).sum(dim=1)
            for rows in (unit_rows(straight_through(embeddings, codes)), unit_rows(context.detach()))
        )
        return (of_codes - of_features).square().mean() + self.gamma / 2 * (embeddings - codes).square().mean()

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"gamma={self.gamma:g}"
