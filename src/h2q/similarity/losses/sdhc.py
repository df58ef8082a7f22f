"""SDH-C: classification of embeddings whose entries are large."""

import torch
from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.classifiers import ClassifierLoss
from h2q.similarity.losses.pairs import mean_where

__all__ = ["SDHC"]


class SDHC(ClassifierLoss):
    """Supervised deep hashing by classification: cross-entropy of a linear classifier, less the variance.

    With u = tanh z, the mean over items of::

        - sum_c y_c / |y| log softmax_c(W u + w) - variance / 2 mean_j u_j^2

    Items without a label are left out.

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        Classes c.
    variance : float
        Weight of the variance, not negative; default 1.

    Notes
    -----
    Domain: any embeddings (before the tanh); their norms matter. Its classifier, the parameters W (c, k) and w (c,),
    needs an optimizer. Its quantization term is the penalty "l2" (`h2q.similarity.penalties`), with weight 0.001 / k.
    The published orthogonality of the hash layer's weights is left out: a loss sees embeddings only.

    Source: Erin Liong, Lu, Wang, Moulin and Zhou, "Deep Hashing for Compact Binary Codes Learning", CVPR 2015: the
    terms J1 and J2 of its unsupervised objective. The classifier in place of its discriminative term, and the weights,
    are those of a public implementation that calls it SDH-C.

    Examples
    --------
    >>> loss = SDHC(n_bits=4, n_classes=3)
    >>> with torch.no_grad():
    ...     _ = loss.weight.zero_(), loss.bias.zero_()
    >>> round(loss(torch.full((2, 4), 9.0), torch.tensor([0, 2])).item(), 4)  # log 3, less 1/2 for entries of 1
    0.5986
    """

    penalty = "l2"

    def __init__(self, *, n_bits: int, n_classes: int, variance: float = 1.0) -> None:
        super().__init__(n_bits=n_bits, n_classes=n_classes, bias=True)
        self.variance = check_number(variance, "variance", low=0)

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all items that have a label."""
        relaxed = torch.tanh(embeddings)
        value, labeled = self.cross_entropy(relaxed, labels)
        return value - self.variance / 2 * mean_where(relaxed.square().mean(dim=1), labeled)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"variance={self.variance:g}"
