"""The rotation of a quantizer as a layer of a PyTorch network."""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.validation import check_is_fitted

from h2q.errors import require
from h2q.quantization.base import BaseQuantizer

if TYPE_CHECKING:
    from torch import nn

__all__ = ["fold_rotation", "rotation_layer"]


def rotation_layer(quantizer: BaseQuantizer) -> "nn.Linear":
    """Return the map of a quantizer, ``(x - mean_) @ projection_``, as a linear layer.

    Parameters
    ----------
    quantizer : BaseQuantizer
        A fitted quantizer.

    Returns
    -------
    torch.nn.Linear
        From embeddings (n, d) to rotated embeddings (n, n_bits_), float32. It can be trained. The signs are the bits of
        the codes, except those of `RefinedQuantizer`, which starts from the signs and flips some.

    Raises
    ------
    MissingDependencyError
        If PyTorch is not installed.
    sklearn.exceptions.NotFittedError
        If the quantizer is not fitted.

    Examples
    --------
    >>> import h2q, torch
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data.astype(np.float32)
    >>> quantizer = h2q.HouseholderQuantizer(32, random_state=0).fit(X)
    >>> rotated = rotation_layer(quantizer)(torch.from_numpy(X))
    >>> bool((h2q.pack_bits(rotated.detach()) == quantizer.encode(X)).all())
    True
    """
    torch = require("torch", "images")
    check_is_fitted(quantizer)
    identity = torch.nn.Linear(quantizer.n_features_in_, quantizer.n_features_in_, bias=False)
    with torch.no_grad():
        identity.weight.copy_(torch.eye(quantizer.n_features_in_))
    return fold_rotation(identity, quantizer).requires_grad_(True)


def fold_rotation(layer: "nn.Linear", quantizer: BaseQuantizer) -> "nn.Linear":
    """Return the linear layer that does the work of a layer and of the quantizer behind it.

    Put it in place of the last layer of a network: the signs of the outputs are the bits of the codes, at no cost.

    Parameters
    ----------
    layer : torch.nn.Linear
        A layer whose outputs are the embeddings that the quantizer was fitted on.
    quantizer : BaseQuantizer
        A fitted quantizer.

    Returns
    -------
    torch.nn.Linear
        A new layer with `n_bits_` outputs, without gradients; `layer` does not change.

    Raises
    ------
    MissingDependencyError
        If PyTorch is not installed.
    ValueError
        If the layer has not as many outputs as the quantizer has features.

    Examples
    --------
    >>> import h2q, torch
    >>> from sklearn.datasets import load_digits
    >>> X = torch.from_numpy(load_digits().data.astype(np.float32))
    >>> layer = torch.nn.Linear(64, 16)
    >>> quantizer = h2q.HouseholderQuantizer(random_state=0).fit(layer(X))
    >>> fold_rotation(layer, quantizer)
    Linear(in_features=64, out_features=16, bias=True)
    """
    require("torch", "images")
    from h2q.similarity.export import fold_linear

    check_is_fitted(quantizer)
    return fold_linear(layer, quantizer.projection_.astype(np.float64), quantizer.mean_.astype(np.float64))
