"""Stage two inside the network: the rotation folded into the last linear layer, and export of the result.

Stage two maps an embedding x to z = (x - mean) M, where M is the rotation, after PCA and whitening if there are any
(all of them are linear). The hash layer gives x = W h + b, so

    z = M^T W h + M^T (b - mean),

a hash layer with other weights: sign(z) are the bits, and inference costs nothing extra.
"""

import copy
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from h2q.errors import require
from h2q.files import atomic_path
from h2q.similarity.heads import HashHead, HashNetwork

__all__ = ["export_onnx", "export_program", "fold", "fold_linear"]


def fold_linear(layer: nn.Linear, matrix: NDArray[np.float64], mean: NDArray[np.float64]) -> nn.Linear:
    """Return the linear layer that computes ``(layer(h) - mean) @ matrix``, with weights multiplied in float64.

    Parameters
    ----------
    layer : Linear
        From h to embeddings (n, k).
    matrix : ndarray of shape (k, n_bits)
        The rotation, or PCA, whitening and rotation in one.
    mean : ndarray of shape (k,)
        Subtracted first; zeros where stage two does not center.

    Returns
    -------
    Linear
        A new layer, from h to (n, n_bits).

    Examples
    --------
    >>> layer = nn.Linear(3, 2)
    >>> swapped = fold_linear(layer, np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2))
    >>> torch.equal(swapped.weight, layer.weight.flip(0))
    True
    """
    weight = layer.weight.detach().cpu().numpy().astype(np.float64)
    bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu().numpy().astype(np.float64)
    if matrix.shape[0] != len(weight) or mean.shape != (len(weight),):
        raise ValueError(
            f"the quantizer takes embeddings of {matrix.shape[0]} dimensions, but the layer gives {len(weight)}; "
            "fold the quantizer that was fitted on this layer's embeddings"
        )
    folded = nn.Linear(layer.in_features, matrix.shape[1])
    with torch.no_grad():
        folded.weight.copy_(torch.from_numpy(matrix.T @ weight))
        folded.bias.copy_(torch.from_numpy((bias - mean) @ matrix))
    return folded.to(layer.weight.device).requires_grad_(False)


def fold(head: HashHead, matrix: NDArray[np.float64], mean: NDArray[np.float64]) -> HashHead:
    """Return a copy of a head whose last layer is the folded one: ``sign(head(features))`` are the bits."""
    folded = copy.deepcopy(head)
    folded.hash_layer = fold_linear(head.hash_layer, matrix, mean)
    folded.n_bits = matrix.shape[1]
    return folded.eval().requires_grad_(False)


def _example(image_size: int) -> Tensor:
    return torch.zeros(2, 3, image_size, image_size)


def export_onnx(network: nn.Module, path: str | os.PathLike[str], *, image_size: int) -> None:
    """Write a network as an ONNX file: input "images" (n, 3, s, s) float32, output "rotated" (n, n_bits).

    The bits are ``rotated > 0``, which `h2q.pack_bits` packs.

    Parameters
    ----------
    network : torch.nn.Module
        A network whose last layer is folded, from images to rotated embeddings.
    path : path
        The file, which is replaced.
    image_size : int
        Side s of the images, in pixels.

    Raises
    ------
    MissingDependencyError
        If onnx or onnxscript is not installed.
    """
    require("onnx", "export")
    require("onnxscript", "export")
    with warnings.catch_warnings(), atomic_path(path) as temporary:
        warnings.simplefilter("ignore")  # Deprecations inside the exporter.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # It names each package that is not installed.
        torch.onnx.export(
            network.cpu().eval(),
            (_example(image_size),),
            temporary,
            input_names=["images"],
            output_names=["rotated"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def export_program(network: HashNetwork, path: str | os.PathLike[str], *, image_size: int) -> None:
    """Write a network with `torch.export`: ``torch.export.load(path).module()(images)`` gives (n, n_bits).

    Parameters
    ----------
    network : HashNetwork
        A network with a folded head.
    path : path
        The file, which is replaced; ends in ``.pt2``.
    image_size : int
        Side of the images, in pixels.
    """
    if Path(path).suffix != ".pt2":
        raise ValueError(f"path must end in .pt2, which torch.export writes; got {path}")
    program = torch.export.export(
        network.cpu().eval(), (_example(image_size),), dynamic_shapes={"images": {0: torch.export.Dim("n")}}
    )
    # A file object, because torch.export refuses the suffix of the temporary name.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.export.save(program, file)
