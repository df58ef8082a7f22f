"""The 1,797 handwritten digits that scikit-learn carries: images for where there are no others."""

import numpy as np

from h2q.datasets.dataset import ImageDataset
from h2q.datasets.images import PixelImages
from h2q.datasets.splits import split_per_class

__all__ = ["load"]

PER_CLASS = {"train": 50, "query": 10, "validation": 10}


def load(*, random_state: int = 0) -> ImageDataset:
    """Load the digits as RGB images of 8 x 8 pixels, with 50 / 10 / 10 images per class and the rest as database."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = PixelImages(np.repeat(gray[..., None], 3, axis=3), "scikit-learn's digits")
    labels = digits.target.astype(np.int64)
    names = tuple(str(name) for name in digits.target_names)
    folds = split_per_class(labels, images.digests(), PER_CLASS, random_state=random_state, class_names=names)
    return ImageDataset("digits", images, labels, names, folds, images.fingerprint())
