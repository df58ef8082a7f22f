"""CIFAR-10 (Krizhevsky, 2009): 60,000 images of 32 x 32 pixels in 10 classes.

Read from Parquet as the Hugging Face hub has it, or from the original python batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.cifar10_batches import BATCH_FOLDER, load_batches
from h2q.datasets.dataset import ImageDataset
from h2q.datasets.download import fetch_archive
from h2q.datasets.images import EncodedImages, PixelImages
from h2q.datasets.screening import check_classes, screen_images
from h2q.datasets.sources import DatasetSource, register
from h2q.datasets.splits import scale_sizes, split_per_class
from h2q.errors import FileFormatError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# The paper's folds: of each class 500 for training, 100 queries, 100 for validation; the other 53,000 are the database.
PER_CLASS = {"train": 500, "query": 100, "validation": 100}
N_IMAGES = 60_000
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
SAMPLE = "cifar10-sample.parquet"


def load_parquet(files: Sequence[Path]) -> tuple[EncodedImages, NDArray[np.int64]]:
    """Read images and labels from Parquet files in the hub's layout: columns ``img`` {bytes, path} and ``label``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, labels, names = [], [], []
    for file in files:
        try:
            table = pq.read_table(file, columns=["img", "label"])
            column = pa.chunked_array(table["img"]).combine_chunks().field("bytes")
        except (pa.ArrowException, AttributeError, KeyError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise FileFormatError(
                f"{file} is not a Parquet file with the columns img {{bytes, path}} and label: {error}"
            ) from error
        columns.append(column)
        labels.append(table["label"].to_numpy().astype(np.int64))
        names += [f"{file}, row {row}" for row in range(len(column))]
    return EncodedImages(pa.chunked_array(columns).combine_chunks(), names), np.concatenate(labels)


def find_parquet(folder: Path) -> list[Path]:
    """Return the Parquet files of CIFAR-10 in a folder, training images first; empty where there are none."""
    for train, test in (("train.parquet", "test.parquet"), ("train-*-of-*.parquet", "test-*-of-*.parquet")):
        for place in (folder, folder / "plain_text", folder / "data"):
            files = [*sorted(place.glob(train)), *sorted(place.glob(test))]
            if files:
                return files
    return []


@dataclass(frozen=True)
class CifarImages:
    """The images of CIFAR-10 that decode, and which of them are from the official test set."""

    images: EncodedImages | PixelImages
    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    skipped: tuple[str, ...]


def load_images(folder: Path, *, skip_broken: bool) -> CifarImages:
    """Load images and labels; the parameters are those of `load`."""
    batches = folder / BATCH_FOLDER
    images: EncodedImages | PixelImages
    if folder.is_dir() and batches.is_dir():
        images, labels = load_batches(batches)
        is_test = np.arange(len(labels)) >= len(labels) * 5 // 6  # five batches for training, one for testing
    else:
        files = [folder] if folder.is_file() else find_parquet(folder)
        if not files:
            raise FileNotFoundError(
                f"{folder} holds no CIFAR-10: neither train.parquet and test.parquet, nor train-*-of-*.parquet, nor "
                f"{BATCH_FOLDER}; pass download=True to fetch it (170 MB)"
            )
        images, labels = load_parquet(files)
        is_test = np.array([name.rsplit("/", 1)[-1].startswith("test") for name in images.names], dtype=np.bool_)
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise FileFormatError(f"{folder}: labels must be 0 to 9; got {labels.min()} to {labels.max()}")
    screened = screen_images(images, skip_broken=skip_broken)
    labels = labels[screened.kept]
    check_classes(labels, CLASSES, str(folder))
    return CifarImages(screened.images, labels, is_test[screened.kept], screened.skipped)


def draw_folds(cifar: CifarImages, random_state: int) -> dict[str, NDArray[np.int64]]:
    """Draw the paper's folds; smaller data is split in proportion."""
    sizes = scale_sizes(PER_CLASS, len(cifar.labels), N_IMAGES)
    return split_per_class(cifar.labels, cifar.images.digests(), sizes, random_state=random_state, class_names=CLASSES)


def load(folder: Path, *, random_state: int = 0, skip_broken: bool = False) -> ImageDataset:
    """Load CIFAR-10 with the paper's folds; smaller data, such as the sample, is split in proportion.

    Parameters
    ----------
    folder : path
        A folder with ``train.parquet`` and ``test.parquet``, with the hub's ``train-*-of-*.parquet`` (also in
        ``plain_text``) or with ``cifar-10-batches-py``; or one Parquet file.
    random_state : int
        Seed of the folds. The same images give the same folds whatever the order of their rows.
    skip_broken : bool
        Whether to leave out images that do not decode.
    """
    cifar = load_images(folder, skip_broken=skip_broken)
    return make_dataset("cifar10", cifar, draw_folds(cifar, random_state))


def make_dataset(name: str, cifar: CifarImages, folds: dict[str, NDArray[np.int64]]) -> ImageDataset:
    """Return images and folds as a data set."""
    return ImageDataset(name, cifar.images, cifar.labels, CLASSES, folds, cifar.images.fingerprint(), cifar.skipped)


def download(folder: Path) -> None:
    """Download the original python batches (170 MB) into a folder."""
    fetch_archive(URL, MD5, folder)


register(DatasetSource("cifar10", load, download, sample=SAMPLE, position=0))
