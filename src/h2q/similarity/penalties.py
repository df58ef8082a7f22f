"""Quantization penalties: what other methods add to a similarity loss so that embeddings come close to their signs.

For baselines. Each is ``penalty(embeddings, generator=None)``: a scalar, the mean over rows of a sum over bits (but for
`hswd`, a mean over bits). The published networks end in a tanh; without one, a penalty bounds the norm as well.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import softplus

from h2q.errors import describe
from h2q.similarity.losses.pairs import unit_rows

__all__ = ["OWN_PENALTY", "PENALTIES", "Penalty", "csq", "dch", "dhn", "dhn_implementation", "hswd", "l1", "l2"]

Penalty: TypeAlias = Callable[..., Tensor]
_DCH_GAMMA = 20.0


def l2(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the squared distance of a row to its signs, sum_j (z_j - sgn z_j)^2, on average.

    The published term of DPSH (Li, Wang and Kang, IJCAI 2016, equation 4) and WGLHH (Tu et al., ACM Multimedia 2021),
    and what the authors of Householder quantization add to CEL and HyP2.

    Parameters
    ----------
    embeddings : Tensor of shape (n, k)
        Real-valued.
    generator : torch.Generator, optional
        Not used: this is no random penalty.

    Returns
    -------
    Tensor of shape ()

    Examples
    --------
    >>> l2(torch.tensor([[0.5, -1.0], [2.0, 1.0]]))
    tensor(0.6250)
    """
    return (_rows(embeddings).abs() - 1).square().sum(dim=1).mean()


def l1(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the sum of distances of a row's entries to their signs, on average.

    The published term of DSH (Liu, Wang, Shan and Chen, "Deep Supervised Hashing for Fast Image Retrieval", CVPR 2016,
    equation 4). Parameters as for `l2`.

    Examples
    --------
    >>> l1(torch.tensor([[0.5, -1.0], [2.0, 1.0]]))
    tensor(0.7500)
    """
    return (_rows(embeddings).abs() - 1).abs().sum(dim=1).mean()


def dhn(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the sum over a row of log cosh(abs(z) - 1), on average: a smooth `l1`.

    The published term of DHN (Zhu, Long, Wang and Cao, AAAI 2016). Parameters as for `l2`.

    Examples
    --------
    >>> dhn(torch.tensor([[1.0, -1.0]])), dhn(torch.tensor([[0.0, 1.0]]))
    (tensor(0.), tensor(0.4338))
    """
    return _log_cosh(_rows(embeddings).abs() - 1).sum(dim=1).mean()


def dhn_implementation(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the sum over a row of log cosh(abs(z)) - 1, on average: for reproduction only, it pulls codes to zero.

    What the code of the authors of Householder quantization has in place of `dhn`. Parameters as for `l2`.

    Examples
    --------
    >>> dhn_implementation(torch.tensor([[0.0, 0.0]]))
    tensor(-2.)
    """
    return (_log_cosh(_rows(embeddings)) - 1).sum(dim=1).mean()


def dch(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return log(1 + d / gamma) on average, d = k/2 (1 - cos(abs(z), 1)) and gamma = 20 as in the loss `DCH`.

    The published term of DCH (Cao, Long, Liu and Wang, CVPR 2018, equation 9). Only directions count. Parameters as for
    `l2`.

    Examples
    --------
    >>> dch(torch.tensor([[3.0, -3.0]])), dch(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))  # d = 0 and d = 1
    (tensor(0.), tensor(0.0488))
    """
    rows = unit_rows(_rows(embeddings).abs())
    n_bits = rows.shape[1]
    distances = n_bits / 2 * (1 - rows.sum(dim=1) / math.sqrt(n_bits)).clamp_min(0)
    return torch.log1p(distances / _DCH_GAMMA).mean()


def csq(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the sum over a row of log cosh(abs(2 h - 1) - 1), on average, with h = (1 + tanh z) / 2.

    The published term of CSQ (Yuan et al., CVPR 2020, equation 7); the authors' code has (abs(2 h - 1) - 1)^2.
    Parameters as for `l2`.

    Examples
    --------
    >>> csq(torch.tensor([[0.0, 20.0]]))
    tensor(0.4338)
    """
    return dhn(torch.tanh(_rows(embeddings)))


def hswd(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the mean over bits of the squared Wasserstein distance between a bit's values and random signs.

    HSWD: random sign vectors are what ideal codes look like: balanced and independent. In one dimension the optimal
    transport pairs sorted values with sorted values, and the slices are the coordinate axes::

        1 / (n k) sum_j sum_i (z_(i),j - b_(i),j)^2,    b of n k fair coins

    Parameters
    ----------
    embeddings : Tensor of shape (n, k)
        Real-valued.
    generator : torch.Generator, optional
        Of the coins, on the device of the embeddings. Default: torch's global one.

    Returns
    -------
    Tensor of shape ()

    Notes
    -----
    Doan, Yang and Li, "One Loss for Quantization: Deep Hashing with Discrete Wasserstein Distributional Matching", CVPR
    2022, and the authors' code (khoadoan106/single_loss_quantization). The authors of Householder quantization weigh it
    with 0.1.

    Examples
    --------
    >>> coins = torch.Generator().manual_seed(0)
    >>> hswd(torch.zeros(8, 4), coins)
    tensor(1.)
    """
    rows = _rows(embeddings)
    coins = torch.randint(0, 2, rows.shape, generator=generator, device=rows.device).to(rows.dtype)
    ideal = (2 * coins - 1).sort(dim=0).values
    return (rows.sort(dim=0).values - ideal).square().mean()


def _log_cosh(values: Tensor) -> Tensor:
    """Return log cosh without overflow: abs(x) + log(1 + e^(-2 abs(x))) - log 2."""
    sizes = values.abs()
    return sizes + softplus(-2 * sizes) - math.log(2)


def _rows(embeddings: Tensor) -> Tensor:
    if not isinstance(embeddings, Tensor) or embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise ValueError(f"embeddings must be a tensor of floating-point rows (n, k); got {describe(embeddings)}")
    if len(embeddings) == 0:
        raise ValueError("embeddings are empty: a penalty is a mean over rows")
    return embeddings.float() if embeddings.dtype in (torch.float16, torch.bfloat16) else embeddings


PENALTIES: Mapping[str, Penalty] = MappingProxyType(
    {
        "l2": l2,
        "l1": l1,
        "dhn": dhn,
        "dhn_implementation": dhn_implementation,
        "dch": dch,
        "csq": csq,
        "hswd": hswd,
    }
)
"""The penalties by name."""

OWN_PENALTY: Mapping[str, str | None] = MappingProxyType(
    {
        "CosineEmbedding": "l2",
        "DCH": "dch",
        "DHN": "dhn",
        "DPSH": "l2",
        "WGLHH": "l2",
        "HashNet": None,
        "HyP2": "l2",
        "ADSH": None,
        "CSQ": "csq",
        "OrthoHash": None,
    }
)
"""The penalty that belongs to a loss, by the loss's name: its own published one, or, for CEL and HyP2, the one that the
authors of Householder quantization give it. None: HashNet (continuation in its place), ADSH (part of the loss) and
OrthoHash (the cosine similarity to a binary code is a quantization error)."""
