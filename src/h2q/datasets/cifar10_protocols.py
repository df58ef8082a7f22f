"""The other protocols on CIFAR-10, in which the training images are in the database."""

from pathlib import Path

import numpy as np

from h2q.datasets.cifar10 import SAMPLE, download, draw_folds, load_images, make_dataset
from h2q.datasets.dataset import ImageDataset
from h2q.datasets.sources import DatasetSource, register

__all__ = ["load_50000", "load_59000"]


def load_59000(folder: Path, *, random_state: int = 0, skip_broken: bool = False) -> ImageDataset:
    """Load CIFAR-10 with a database of 59,000: all images but the 1,000 queries.

    Training images, queries and validation images are those of "cifar10" with the same seed: 500, 100 and 100 of each
    class. The protocol of DPSH (Li et al., IJCAI 2016) and others; a validation fold, which is in the database, too, is
    added. Parameters are those of `h2q.datasets.cifar10.load`.
    """
    cifar = load_images(folder, skip_broken=skip_broken)
    folds = draw_folds(cifar, random_state)
    everything = np.arange(len(cifar.labels), dtype=np.int64)
    return make_dataset("cifar10-59000", cifar, {**folds, "database": np.setdiff1d(everything, folds["query"])})


def load_50000(folder: Path, *, random_state: int = 0, skip_broken: bool = False) -> ImageDataset:
    """Load CIFAR-10 with its official split: 50,000 training images, which are the database, and 10,000 queries.

    The protocol of GreedyHash (Su et al., NeurIPS 2018) and others. There is no validation fold. Parameters are those
    of `h2q.datasets.cifar10.load`; the seed has no effect.

    Raises
    ------
    ValueError
        If the official test images are not known, as in the sample.
    """
    cifar = load_images(folder, skip_broken=skip_broken)
    training, queries = np.flatnonzero(~cifar.is_test), np.flatnonzero(cifar.is_test)
    if not len(training) or not len(queries):
        raise ValueError(f"{folder} does not say which images are the official test set; cifar10-50000 needs it")
    folds = {"train": training, "query": queries, "validation": np.empty(0, np.int64), "database": training}
    return make_dataset("cifar10-50000", cifar, folds)


register(DatasetSource("cifar10-59000", load_59000, download, folder="cifar10", sample=SAMPLE, position=10))
register(DatasetSource("cifar10-50000", load_50000, download, folder="cifar10", sample=SAMPLE, position=11))
