"""NUS-WIDE (Chua et al., CIVR 2009): 269,648 images from Flickr; an image can have several of 81 concepts."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.dataset import ImageDataset
from h2q.datasets.list_files import read_lines
from h2q.datasets.screening import screen_files
from h2q.datasets.sources import DatasetSource, register
from h2q.datasets.splits import scale_sizes, split_at_random
from h2q.errors import FileFormatError

__all__ = ["SIZES", "load"]

NO_DOWNLOAD = (
    "NUS-WIDE cannot be downloaded by program: ask for it at lms.comp.nus.edu.sg (NUS-WIDE), and put ImageList/, "
    "Groundtruth/AllLabels/ and the images (Flickr/) into one folder"
)
# The paper's: at random 10,500 for training, 2,100 queries, 2,100 for validation, the rest is the database.
SIZES = {"train": 10_500, "query": 2_100, "validation": 2_100}
N_IMAGES = 195_834
MIN_IMAGES = 5_000


def load(
    folder: Path, *, random_state: int = 0, skip_broken: bool = False, min_images: int = MIN_IMAGES
) -> ImageDataset:
    """Load NUS-WIDE with the concepts that at least `min_images` images have (21 for 5,000) and the paper's folds.

    Parameters
    ----------
    folder : path
        With ``ImageList/Imagelist.txt``, ``Groundtruth/AllLabels/Labels_<concept>.txt`` and the images in ``Flickr``.
    random_state : int
        Seed of the folds.
    skip_broken : bool
        Whether to leave out images that are missing or do not decode.
    min_images : int
        The least number of images of a concept that is kept. Images without a kept concept are left out.
    """
    image_list = _first(folder, ("ImageList/Imagelist.txt", "Imagelist.txt"))
    label_folder = _first(folder, ("Groundtruth/AllLabels", "AllLabels"))
    image_folder = _first(folder, ("Flickr", "images", "."))
    paths = [line.strip().replace("\\", "/") for line in read_lines(image_list) if line.strip()]
    concepts, columns = [], []
    for file in sorted(label_folder.glob("Labels_*.txt")):
        column = _read_labels(file, len(paths), image_list)
        if column.sum() >= min_images:
            concepts.append(file.stem.removeprefix("Labels_"))
            columns.append(column)
    if not columns:
        raise FileFormatError(f"{label_folder} has no Labels_<concept>.txt with at least {min_images} images")
    labels = np.stack(columns, axis=1)
    labeled = np.flatnonzero(labels.any(axis=1))
    screened = screen_files(
        image_folder, [paths[i] for i in labeled.tolist()], skip_broken=skip_broken, listed_in=str(image_list)
    )
    images, labels = screened.images, labels[labeled][screened.kept]
    folds = split_at_random(images.paths, scale_sizes(SIZES, len(images), N_IMAGES), random_state=random_state)
    return ImageDataset("nus-wide", images, labels, tuple(concepts), folds, images.fingerprint(), screened.skipped)


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the first of these names that exists in a folder."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{folder / names[0]} does not exist. {NO_DOWNLOAD}")


def _read_labels(file: Path, n_images: int, image_list: Path) -> NDArray[np.bool_]:
    """Read one 0 or 1 a line."""
    words = [word for line in read_lines(file) for word in line.split()]
    if len(words) != n_images:
        raise FileFormatError(f"{file} has {len(words)} labels, but {image_list} lists {n_images} images")
    foreign = set(words) - {"0", "1"}
    if foreign:
        raise FileFormatError(f"{file} must hold 0 or 1 on each line; got {min(foreign)!r}")
    return np.array([word == "1" for word in words], dtype=np.bool_)


register(DatasetSource("nus-wide", load, no_download=NO_DOWNLOAD, position=1))
