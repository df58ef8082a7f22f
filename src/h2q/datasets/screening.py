"""Checks of the images of a data set before they are used: missing files, broken images, classes without images."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.images import HEIF_SUFFIXES, BrokenImageError, FileImages, LazyImages, has_heif
from h2q.errors import MissingDependencyError, require
from h2q.progress import progress_bar

__all__ = ["Screened", "check_classes", "screen_files", "screen_images"]


@dataclass(frozen=True)
class Screened:
    """The images that are kept, their positions before, and what was left out, each with its reason."""

    images: Any
    kept: NDArray[np.int64]
    skipped: tuple[str, ...]


def screen_images(images: LazyImages, *, skip_broken: bool) -> Screened:
    """Leave out the images that do not decode, which decodes all of them; without `skip_broken` keep everything.

    A broken image that is kept raises an error that names it when it is used.
    """
    everything = np.arange(len(images), dtype=np.int64)
    require("PIL.Image", "images")
    if not skip_broken:
        return Screened(images, everything, ())

    def fault(position: int) -> str | None:
        try:
            images[position]
        except BrokenImageError:
            return "does not decode"
        except FileNotFoundError:
            return "does not exist"
        except MissingDependencyError:
            return "needs pillow-heif"
        return None

    fine = np.ones(len(images), dtype=np.bool_)
    skipped = []
    with ThreadPoolExecutor() as pool, progress_bar("checking images", len(images)) as advance:
        for position, reason in enumerate(pool.map(fault, range(len(images)), chunksize=64)):
            if reason is not None:
                fine[position] = False
                skipped.append(f"{images.describe(position)} ({reason})")
            advance(1)
    kept = everything[fine]
    if len(kept) == 0:
        raise ValueError(f"no image is left of {len(images)}; the first: {skipped[0]}")
    return Screened(images if fine.all() else images.select(kept), kept, tuple(skipped))


def screen_files(root: Path, paths: Sequence[str], *, skip_broken: bool, listed_in: str) -> Screened:
    """Check that every listed image exists; with `skip_broken` leave out those that are missing or do not decode.

    Raises
    ------
    FileNotFoundError
        If an image is missing; names the first, counts them, and names the list.
    MissingDependencyError
        If there are HEIF files and pillow-heif is missing; names the first and counts them.
    """
    images = FileImages(root, paths)
    if not skip_broken:
        missing = [path for path in paths if not (root / path).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{root / missing[0]} does not exist: {listed_in} lists {len(paths)} images, of which {len(missing)} "
                "are missing; put them there, or leave them out with skip_broken=True"
            )
        _check_heif(root, paths)
    return screen_images(images, skip_broken=skip_broken)


def _check_heif(root: Path, paths: Sequence[str]) -> None:
    """Raise before any work if there are HEIF files that cannot be decoded."""
    heif = [path for path in paths if Path(path).suffix.lower() in HEIF_SUFFIXES]
    if heif and not has_heif():
        try:
            require("pillow_heif", "heif")
        except MissingDependencyError as error:
            raise MissingDependencyError(
                f"{root / heif[0]} is a HEIF image ({len(heif)} of {len(paths)} are): {error}; or leave such images "
                "out with skip_broken=True"
            ) from error


def check_classes(labels: NDArray[Any], class_names: Sequence[str], source: str) -> None:
    """Raise a ValueError that names the first class without images.

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
