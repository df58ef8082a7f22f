"""GreedyHash: classification of the signs, with the gradient passed through them."""

from torch import Tensor

from h2q.similarity.losses.classifiers import ClassifierLoss, signs, straight_through

__all__ = ["GreedyHash"]


class GreedyHash(ClassifierLoss):
    """GreedyHash: cross-entropy of a linear classifier of the codes.

    Mean over items of::

        - sum_c y_c / |y| log softmax_c(W sgn z)

    where the gradient with respect to sgn z is taken for that with respect to z. Items without a label are left out.

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        Classes c.

    Notes
    -----
    Domain: any embeddings; the value depends on their signs only. Its classifier W, a parameter (c, k) without a bias,
    needs an optimizer. Its quantization term, mean abs(abs(z) - 1)^3, is the penalty "cubic"
    (`h2q.similarity.penalties`), with weight 0.1 on CIFAR-10 in the paper.

    Source: Su, Zhang, Han and Tian, "Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN", NeurIPS
    2018, and the authors' code (ssppp/GreedyHash). Equal shares for several labels are ours.

    Examples
    --------
    >>> import torch
    >>> loss = GreedyHash(n_bits=4, n_classes=2)
    >>> with torch.no_grad():
    ...     _ = loss.weight.copy_(torch.tensor([[1.0], [-1.0]]).repeat(1, 4))
    >>> round(loss(torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([0])).item(), 4)  # log(1 + exp(-8))
    0.0003
    """

    penalty = "cubic"

    def __init__(self, *, n_bits: int, n_classes: int) -> None:
        super().__init__(n_bits=n_bits, n_classes=n_classes, bias=False)

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all items that have a label."""
        return self.cross_entropy(straight_through(embeddings, signs(embeddings)), labels)[0]
