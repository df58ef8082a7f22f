"""What people pass for images, as one lazy sequence of PIL images; and folds of labeled ones."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from h2q.checks import as_labels
from h2q.datasets.images import FileImages, LazyImages, PixelImages
from h2q.errors import describe

if TYPE_CHECKING:
    from h2q.similarity.backbones import Backbone

__all__ = ["Fold", "SelectedImages", "as_folds", "as_images"]


@dataclass(frozen=True)
class Fold:
    """Labeled images, and where their features are cached if they are part of a data set."""

    source: Sequence[Any]
    labels: NDArray[Any]
    positions: NDArray[np.int64] | None = None
    cache_key: str | None = None

    @property
    def images(self) -> Sequence[Any]:
        """The images of this fold."""
        return self.source if self.positions is None else SelectedImages(self.source, self.positions)

    def features(self, backbone: "Backbone", progress: bool) -> NDArray[np.float32]:
        """Return their features, from the cache if there is one."""
        from h2q.similarity.features import extract_features

        return extract_features(
            self.source, backbone, positions=self.positions, cache_key=self.cache_key, progress=progress
        )


class SelectedImages(Sequence[Any]):
    """Some of the images of a lazy sequence, as lazy."""

    def __init__(self, images: Sequence[Any], positions: NDArray[np.int64]) -> None:
        self.images, self.positions = images, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return SelectedImages(self.images, self.positions[index])
        return self.images[int(self.positions[index])]


def as_folds(
    images: Any, labels: ArrayLike | None, validation: tuple[Any, ArrayLike] | None
) -> tuple[Fold, Fold | None]:
    """Return what to train on, and what to validate on if there is anything."""
    if hasattr(images, "folds"):
        if labels is not None or validation is not None:
            raise ValueError("labels and validation come with the data set; pass images and labels, or it alone")
        train, held_out = (
            Fold(images.images, images.labels[images.folds[fold]], images.folds[fold], images.fingerprint)
            for fold in ("train", "validation")
        )
        return train, held_out if len(held_out.labels) else None
    if labels is None:
        raise ValueError("labels are missing: similarity is learned from labeled images; pass fit(images, labels)")
    sequence = as_images(images)
    train = Fold(sequence, as_labels(labels, len(sequence)))
    if validation is None:
        return train, None
    sequence = as_images(validation[0], "validation images")
    return train, Fold(sequence, as_labels(validation[1], len(sequence), "validation labels"))


def as_images(images: Any, name: str = "images") -> Sequence[Any]:
    """Return a sequence of PIL images, decoded when asked for.

    Parameters
    ----------
    images : paths, PIL images, array (n, height, width, 3) of uint8, or ImageDataset
        The images.
    name : str
        What the caller calls them.

    Raises
    ------
    TypeError, ValueError
        If they are of another kind, or there is no image.

    Examples
    --------
    >>> as_images(np.zeros((2, 8, 8, 3), dtype=np.uint8))[0].size
    (8, 8)
    """
    what = f"{name} must be paths, PIL images, or an array (n, height, width, 3) of uint8"
    if hasattr(images, "folds"):
        images = images.images
    if isinstance(images, str | os.PathLike) or (hasattr(images, "convert") and hasattr(images, "size")):
        raise TypeError(f"{what}; got one image, {describe(images)}: pass a list, [image]")
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"{what}; got {describe(images)}")
        images = PixelImages(images, name)
    if not hasattr(images, "__getitem__") or not hasattr(images, "__len__"):
        images = list(images)
    if len(images) == 0:
        raise ValueError(f"{name} is empty; pass at least one image")
    if isinstance(images, LazyImages | SelectedImages):
        return images
    first = images[0]
    if isinstance(first, str | os.PathLike):
        return FileImages(Path(), [os.fspath(path) for path in images])
    if not hasattr(first, "convert"):
        raise TypeError(f"{what}; the first is {describe(first)}")
    return images  # type: ignore[no-any-return]
