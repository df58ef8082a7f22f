"""Networks: a head that maps features to embeddings, and a backbone with a head on it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from h2q.checks import check_integer, check_n_bits

__all__ = ["HashHead", "HashNetwork", "freeze_all_but_last"]


class HashHead(nn.Module):
    """Features to embeddings: standardization, hidden layers with dropout, then the hash layer, which is linear.

    There is no tanh at the end: embeddings are unbounded, and stage two makes codes of them.

    Parameters
    ----------
    n_features : int
        Width d of the features.
    n_bits : int
        Width k of the embeddings.
    hidden : sequence of int
        Widths of the hidden layers; empty for a linear head.
    dropout : float
        Share of the hidden units that each training step drops.
    input_dropout : float
        Share of the features that each training step drops.
    input_noise : float
        Standard deviation of the Gaussian noise that each training step adds to the standardized features.
    hash_layer_std : float, optional
        Standard deviation of the hash layer's initial weights, whose biases then start at 0; None: torch's default.
    batch_norm : bool
        Whether embeddings are normalized over the batch in training, so that each entry has mean 0 and variance 1: bits
        are balanced, as in OrthoHash's network (Hoe et al., NeurIPS 2021). `fold_batch_norm` ends it.

    Examples
    --------
    >>> head = HashHead(8, 4, hidden=(16,)).eval()
    >>> head(torch.ones(2, 8)).shape
    torch.Size([2, 4])
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        n_features: int,
        n_bits: int,
        *,
        hidden: Sequence[int] = (1024,),
        dropout: float = 0.5,
        input_dropout: float = 0.2,
        input_noise: float = 0.5,
        hash_layer_std: float | None = None,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check_integer(n_features, "n_features", low=1)
        check_n_bits(n_bits)
        self.n_features, self.n_bits, self.hidden_widths = n_features, n_bits, tuple(hidden)
        self.input_noise = input_noise
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        layers: list[nn.Module] = [nn.Dropout(input_dropout)]
        width = n_features
        for wide in self.hidden_widths:
            layers += [nn.Linear(width, wide), nn.ReLU(), nn.Dropout(dropout)]
            width = wide
        self.layers = nn.Sequential(*layers)
        self.hash_layer = nn.Linear(width, n_bits)
        if hash_layer_std is not None:
            nn.init.normal_(self.hash_layer.weight, std=hash_layer_std)
            nn.init.zeros_(self.hash_layer.bias)
        self.batch_norm = nn.BatchNorm1d(n_bits, affine=False) if batch_norm else None

    def fold_batch_norm(self) -> None:
        """Put the batch normalization, with the statistics of the training, into the weights of the hash layer."""
        if self.batch_norm is None:
            return
        mean, variance = self.batch_norm.running_mean, self.batch_norm.running_var
        if mean is not None and variance is not None:
            scale = (variance + self.batch_norm.eps).rsqrt()
            with torch.no_grad():
                self.hash_layer.weight.mul_(scale[:, None])
                self.hash_layer.bias.sub_(mean).mul_(scale)
        self.batch_norm = None

    def standardize_like(self, features: ArrayLike) -> None:
        """Set the mean and the standard deviation that `forward` removes to those of `features`.

        Constant features become 0.

        Parameters
        ----------
        features : array-like of shape (n, d)
            Training features.
        """
        values = np.asarray(features, dtype=np.float64)
        deviation = values.std(axis=0)
        constant = deviation <= 1e-6 * np.maximum(np.abs(values.mean(axis=0)), 1e-6)
        self.mean.copy_(torch.from_numpy(values.mean(axis=0)))
        self.scale.copy_(torch.from_numpy(np.where(constant, 0.0, 1 / np.where(constant, 1.0, deviation))))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (n, d) to embeddings (n, k)."""
        standardized = (features - self.mean) * self.scale
        if self.training and self.input_noise:
            standardized = standardized + self.input_noise * torch.randn_like(standardized)
        embeddings: Tensor = self.hash_layer(self.layers(standardized))
        return embeddings if self.batch_norm is None else self.batch_norm(embeddings)


class HashNetwork(nn.Module):
    """Images to embeddings: a backbone, which maps image tensors to features (n, d), and a head on it.

    Parameters
    ----------
    backbone : Module
        Any module from image tensors to features (n, d).
    head : Module
        Any module from features to embeddings (n, k).

    Examples
    --------
    >>> backbone = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    >>> network = HashNetwork(backbone, HashHead(12, 4)).eval()
    >>> network(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 4])
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def train(self, mode: bool = True) -> "HashNetwork":
        """Set training mode; batch normalization keeps its pretrained statistics, because batches are small."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map image tensors (n, 3, h, w) to embeddings (n, k)."""
        # Convolutions are faster on a CPU where the channels of a pixel lie side by side.
        embeddings: Tensor = self.head(self.backbone(images.contiguous(memory_format=torch.channels_last)))
        return embeddings


def freeze_all_but_last(module: nn.Module, n_blocks: int | None) -> int:
    """Freeze a backbone except for its last blocks.

    The blocks are the children of the module; a child that is a `Sequential` or a list, of a module that is not, counts
    as its members. Blocks without parameters do not count.

    Parameters
    ----------
    module : Module
        The backbone, changed in place.
    n_blocks : int or None
        Number of blocks to train; None: all.

    Returns
    -------
    int
        Number of parameters to train.

    Examples
    --------
    >>> backbone = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
    >>> freeze_all_but_last(backbone, 1)
    16
    """
    blocks = [block for block in _blocks(module) if any(True for _ in block.parameters())]
    if n_blocks is not None:
        check_integer(n_blocks, "n_blocks", low=0, high=len(blocks))
    first = 0 if n_blocks is None else len(blocks) - n_blocks
    for number, block in enumerate(blocks):
        block.requires_grad_(number >= first)
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _blocks(module: nn.Module) -> list[nn.Module]:
    """Return the blocks, first to last: the members of a `Sequential`, else children, with lists among them opened."""
    if isinstance(module, nn.Sequential):
        return list(module.children())
    blocks: list[nn.Module] = []
    for child in module.children():
        blocks += _blocks(child) if isinstance(child, nn.Sequential | nn.ModuleList) else [child]
    return blocks
