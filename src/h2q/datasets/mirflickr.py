"""MIRFlickr-25k (Huiskes and Lew, ACM MIR 2008): 25,000 images from Flickr; an image can have several labels."""

from pathlib import Path
from typing import Literal

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
    "MIRFlickr-25k is at press.liacs.nl/mirflickr/mirdownload.html: unpack mirflickr25k.zip (im1.jpg ...) and "
    "mirflickr25k_annotations_v080.zip (animals.txt ...) into one folder"
)
# Common in hashing: at random 5,000 for training and 2,000 queries; here 1,000 for validation are set apart, too.
SIZES = {"train": 5_000, "query": 2_000, "validation": 1_000}
N_IMAGES = 24_581


def load(
    folder: Path,
    *,
    random_state: int = 0,
    skip_broken: bool = False,
    annotations: Literal["potential", "all"] = "potential",
    overlap: Literal["keep", "remove"] = "keep",
) -> ImageDataset:
    """Load MIRFlickr-25k; images without any of the labels are left out.

    Parameters
    ----------
    folder : path
        With ``im1.jpg`` to ``im25000.jpg`` (also in ``mirflickr`` or ``mirflickr25k``) and the annotations (also in
        ``mirflickr25k_annotations_v080`` or ``annotations``): a text file a label, with the number of an image on each
        line.
    random_state : int
        Seed of the folds.
    skip_broken : bool
        Whether to leave out images that are missing or do not decode.
    annotations : {"potential", "all"}
        The 24 labels that an image may have, or 38 with the 14 stricter ones (``baby_r1.txt`` ...).
    overlap : {"keep", "remove"}
        Whether the training images are in the database, as is usual, or not. Validation images never are.
    """
    for option, value, allowed in (
        ("annotations", annotations, ("potential", "all")),
        ("overlap", overlap, ("keep", "remove")),
    ):
        if value not in allowed:
            raise ValueError(f'{option} must be "{allowed[0]}" or "{allowed[1]}"; got {value!r}')
    image_folder = _folder_with("im*.jpg", folder, ("mirflickr", "mirflickr25k", "."))
    label_folder = _folder_with("animals.txt", folder, ("mirflickr25k_annotations_v080", "annotations", "."))
    files = sorted(
        file
        for file in label_folder.glob("*.txt")
        if file.stem != "README" and (annotations == "all" or not file.stem.endswith("_r1"))
    )
    members = [_read_numbers(file) for file in files]
    numbers = np.unique(np.concatenate(members))
    labels = np.stack([np.isin(numbers, column) for column in members], axis=1)
    paths = [f"im{number}.jpg" for number in numbers.tolist()]
    screened = screen_files(image_folder, paths, skip_broken=skip_broken, listed_in=str(label_folder))
    images = screened.images
    folds = split_at_random(images.paths, scale_sizes(SIZES, len(images), N_IMAGES), random_state=random_state)
    if overlap == "keep":
        folds["database"] = np.union1d(folds["database"], folds["train"])
    names = tuple(file.stem for file in files)
    return ImageDataset(
        "mirflickr-25k", images, labels[screened.kept], names, folds, images.fingerprint(), screened.skipped
    )


def _folder_with(pattern: str, folder: Path, names: tuple[str, ...]) -> Path:
    """Return the first of these sub-folders that holds a file of this pattern."""
    for name in names:
        if next((folder / name).glob(pattern), None):
            return folder / name
    raise FileNotFoundError(f"{folder} holds no {pattern}. {NO_DOWNLOAD}")


def _read_numbers(file: Path) -> NDArray[np.int64]:
    """Read the number of an image on each line."""
    words = [line.strip() for line in read_lines(file) if line.strip()]
    wrong = next((word for word in words if not word.isdecimal()), None)
    if wrong is not None:
        raise FileFormatError(f"{file} must hold the number of an image on each line; got {wrong[:40]!r}")
    return np.array(words, dtype=np.int64)


register(DatasetSource("mirflickr-25k", load, no_download=NO_DOWNLOAD, position=20))
