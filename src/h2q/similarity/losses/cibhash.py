"""CIBHash: codes of two views of an image agree, and differ from those of others."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from h2q.checks import check_number
from h2q.similarity.losses.classifiers import signs, straight_through
from h2q.similarity.losses.pairs import cosine_similarities
from h2q.similarity.losses.unsupervised import UnsupervisedLoss

__all__ = ["CIBHash"]


class CIBHash(UnsupervisedLoss):
    """Contrastive information bottleneck hashing: two views of an image have similar codes and bit probabilities.

    With z and z' the embeddings of two views, p = sigma(z), b = sgn z::

        mean over the 2 n views i of - log softmax_(j != i)(cos(b_i, b_j) / temperature) at the other view of the image
      + kl_weight mean over items of (KL(p || p') + KL(p' || p)) / 2

    where the gradient with respect to b is taken for that with respect to p, and the second argument of KL, summed over
    bits, is held fixed.

    Parameters
    ----------
    temperature : float
        Above 0; default 0.3, that of the authors' code.
    kl_weight : float
        Not negative; default 0.001, that of the authors' code.

    Notes
    -----
    Domain: any embeddings; their norms matter. No learned parameters, and no penalty.

    Source: Qiu, Su, Ou, Yu and Chen, "Unsupervised Hashing with Contrastive Information Bottleneck", IJCAI 2021 (arXiv
    2105.06138), and the authors' code (qiuzx2/CIBHash), which has the threshold 1/2 in place of random ones.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    >>> CIBHash()(z, z).item() < 0.01 < 5 < CIBHash()(z, z.flip(0)).item()  # views that agree, and that do not
    True
    """

    context = "view"

    def __init__(self, *, temperature: float = 0.3, kl_weight: float = 0.001) -> None:
        super().__init__()
        self.temperature = check_number(temperature, "temperature", above=0)
        self.kl_weight = check_number(kl_weight, "kl_weight", low=0)

    def batch_loss(self, embeddings: Tensor, context: Tensor) -> Tensor:
        """Return the contrastive term and the divergence."""
        n = len(embeddings)
        both = torch.cat([embeddings, context])
        codes = straight_through(torch.sigmoid(both), signs(both))
        logits = cosine_similarities(codes) / self.temperature
        logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=logits.device), -torch.inf)
        other_view = torch.arange(2 * n, device=logits.device).roll(n)
        divergence = _divergence(embeddings, context.detach()) + _divergence(context, embeddings.detach())
        return cross_entropy(logits, other_view) + self.kl_weight * divergence / 2

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"temperature={self.temperature:g}, kl_weight={self.kl_weight:g}"


def _divergence(logits: Tensor, others: Tensor) -> Tensor:
    """Return KL(sigma(logits) || sigma(others)), summed over bits, on average over rows."""
    probabilities = torch.sigmoid(logits)
    ones = probabilities * (logsigmoid(logits) - logsigmoid(others))
    zeros = (1 - probabilities) * (logsigmoid(-logits) - logsigmoid(-others))
    return (ones + zeros).sum(dim=1).mean()
