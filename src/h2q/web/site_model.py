"""The network that a static site runs in the browser: backbone and rotation in one ONNX file, and onnxruntime-web."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2q.quantization.base import BaseQuantizer
from h2q.web.contents import Contents

if TYPE_CHECKING:
    from torch import nn

    from h2q.similarity.backbones import Backbone

__all__ = ["SiteModel", "fold_codes", "prepare_model"]

# The build for processors alone: the module, and what it loads itself.
_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


@dataclass(frozen=True)
class SiteModel:
    """A network that becomes a part of a site.

    Attributes
    ----------
    backbone : Backbone
        The network that embeds pictures.
    onnxruntime : Path
        The folder ``dist`` of onnxruntime-web.
    """

    backbone: "Backbone"
    onnxruntime: Path

    def write(self, folder: Path, quantizers: Sequence[BaseQuantizer]) -> None:
        """Write the network, with the rotations of the quantizers folded in, and what runs it."""
        from h2q.similarity.export import export_onnx

        network = fold_codes(self.backbone.module, quantizers)
        export_onnx(network, folder / "data" / "model.onnx", image_size=self.backbone.image_size)
        (folder / "onnxruntime").mkdir()
        for name in _RUNTIME:
            shutil.copyfile(self.onnxruntime / name, folder / "onnxruntime" / name)

    def describe(self) -> dict[str, Any]:
        """Return how the page prepares a picture for the network."""
        backbone = self.backbone
        size = {"file": "data/model.onnx", "image_size": backbone.image_size}
        return {**size, "mean": list(backbone.mean), "std": list(backbone.std)}


def prepare_model(contents: Contents, onnxruntime: Path) -> SiteModel:
    """Return the network of an index of pictures, and check that a browser can run it, before anything is written.

    Raises
    ------
    ValueError
        If the items are no pictures, or their codes are not the signs of a linear layer.
    FileNotFoundError
        If the folder lacks a file of onnxruntime-web.
    """
    backbone = getattr(contents, "backbone", None)
    if backbone is None or backbone.resize_mode != "stretch":
        raise ValueError(
            f"{contents.name} holds {contents.kind} without a network that a browser can prepare pictures for; export "
            "the site without the network"
        )
    quantizer = contents.index.quantizer
    if not quantizer.linear:
        raise ValueError(
            f"codes of {type(quantizer).__name__} are not the signs of a linear layer, which the network would end in; "
            "export the site without the network"
        )
    absent = [name for name in _RUNTIME if not (onnxruntime / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{onnxruntime} has no {absent[0]}: run npm install onnxruntime-web, and give "
            "node_modules/onnxruntime-web/dist"
        )
    return SiteModel(backbone, onnxruntime)


def fold_codes(backbone: "nn.Module", quantizers: Sequence[BaseQuantizer]) -> "nn.Module":
    """Return a network from images to the rotated embeddings of several quantizers, side by side.

    Parameters
    ----------
    backbone : torch.nn.Module
        From images to embeddings (n, d).
    quantizers : sequence of BaseQuantizer
        Fitted on these embeddings, linear.

    Returns
    -------
    torch.nn.Module
        From images to (n, sum of the bits); the signs are the codes.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from h2q.quantization import SignQuantizer
    >>> X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    >>> both = [SignQuantizer(2).fit(X), SignQuantizer(3).fit(X)]
    >>> fold_codes(torch.nn.Identity(), both)(torch.from_numpy(X)).shape
    torch.Size([9, 5])
    """
    import torch

    from h2q.integrations.pytorch import rotation_layer

    layers = [rotation_layer(quantizer) for quantizer in quantizers]
    joined = torch.nn.Linear(layers[0].in_features, sum(layer.out_features for layer in layers))
    with torch.no_grad():
        joined.weight.copy_(torch.cat([layer.weight for layer in layers]))
        joined.bias.copy_(torch.cat([layer.bias for layer in layers]))
    return torch.nn.Sequential(backbone, joined).eval().requires_grad_(False)
