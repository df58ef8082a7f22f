"""SDH-C: classification of embeddings whose entries are large."""

import torch
from torch import Tensor, nn

from h2q.checks import check_number
from h2q.similarity.losses.classifiers import ClassifierLoss
from h2q.similarity.losses.pairs import mean_where

__all__ = ["SDHC"]


class SDHC(ClassifierLoss):
    """Supervised deep hashing by classification: cross-entropy of a linear classifier, less the variance.

    With u = tanh z, the mean over items of::

        - sum_c y_c / |y| log softmax_c(W u + w) - variance / 2 mean_j u_j^2

    plus, in a training, orthogonality times the mean over entries of (V V^T - I)^2, V (k, d) the weights of the hash
    layer. Items without a label are left out.

    Parameters
    ----------
    n_bits : int
        Bits k.
    n_classes : int
        Classes c.
    variance : float
        Weight of the variance, not negative; default 1.
    orthogonality : float
        Weight of the orthogonality of the hash layer's weights, not negative; default 0.001. The term needs
        `watch_hash_layer`, which trainings of h2q call; without it the term is 0.

    Notes
    -----
    Domain: any embeddings (before the tanh); their norms matter. Its classifier, the parameters W (c, k) and w (c,),
    needs an optimizer. Its quantization term is the penalty "l2" (`h2q.similarity.penalties`), with weight 0.001 / k.

    Source: Erin Liong, Lu, Wang, Moulin and Zhou, "Deep Hashing for Compact Binary Codes Learning", CVPR 2015: the
    terms J1, J2 and J3 of its unsupervised objective, J3 for the hash layer only. The classifier in place of its
    discriminative term, and the weights, are those of a public implementation that calls it SDH-C (in its J3 a matrix
    of ones stands for the identity).

    Examples
    --------
    >>> loss = SDHC(n_bits=4, n_classes=3)
    >>> with torch.no_grad():
    ...     _ = loss.weight.zero_(), loss.bias.zero_()
    >>> round(loss(torch.full((2, 4), 9.0), torch.tensor([0, 2])).item(), 4)  # log 3, less 1/2 for entries of 1
    0.5986
    """

    penalty = "l2"

    def __init__(self, *, n_bits: int, n_classes: int, variance: float = 1.0, orthogonality: float = 0.001) -> None:
        super().__init__(n_bits=n_bits, n_classes=n_classes, bias=True)
        self.variance = check_number(variance, "variance", low=0)
        self.orthogonality = check_number(orthogonality, "orthogonality", low=0)
        # In a tuple, so that the layer's weights are neither parameters nor state of the loss.
        self._hash_layer: tuple[nn.Linear, ...] = ()

    def watch_hash_layer(self, layer: nn.Linear) -> None:
        """Make the weights of a hash layer (k, d) part of the loss, as they are in each batch."""
        self._hash_layer = (layer,)

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all items that have a label."""
        relaxed = torch.tanh(embeddings)
        value, labeled = self.cross_entropy(relaxed, labels)
        value = value - self.variance / 2 * mean_where(relaxed.square().mean(dim=1), labeled)
        for layer in self._hash_layer:
            gram = layer.weight @ layer.weight.T
            distances = gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            value = value + self.orthogonality * distances.square().mean()
        return value

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"variance={self.variance:g}, orthogonality={self.orthogonality:g}"
