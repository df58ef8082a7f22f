"""DFH: likelihood of pairwise similarity, and a pull to codes that agree with the centers of their classes."""

import torch
from torch import Tensor

from h2q.checks import check_integer, check_n_bits, check_number
from h2q.similarity.losses.base import SimilarityLoss
from h2q.similarity.losses.classifiers import signs
from h2q.similarity.losses.pairs import as_multi_hot, distinct_pairs, likelihood_losses, mean_where, similar_pairs

__all__ = ["DFH", "update_centers"]


def update_centers(centers: Tensor, codes: Tensor, labels: Tensor, push: float) -> Tensor:
    """Return class centers that fit some codes and are far from each other: a class at a time, and each exactly.

    The center of a class, the others fixed, is set to::

        sgn(sum_i y_ic b_i - sum_(d != c) (sum_i y_ic y_id) c_d - push sum_(d != c) c_d)

    Parameters
    ----------
    centers : Tensor of shape (c, k)
        In {-1, 1}, or 0 at first.
    codes : Tensor of shape (n, k)
        In {-1, 1}.
    labels : Tensor of shape (n, c)
        Multi-hot rows. Classes that no item has keep their center.
    push : float
        How strongly centers repel each other.

    Returns
    -------
    Tensor of shape (c, k)
        A sum of 0 keeps the bit.

    Examples
    --------
    >>> codes = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
    >>> update_centers(torch.zeros(2, 2), codes, torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), push=2.0)
    tensor([[ 1.,  1.],
            [-1., -1.]])
    """
    centers = centers.clone()
    fitted, common = labels.T @ codes, labels.T @ labels
    for c in torch.nonzero(labels.any(dim=0)).flatten().tolist():
        others = common[c].clone()
        others[c] = 0
        total = centers.sum(dim=0) - centers[c]
        wanted = fitted[c] - others @ centers - push * total
        centers[c] = torch.where(wanted == 0, centers[c], wanted.sign())
    return centers


class DFH(SimilarityLoss):
    """Deep Fisher hashing: a pairwise cross-entropy, and the distance to codes that class centers have a say in.

    With C in {-1, 1} the centers of the classes and y the item's labels::

        mean over pairs of (log(1 + exp(t_ij)) - s_ij t_ij) + eta mean over items and bits of (z - b)^2
        t_ij = z_i . z_j / 2,    b = sgn(mu sum_c y_c C_c + z)

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        A center each.
    eta : float
        Weight of the second term, not negative; default 0.5.
    mu : float
        Weight of the centers, not negative; default 1.
    push : float
        How strongly centers repel each other, not negative; default 1.

    Notes
    -----
    Domain: any embeddings; their norms matter. No parameters, but a state: ``centers`` (n_classes, k), which start at 0
    and follow the codes of each batch while the module is in training mode (`update_centers`). The quantization term is
    part of the loss.

    Source: Li, Pei, Zha and van Gemert, "Push for Quantization: Deep Fisher Hashing", BMVC 2019 (arXiv 1909.00206), and
    the authors' code (liyunqianggyn/Push-for-Quantization-Deep-Fisher-Hashing), whose defaults these are. It descends a
    relaxation of the centers or, as here, sets each exactly; it also updates the centers of classes that a batch lacks,
    and pairs a batch with the whole training set.

    Examples
    --------
    >>> loss = DFH(n_bits=2, n_classes=2)
    >>> z = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    >>> loss(z, torch.tensor([0, 0]))  # log(1 + exp(-2 / 2)), and z is b
    tensor(0.3133)
    >>> loss.centers[0]
    tensor([1., 1.])
    """

    needs_n_classes = True
    centers: Tensor

    def __init__(self, *, n_bits: int, n_classes: int, eta: float = 0.5, mu: float = 1.0, push: float = 1.0) -> None:
        super().__init__()
        self.eta, self.mu = check_number(eta, "eta", low=0), check_number(mu, "mu", low=0)
        self.push = check_number(push, "push", low=0)
        n_classes = check_integer(n_classes, "n_classes", low=1)
        self.register_buffer("centers", torch.zeros(n_classes, check_n_bits(n_bits)))

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return both terms; in training mode, update the centers in between."""
        multi_hot = as_multi_hot(labels, len(self.centers), embeddings.dtype)
        centers = self.centers.to(embeddings.dtype)
        codes = signs(self.mu * multi_hot @ centers + embeddings.detach())
        if self.training:
            self.centers = update_centers(centers, codes, multi_hot, self.push).to(self.centers.dtype)
        pairs = distinct_pairs(len(embeddings), embeddings.device)
        values = likelihood_losses(embeddings @ embeddings.T / 2, similar_pairs(labels))
        quantization = (embeddings - codes).square().sum() / max(embeddings.numel(), 1)
        return mean_where(values, pairs) + self.eta * quantization

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"eta={self.eta:g}, mu={self.mu:g}, push={self.push:g}"
