"""HyP²: a proxy a class, and a hinge that keeps irrelevant items apart."""

from typing import Literal

import torch
from torch import Tensor, nn

from h2q.checks import check_n_bits, check_number
from h2q.similarity.losses.base import SimilarityLoss
from h2q.similarity.losses.margins import code_margin
from h2q.similarity.losses.pairs import as_multi_hot, cosine_similarities, distinct_pairs, mean_where, similar_pairs

__all__ = ["HyP2"]


class HyP2(SimilarityLoss):
    """Hybrid proxy-pair loss.

    With proxies p_c, learned beside the network::

        mean over (i, c) with label c       of 1 - cos(z_i, p_c)
      + mean over (i, c) without label c    of max(0, cos(z_i, p_c) - margin)
      + beta mean over irrelevant (i, j)    of max(0, cos(z_i, z_j) - margin)

    Irrelevant pairs have no label in common; as published, only items with two labels or more form them, because the
    proxies alone put items with one label in their place.

    Parameters
    ----------
    n_bits : int
        Bits k, the width of the proxies.
    n_classes : int
        At least 2: a proxy each.
    beta : float
        Weight of the pair term, not negative; default 0.5, that of the authors' code.
    margin : float, optional
        -1 to 1. Default: 1 - 2 d / k with d the minimum distance of the best known binary linear code of length k and
        dimension ceil(log2(n_classes)), see `code_margin`.
    pairs : {"multi-label", "all"}
        Which items form irrelevant pairs: those with two labels or more, as published, or all of them, as in the code
        of the authors of Householder quantization (there beta is 0.5 to 1.25).
    squash_proxies : bool
        Whether the proxies go through a tanh, as in the code of the authors of Householder quantization.

    Notes
    -----
    Domain: any embeddings, only directions count. Its proxies, a parameter (n_classes, k), are drawn from torch's
    global generator and need an optimizer: the authors' learning rate for them is 0.02 with SGD, that of Householder
    quantization 0.001 with Adam. No published quantization penalty.

    Source: Xu, Chai, Xu, Yuan, Fan and Wang, "HyP² Loss: Beyond Hypersphere Metric Space for Multi-label Image
    Retrieval", ACM Multimedia 2022 (arXiv 2208.06866), and the authors' code (JerryXu0129/HyP2-Loss).

    Examples
    --------
    >>> loss = HyP2(n_bits=4, n_classes=2, margin=0.0)
    >>> with torch.no_grad():
    ...     _ = loss.proxies.copy_(torch.eye(4)[:2])
    >>> loss(torch.eye(4)[:2], torch.tensor([0, 1])).item()  # each on its proxy, and the proxies at right angles
    0.0
    """

    penalty = "l2"
    unit_norm = True
    needs_n_classes = True

    def __init__(
        self,
        *,
        n_bits: int,
        n_classes: int,
        beta: float = 0.5,
        margin: float | None = None,
        pairs: Literal["multi-label", "all"] = "multi-label",
        squash_proxies: bool = False,
    ) -> None:
        super().__init__()
        margin = code_margin(n_bits, n_classes) if margin is None else check_number(margin, "margin", low=-1, high=1)
        self.beta, self.margin = check_number(beta, "beta", low=0), margin
        if pairs not in ("multi-label", "all"):
            raise ValueError(f'pairs must be "multi-label" or "all"; got {pairs!r}')
        self.pairs, self.squash_proxies = pairs, bool(squash_proxies)
        self.proxies = nn.Parameter(torch.empty(n_classes, check_n_bits(n_bits)))
        nn.init.kaiming_normal_(self.proxies, mode="fan_out")

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the proxy term plus beta times the pair term."""
        proxies = self.proxies.to(embeddings.dtype)
        proxies = torch.tanh(proxies) if self.squash_proxies else proxies
        has_label = as_multi_hot(labels, len(proxies), embeddings.dtype) > 0
        cosines = cosine_similarities(embeddings, proxies)
        near = mean_where(1 - cosines, has_label)
        far = mean_where((cosines - self.margin).clamp_min(0), ~has_label)
        irrelevant = ~similar_pairs(labels) & distinct_pairs(len(labels), labels.device)
        if self.pairs == "multi-label":
            several = has_label.sum(dim=1) > 1
            irrelevant &= several[:, None] & several[None, :]
        hinges = (cosine_similarities(embeddings) - self.margin).clamp_min(0)
        return near + far + self.beta * mean_where(hinges, irrelevant)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"beta={self.beta:g}, margin={self.margin:g}, pairs={self.pairs!r}, squash_proxies={self.squash_proxies}"
