"""What embeds pictures: a backbone, a trained hasher, or a sentence-transformers model that takes images."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.hasher import ImageHasher
from h2q.hasher.folder import is_hasher
from h2q.integrations.sentence_transformers import load_text_model
from h2q.similarity.backbones import BACKBONES, load_backbone
from h2q.similarity.features import extract_features

__all__ = ["load_image_model"]

_LIBRARY = "sentence-transformers/"  # where the Hugging Face hub has their models
_BATCH = 32


def load_image_model(name: str, image_size: int | None = None) -> Callable[[Sequence[Any]], NDArray[np.float32]]:
    """Return a function from a sequence of PIL images to embeddings, float32 of shape (n, d).

    Parameters
    ----------
    name : str
        A backbone's name, the folder of an `ImageHasher`, the folder of a sentence-transformers model such as CLIP, or
        its name on the Hugging Face hub, ``sentence-transformers/clip-ViT-B-32``.
    image_size : int, optional
        Side in pixels that images are resized to, for backbones only; the others know theirs.

    Raises
    ------
    ValueError
        If the name is none of these, or an image size is given to a model that knows its own.

    Examples
    --------
    >>> from PIL import Image
    >>> embed = load_image_model("efficientnet-lite0", image_size=32)
    >>> embed([Image.new("RGB", (40, 30), "red")]).shape
    (1, 1280)
    """
    if name in BACKBONES:
        backbone = load_backbone(name, image_size=image_size)
        # One image needs neither threads nor copies of the network for them.
        return lambda images: (
            backbone.embed(images) if len(images) == 1 else extract_features(images, backbone, progress=False)
        )
    if image_size is not None and (Path(name).is_dir() or name.startswith(_LIBRARY)):
        raise ValueError(f"{name} knows the size of its images; leave image_size out")
    if is_hasher(name):
        hasher = ImageHasher.load(name)
        return lambda images: hasher.embed(images, progress=False)
    if name.startswith(_LIBRARY) or os.path.exists(os.path.join(name, "modules.json")):
        model = load_text_model(name)
        return lambda images: _encode(model, images)
    raise ValueError(
        f"backbone must be one of {', '.join(BACKBONES)}, the folder of a trained ImageHasher or of a "
        f"sentence-transformers model, or {_LIBRARY}NAME; got {name!r}"
    )


def _encode(model: Any, images: Sequence[Any]) -> NDArray[np.float32]:
    """Embed images a batch at a time, so that few are decoded at once."""
    parts = []
    for start in range(0, len(images), _BATCH):
        batch = [images[position] for position in range(start, min(start + _BATCH, len(images)))]
        parts.append(model.encode(batch, batch_size=_BATCH, convert_to_numpy=True, show_progress_bar=False))
    return np.concatenate(parts).astype(np.float32, copy=False)
