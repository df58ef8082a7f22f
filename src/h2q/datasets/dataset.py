"""The interface of a data set: lazy images, labels, and folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FOLDS", "ImageDataset"]

FOLDS = ("train", "query", "validation", "database")


@dataclass(frozen=True)
class ImageDataset:
    """Images with labels, and the positions that make up each fold.

    Attributes
    ----------
    name : str
        The name of the data set.
    images : sequence of PIL images
        ``images[i]`` decodes the image at position i, as RGB.
    labels : ndarray, shape (n,) of int64 or (n, classes) of bool
        Class ids, or multi-hot rows where an image can have several classes.
    class_names : tuple of str
        The name of each class.
    folds : mapping of str to ndarray of int64
        Positions of "train", "query", "validation" and "database", sorted. No image is in two folds, except where a
        published protocol has the training images in the database, too.
    fingerprint : str
        Changes when the images change, but not with the seed of the folds: the key of caches.
    skipped : tuple of str
        What was left out, each with its reason: broken and missing images, damaged lines of lists (empty unless
        ``skip_broken=True``).

    Examples
    --------
    >>> from h2q.datasets import load_dataset
    >>> data = load_dataset("digits")
    >>> len(data), data.n_classes, data.labels[data.folds["query"]].shape
    (1797, 10, (100,))
    """

    name: str
    images: "Sequence[Image]"
    labels: NDArray[Any]
    class_names: tuple[str, ...]
    folds: Mapping[str, NDArray[np.int64]]
    fingerprint: str
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.images):
            raise ValueError(f"{self.name}: {len(self.images)} images, but {len(self.labels)} rows of labels")
        if set(self.folds) != set(FOLDS):
            raise ValueError(f"{self.name}: folds must be {', '.join(FOLDS)}; got {', '.join(self.folds)}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def n_skipped(self) -> int:
        """The number of images and lines that were left out."""
        return len(self.skipped)

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)
