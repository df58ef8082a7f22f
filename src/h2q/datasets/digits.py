"""The 1,797 handwritten digits that scikit-learn carries: images that need no files."""

from pathlib import Path

import numpy as np

from h2q.datasets.dataset import ImageDataset
from h2q.datasets.images import PixelImages
from h2q.datasets.sources import DatasetSource, register
from h2q.datasets.splits import split_per_class

__all__ = ["load"]

PER_CLASS = {"train": 50, "query": 10, "validation": 10}


def load(folder: Path | None = None, *, random_state: int = 0, skip_broken: bool = False) -> ImageDataset:
    """Load the digits as RGB images of 8 x 8 pixels, with 50 / 10 / 10 images per class and the rest as database.

    `folder` and `skip_broken` have no effect: scikit-learn carries the images.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = PixelImages(np.repeat(gray[..., None], 3, axis=3), "scikit-learn's digits")
    labels = digits.target.astype(np.int64)
    names = tuple(str(name) for name in digits.target_names)
    folds = split_per_class(labels, images.digests(), PER_CLASS, random_state=random_state, class_names=names)
    return ImageDataset("digits", images, labels, names, folds, images.fingerprint())


register(DatasetSource("digits", load, needs_files=False, position=1000))
