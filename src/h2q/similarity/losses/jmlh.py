"""JMLH: classification of codes, and a prior of fair coins on their bits."""

import math

import torch
from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.classifiers import ClassifierLoss, straight_through
from h2q.similarity.losses.pairs import mean_where

__all__ = ["JMLH"]


class JMLH(ClassifierLoss):
    """Just-maximizing-likelihood hashing: cross-entropy of a linear classifier of the codes, and a Kullback term.

    With p = sigma(z) the probability of a bit and b = 1 where p > 1/2, 0 elsewhere, the mean over items of::

        - sum_c y_c / |y| log softmax_c(W b + w) + kl_weight sum_j KL(Bernoulli(p_j) || Bernoulli(1/2))

    where the gradient with respect to b is taken for that with respect to p. Items without a label are left out.

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        Classes c.
    kl_weight : float
        Not negative; default 0.2, that of the authors' code.

    Notes
    -----
    Domain: any embeddings; their norms matter. Its classifier, the parameters W (c, k) and w (c,), needs an optimizer.
    No penalty: the variational bound has none.

    Source: Shen, Qin, Chen, Liu, Zhu and Shen, "Embarrassingly Simple Binary Representation Learning", ICCV Workshops
    2019 (arXiv 1908.09573), and the authors' code (ymcidence/TBH), which has the threshold 1/2 in place of random ones.
    Equal shares for several labels are ours.

    Examples
    --------
    >>> loss = JMLH(n_bits=4, n_classes=3)
    >>> with torch.no_grad():
    ...     _ = loss.weight.zero_(), loss.bias.zero_()
    >>> round(loss(torch.zeros(2, 4), torch.tensor([0, 2])).item(), 4)  # log 3, and bits that are fair coins
    1.0986
    """

    def __init__(self, *, n_bits: int, n_classes: int, kl_weight: float = 0.2) -> None:
        super().__init__(n_bits=n_bits, n_classes=n_classes, bias=True)
        self.kl_weight = check_number(kl_weight, "kl_weight", low=0)

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all items that have a label."""
        probabilities = torch.sigmoid(embeddings)
        codes = (embeddings > 0).to(embeddings.dtype)
        value, labeled = self.cross_entropy(straight_through(probabilities, codes), labels)
        # p log p + (1 - p) log(1 - p) + log 2, from logits: exact where p is 0 or 1.
        entropies = -probabilities * torch.nn.functional.logsigmoid(embeddings)
        entropies = entropies - (1 - probabilities) * torch.nn.functional.logsigmoid(-embeddings)
        divergences = (math.log(2) - entropies).sum(dim=1)
        return value + self.kl_weight * mean_where(divergences, labeled)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"kl_weight={self.kl_weight:g}"
