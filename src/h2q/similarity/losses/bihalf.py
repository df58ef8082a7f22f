"""BiHalf: codes of which each bit is set in half of the batch."""

import torch
from torch import Tensor

from h2q.checks import check_number
from h2q.similarity.losses.classifiers import ClassifierLoss, straight_through

__all__ = ["BiHalf", "half_codes"]


def half_codes(embeddings: Tensor) -> Tensor:
    """Return codes in {-1, 1} of which each bit is 1 for the half of the batch with the larger values.

    These are the nearest to the embeddings among all codes with balanced bits. Of n items, n // 2 get 1.

    Parameters
    ----------
    embeddings : Tensor of shape (n, k)
        Real-valued.

    Returns
    -------
    Tensor of shape (n, k)
        Without gradients.

    Notes
    -----
    Li and van Gemert, "Deep Unsupervised Image Hashing by Maximizing Bit Entropy", AAAI 2021, equations 4 to 6.

    Examples
    --------
    >>> half_codes(torch.tensor([[3.0, -1.0], [1.0, -2.0], [2.0, -3.0], [0.0, -4.0]]))
    tensor([[ 1.,  1.],
            [-1.,  1.],
            [ 1., -1.],
            [-1., -1.]])
    """
    n = len(embeddings)
    ordered = embeddings.detach().argsort(dim=0, descending=True, stable=True)
    halves = torch.ones_like(embeddings)
    halves[n // 2 :] = -1
    return torch.empty_like(embeddings).detach().scatter_(0, ordered, halves.detach())


class BiHalf(ClassifierLoss):
    """The bi-half layer before a linear classifier.

    With b the codes nearest to z of which each bit is 1 in half of the batch::

        - mean over items of sum_c y_c / |y| log softmax_c(W b) + gamma / 2 mean over items and bits of (z - b)^2

    where the gradient of the first term with respect to b is taken for that with respect to z. Items without a label
    are left out of the first term.

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        Classes c.
    gamma : float
        Not negative; default 6, that of the authors' code.

    Notes
    -----
    Domain: any embeddings; their norms matter. Its classifier W, a parameter (c, k) without a bias, needs an optimizer.
    The quantization term is part of the loss: it is the second gradient of the layer, as published. The paper's layer
    is for images without labels, `BiHalfUnsupervised`; here it takes the place of the sign in `GreedyHash`.

    Source: Li and van Gemert, "Deep Unsupervised Image Hashing by Maximizing Bit Entropy", AAAI 2021 (arXiv
    2012.12334), and the authors' code (liyunqianggyn/Deep-Unsupervised-Image-Hashing).

    Examples
    --------
    >>> loss = BiHalf(n_bits=2, n_classes=2)
    >>> with torch.no_grad():
    ...     _ = loss.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    >>> value = loss(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([0, 1]))
    >>> round(value.item(), 4)  # log(1 + exp(-4)), and z is b
    0.0181
    """

    def __init__(self, *, n_bits: int, n_classes: int, gamma: float = 6.0) -> None:
        super().__init__(n_bits=n_bits, n_classes=n_classes, bias=False)
        self.gamma = check_number(gamma, "gamma", low=0)

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all items that have a label, and the quantization term."""
        codes = half_codes(embeddings)
        value, _ = self.cross_entropy(straight_through(embeddings, codes), labels)
        return value + self.gamma / 2 * (embeddings - codes).square().sum() / max(embeddings.numel(), 1)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"gamma={self.gamma:g}"
