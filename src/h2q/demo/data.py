"""The data of the demo: CIFAR-10 if it is present, otherwise scikit-learn's digits."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.datasets import ImageDataset, load_dataset, search_folders
from h2q.datasets.splits import scale_sizes, split_per_class

__all__ = ["DemoData", "load_demo_data"]

_SAMPLE_SEED = 0  # as in scripts/draw_cifar10_sample.py, so that all of CIFAR-10 gives the images of the sample
_SAMPLE_PER_CLASS = 600
_PER_CLASS = {"train": 200, "query": 50, "validation": 20}  # of the sample; the other 330 are the database
_BACKBONE = "efficientnet-lite0"


@dataclass(frozen=True)
class DemoData:
    """Labeled images with features.

    Attributes
    ----------
    title : str
        Description for people.
    notes : tuple of str
        Why the demo uses these data, if there is something to say.
    images : sequence of PIL images, or None
        Decoded on access; None if Pillow is missing.
    features : ndarray of float32, shape (n, d)
        Real-valued, minus the mean of the training images.
    labels : ndarray of int64, shape (n,)
        Class ids.
    class_names : sequence of str
        Names of the classes.
    learnable : bool
        Whether stage one applies: to images, not to digits.
    folds : mapping of str to ndarray of int64
        Rows of "train", "query", "validation" and "database"; each row is in at most one.
    """

    title: str
    notes: tuple[str, ...]
    images: Sequence[Any] | None
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: Sequence[str]
    folds: Mapping[str, NDArray[np.int64]]
    learnable: bool


def load_demo_data(*, full: bool = False, random_state: int = 0) -> DemoData:
    """Load images and their features from a frozen EfficientNet-Lite0, which are computed once and cached.

    Parameters
    ----------
    full : bool
        All 60,000 images of CIFAR-10 with the paper's folds, instead of 6,000.
    random_state : int
        Seed of the folds.

    Returns
    -------
    DemoData
        If there is no CIFAR-10 or no PyTorch: scikit-learn's digits, with a note that says why.

    Raises
    ------
    FileNotFoundError
        If H2Q_DATA names no folder, or `full` is true and CIFAR-10 is missing.
    FileFormatError, ValueError
        If the images are damaged.
    """
    search_folders()  # a wrong H2Q_DATA is an error, not a reason for digits
    try:
        dataset = load_dataset("cifar10", random_state=random_state)
    except FileNotFoundError as error:
        advice = (
            "put its train.parquet and test.parquet, as the Hugging Face hub has them, into ~/.cache/h2q/cifar10, or "
            "into the folder cifar10 of a folder that H2Q_DATA names"
        )
        if full:
            raise FileNotFoundError(f"--full needs CIFAR-10, which is not here: {advice}") from error
        return _digits(random_state, f"No images of CIFAR-10 here: {advice}.")
    if full and len(dataset.images) <= 10 * _SAMPLE_PER_CLASS:
        raise FileNotFoundError(
            f"--full needs all 60,000 images of CIFAR-10, and only a sample of {len(dataset.images):,} is here; put "
            "them into the folder cifar10 of H2Q_DATA or ~/.cache/h2q"
        )
    missing = [name for name in ("torch", "PIL", "efficientnet_lite_pytorch") if importlib.util.find_spec(name) is None]
    if missing:
        advice = f'CIFAR-10 is here, but its features need {", ".join(missing)}: pip install "h2q[images]".'
        if full:
            from h2q.errors import MissingDependencyError

            raise MissingDependencyError(advice)
        return _digits(random_state, advice)
    return _cifar10(dataset, full, random_state)


def _cifar10(dataset: ImageDataset, full: bool, random_state: int) -> DemoData:
    from h2q.similarity.features import extract_features
    from h2q.similarity.images import SelectedImages

    everything = np.arange(len(dataset.images), dtype=np.int64)
    if full:
        rows, folds = everything, dataset.folds
    else:
        digests = dataset.images.digests()  # type: ignore[attr-defined]  # all of CIFAR-10's images have them
        names = dataset.class_names
        rows = everything
        if len(rows) > 10 * _SAMPLE_PER_CLASS:
            drawn = {"train": _SAMPLE_PER_CLASS, "query": 0, "validation": 0}
            rows = split_per_class(dataset.labels, digests, drawn, random_state=_SAMPLE_SEED, class_names=names)[
                "train"
            ]
        kept = [digests[row] for row in rows]
        sizes = scale_sizes(_PER_CLASS, len(rows), 10 * _SAMPLE_PER_CLASS)
        folds = split_per_class(dataset.labels[rows], kept, sizes, random_state=random_state, class_names=names)
    features = extract_features(dataset, _BACKBONE, positions=None if len(rows) == len(everything) else rows)
    return DemoData(
        f"{len(rows):,} images of CIFAR-10, features of a frozen EfficientNet-Lite0",
        (),
        SelectedImages(dataset.images, rows),
        _centered(features, folds["train"]),
        dataset.labels[rows],
        dataset.class_names,
        folds,
        True,
    )


def _digits(random_state: int, why: str) -> DemoData:
    dataset = load_dataset("digits", random_state=random_state)
    from sklearn.datasets import load_digits

    pixels = load_digits().data.astype(np.float32)
    pixels = pixels[:, pixels[dataset.folds["train"]].std(axis=0) > 0]
    return DemoData(
        f"{len(pixels):,} handwritten digits, {pixels.shape[1]} varying pixels as embeddings",
        (why, "Using scikit-learn's digits instead: the same job, smaller."),
        None if importlib.util.find_spec("PIL") is None else dataset.images,
        _centered(pixels, dataset.folds["train"]),
        dataset.labels,
        [f"digit {name}" for name in dataset.class_names],
        dataset.folds,
        False,
    )


def _centered(features: NDArray[np.float32], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """Subtract the mean of the training images, for codes and for the real-valued reference alike."""
    mean = features[train].mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.asarray(features - mean)
