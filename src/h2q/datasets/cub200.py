"""CUB-200-2011 (Wah et al., 2011): 11,788 photos of 200 species of birds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.dataset import ImageDataset
from h2q.datasets.list_files import read_lines
from h2q.datasets.screening import check_classes, screen_files
from h2q.datasets.sources import DatasetSource, register
from h2q.datasets.splits import Protocol, fine_grained_folds
from h2q.errors import FileFormatError

__all__ = ["load"]

NO_DOWNLOAD = (
    "CUB-200-2011 is at www.vision.caltech.edu/datasets/cub_200_2011: unpack CUB_200_2011.tgz and name the folder with "
    "images.txt"
)


def load(
    folder: Path, *, random_state: int = 0, skip_broken: bool = False, protocol: Protocol = "official"
) -> ImageDataset:
    """Load CUB-200-2011.

    Parameters
    ----------
    folder : path
        With ``images.txt``, ``image_class_labels.txt``, ``train_test_split.txt``, ``classes.txt`` and ``images``; or
        the folder above, with ``CUB_200_2011``.
    random_state : int
        Seed of the zero-shot protocol's queries.
    skip_broken : bool
        Whether to leave out images that are missing or do not decode.
    protocol : {"official", "zero-shot"}
        See `h2q.datasets.splits.fine_grained_folds`.
    """
    folder = folder / "CUB_200_2011" if (folder / "CUB_200_2011").is_dir() else folder
    paths = _read_table(folder / "images.txt")
    species = _as_numbers(folder / "image_class_labels.txt", paths)
    training = _as_numbers(folder / "train_test_split.txt", paths) == 1
    names = list(_read_table(folder / "classes.txt").values())
    if not 1 <= species.min() <= species.max() <= len(names):
        raise FileFormatError(f"{folder / 'image_class_labels.txt'}: labels must be 1 to {len(names)}")
    image_folder = folder / "images"
    screened = screen_files(
        image_folder, list(paths.values()), skip_broken=skip_broken, listed_in=str(folder / "images.txt")
    )
    images, labels = screened.images, species[screened.kept] - 1
    check_classes(labels, names, str(folder / "image_class_labels.txt"))
    folds = fine_grained_folds(
        labels, images.paths, training[screened.kept], protocol=protocol, random_state=random_state
    )
    return ImageDataset("cub-200", images, labels, tuple(names), folds, images.fingerprint(), screened.skipped)


def _read_table(file: Path) -> dict[str, str]:
    """Read a key and a value on each line."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist. {NO_DOWNLOAD}")
    rows = [line.strip().split(maxsplit=1) for line in read_lines(file) if line.strip()]
    wrong = next((i for i, row in enumerate(rows, 1) if len(row) != 2), None)
    if wrong is not None or not rows:
        raise FileFormatError(f"{file} must hold a number and a value on each line; line {wrong or 1} does not")
    return dict(rows)


def _as_numbers(file: Path, paths: dict[str, str]) -> NDArray[np.int64]:
    """Read the number of each image, in the order of the images."""
    table = _read_table(file)
    if table.keys() != paths.keys() or not all(value.isdecimal() for value in table.values()):
        raise FileFormatError(f"{file} must hold a number for each of the {len(paths)} images of images.txt")
    return np.array([int(table[key]) for key in paths], dtype=np.int64)


register(DatasetSource("cub-200", load, no_download=NO_DOWNLOAD, position=22))
