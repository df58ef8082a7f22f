"""What can be wrong with the images of a data set, found before they are used: missing, broken, none of a class."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.images import BrokenImageError, FileImages, LazyImages
from h2q.progress import progress_bar

__all__ = ["Screened", "check_classes", "screen_files", "screen_images"]


@dataclass(frozen=True)
class Screened:
    """The images that are left, the rows that they had, and how many were left out."""

    images: Any
    kept: NDArray[np.int64]
    n_skipped: int


def screen_images(images: LazyImages, *, skip_broken: bool) -> Screened:
    """Leave out the images that do not decode, which takes decoding all of them; without `skip_broken` keep everything.

    A broken image that is kept raises an error that names it when it is used.
    """
    everything = np.arange(len(images), dtype=np.int64)
    if not skip_broken:
        return Screened(images, everything, 0)

    def decodes(position: int) -> bool:
        try:
            images[position]
        except (BrokenImageError, FileNotFoundError):
            return False
        return True

    fine = np.ones(len(images), dtype=np.bool_)
    with ThreadPoolExecutor() as pool, progress_bar("checking images", len(images)) as advance:
        for position, good in enumerate(pool.map(decodes, range(len(images)), chunksize=64)):
            fine[position] = good
            advance(1)
    kept = everything[fine]
    if len(kept) == 0:
        raise ValueError(f"no image is left: none of {len(images)} decodes (first: {images.describe(0)})")
    return Screened(images if fine.all() else images.select(kept), kept, len(images) - len(kept))


def screen_files(root: Path, paths: Sequence[str], *, skip_broken: bool, listed_in: str) -> Screened:
    """Check that every listed image exists; with `skip_broken` leave out those that are missing or do not decode.

    Raises
    ------
    FileNotFoundError
        If an image is missing; names the first, counts them, and says which list has it.
    """
    images = FileImages(root, paths)
    if not skip_broken:
        missing = [path for path in paths if not (root / path).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{root / missing[0]} does not exist: {listed_in} lists {len(paths)} images, of which {len(missing)} "
                "are missing; put them there, or leave them out with skip_broken=True (--skip-broken)"
            )
    return screen_images(images, skip_broken=skip_broken)


def check_classes(labels: NDArray[Any], class_names: Sequence[str], source: str) -> None:
    """Raise a ValueError that names the first class that no image has.

    >>> check_classes(np.array([0, 0, 2]), ["cat", "dog", "owl"], "list.txt")
    Traceback (most recent call last):
    ...
    ValueError: class 'dog' has no images in list.txt (1 such class(es) of 3); add some, or remove the class
    """
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(class_names))
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise ValueError(
            f"class {class_names[empty[0]]!r} has no images in {source} ({len(empty)} such class(es) of "
            f"{len(class_names)}); add some, or remove the class"
        )
