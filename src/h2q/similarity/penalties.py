"""Quantization penalties: terms that other methods add to a similarity loss to bring embeddings close to their signs.

They are baselines. Each is ``penalty(embeddings, generator=None)``: a scalar, the mean over rows of a sum over bits
(except `hswd`, a mean over bits). The published networks end in a tanh; without one, a penalty bounds the norm as well.
`WeightedPenalty` is a penalty as a training takes it, with its weight, its options, and the tanh if there is one.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import softplus

from h2q.checks import check_number
from h2q.errors import describe
from h2q.similarity.losses.pairs import unit_rows
from h2q.similarity.losses.registry import LOSSES

__all__ = [
    "OWN_PENALTY",
    "PENALTIES",
    "Penalty",
    "WeightedPenalty",
    "csq",
    "cubic",
    "dch",
    "dhn",
    "dhn_implementation",
    "hswd",
    "l1",
    "l2",
]

Penalty: TypeAlias = Callable[..., Tensor]
_ARGUMENTS = ("embeddings", "generator")


@dataclass(frozen=True)
class WeightedPenalty:
    """A penalty with its weight, as training adds it to a loss.

    Attributes
    ----------
    penalty : str or callable
        A name in `PENALTIES`, or a function ``penalty(embeddings)`` that returns a scalar.
    weight : float
        Factor of the penalty, not negative.
    options : mapping
        Options of the penalty, for instance ``{"gamma": 10.0}`` for "dch".
    tanh : bool
        Whether embeddings go through tanh before the loss and the penalty while training, as in the published networks.
        Their signs, the codes, are the same with and without.

    Raises
    ------
    ValueError
        If there is no such penalty, or the weight is negative.
    TypeError
        If the penalty has no such option.

    Examples
    --------
    >>> WeightedPenalty("l2", 0.1)(torch.tensor([[0.5, -1.0]]))
    tensor(0.0250)
    """

    penalty: str | Penalty
    weight: float
    options: Mapping[str, Any] = field(default_factory=dict)
    tanh: bool = False

    def __post_init__(self) -> None:
        check_number(self.weight, "weight", low=0)
        if isinstance(self.penalty, str) and self.penalty not in PENALTIES:
            raise ValueError(f"penalty must be one of {', '.join(PENALTIES)}; got {self.penalty!r}")
        if self.options:
            known = [name for name in inspect.signature(self.function).parameters if name not in _ARGUMENTS]
            unknown = ", ".join(name for name in self.options if name not in known)
            if unknown:
                raise TypeError(
                    f"the penalty {self.penalty} has no option {unknown}; it has {', '.join(known) or 'none'}"
                )

    @property
    def function(self) -> Penalty:
        """The penalty as a function."""
        return PENALTIES[self.penalty] if isinstance(self.penalty, str) else self.penalty

    def activate(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings that the loss and the penalty are computed from."""
        return torch.tanh(embeddings) if self.tanh else embeddings

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Return the weighted penalty of embeddings (n, k), which `activate` returned."""
        return self.weight * self.function(embeddings, **self.options)


def l2(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the squared distance of a row to its signs, sum_j (z_j - sgn z_j)^2, on average.

    The published term of DPSH (Li, Wang and Kang, IJCAI 2016, equation 4) and WGLHH (Tu et al., ACM Multimedia 2021),
    and what the authors of Householder quantization add to CEL and HyP2.

    Parameters
    ----------
    embeddings : Tensor of shape (n, k)
        Real-valued.
    generator : torch.Generator, optional
        Not used: nothing in this penalty is random.

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

    The code of the authors of Householder quantization has it in place of `dhn`. Parameters as for `l2`.

    Examples
    --------
    >>> dhn_implementation(torch.tensor([[0.0, 0.0]]))
    tensor(-2.)
    """
    return (_log_cosh(_rows(embeddings)) - 1).sum(dim=1).mean()


def dch(embeddings: Tensor, generator: torch.Generator | None = None, *, gamma: float = 20.0) -> Tensor:
    """Return log(1 + d / gamma) on average, d = k/2 (1 - cos(abs(z), 1)).

    The published term of DCH (Cao, Long, Liu and Wang, CVPR 2018, equation 9). Only directions count.

    Parameters
    ----------
    embeddings, generator
        As for `l2`.
    gamma : float
        Scale of the Cauchy distribution, in bits, as in the loss `DCH`. The authors of Householder quantization take
        10.

    Examples
    --------
    >>> dch(torch.tensor([[3.0, -3.0]])), dch(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))  # d = 0 and d = 1
    (tensor(0.), tensor(0.0488))
    """
    rows = unit_rows(_rows(embeddings).abs())
    n_bits = rows.shape[1]
    distances = n_bits / 2 * (1 - rows.sum(dim=1) / math.sqrt(n_bits)).clamp_min(0)
    return torch.log1p(distances / gamma).mean()


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


def cubic(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the sum over a row of abs(abs(z) - 1)^3, on average.

    The published term of GreedyHash (Su et al., NeurIPS 2018), there a mean over bits. Parameters as for `l2`.

    Examples
    --------
    >>> cubic(torch.tensor([[0.5, -1.0], [3.0, 1.0]]))
    tensor(4.0625)
    """
    return (_rows(embeddings).abs() - 1).abs().pow(3).sum(dim=1).mean()


def hswd(embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the mean over bits of the squared Wasserstein distance between a bit's values and random signs.

    HSWD. Ideal codes look like random sign vectors: balanced and independent. In one dimension the optimal
    transport pairs sorted values with sorted values, and the slices are the coordinate axes::

        1 / (n k) sum_j sum_i (z_(i),j - b_(i),j)^2,    b of n k fair coins

    Parameters
    ----------
    embeddings : Tensor of shape (n, k)
        Real-valued.
    generator : torch.Generator, optional
        Generator of the coins, on the device of the embeddings. Default: torch's global one.

    Returns
    -------
    Tensor of shape ()

    Notes
    -----
    Doan, Yang and Li, "One Loss for Quantization: Deep Hashing with Discrete Wasserstein Distributional Matching", CVPR
    2022, and the authors' code (khoadoan106/single_loss_quantization). The authors of Householder quantization give it
    the weight 0.1, without a tanh.

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
        "cubic": cubic,
        "hswd": hswd,
    }
)
"""The penalties by name."""

OWN_PENALTY: Mapping[str, str | None] = MappingProxyType({name: loss.penalty for name, loss in LOSSES.items()})
"""The penalty that belongs to a loss, by the loss's name: its own published one, or, for CEL and HyP2, the one that the
authors of Householder quantization give it. None where something else takes its place, such as HashNet's continuation,
or where it is part of the loss."""
