"""Networks of a hasher, read from their files."""

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2q.errors import FileFormatError
from h2q.files import read_tensors

if TYPE_CHECKING:
    from torch import nn

    from h2q.similarity.backbones import Backbone
    from h2q.similarity.heads import HashHead

__all__ = ["read_backbone", "read_head"]


def read_backbone(file: Path, description: dict[str, Any], module: "nn.Module | None") -> "Backbone":
    """Return the backbone of a description with the weights in a file; `module` has its structure if it has no name."""
    from h2q.similarity.backbones import BACKBONES, load_backbone

    name, size = description["name"], description["image_size"]
    if module is None and name not in BACKBONES:
        raise ValueError(
            f"{file.parent} was built on {name}, a module of its author's own; pass load(folder, backbone=module) with "
            "a module of that structure"
        )
    skeleton = (
        load_backbone(name, pretrained=False, image_size=size).module if module is None else copy.deepcopy(module)
    )
    _load_weights(skeleton, file, "backbone")
    loaded = load_backbone(
        skeleton, image_size=size, mean=tuple(description["mean"]), std=tuple(description["std"]),
        resize_mode=description["resize_mode"],
    )  # fmt: skip
    return dataclasses.replace(loaded, name=name)


def read_head(file: Path, n_features: int, n_dimensions: int) -> "HashHead":
    """Return the head with the weights in a file."""
    from h2q.similarity.heads import HashHead

    hidden = read_tensors(file, "hash head").metadata["hidden"]
    head = HashHead(n_features, n_dimensions, hidden=hidden)
    _load_weights(head, file, "hash head")
    return head


def _load_weights(module: "nn.Module", path: Path, kind: str) -> None:
    import torch

    state = {key: torch.from_numpy(value) for key, value in read_tensors(path, kind).tensors.items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise FileFormatError(f"{path} does not fit the network it is for: {error}") from error
