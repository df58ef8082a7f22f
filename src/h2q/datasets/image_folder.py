"""Folders of images: any tree of image files, or one sub-folder per class."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.dataset import ImageDataset
from h2q.datasets.images import IMAGE_SUFFIXES
from h2q.datasets.screening import check_classes, screen_files
from h2q.datasets.splits import split_per_class

__all__ = ["SHARES", "FolderListing", "find_images", "load"]

SHARES: Mapping[str, float] = {"train": 0.4, "query": 0.1, "validation": 0.1}
# Thumbnails and resource forks, which archives and network drives add beside the real files.
_IGNORED_FOLDERS = frozenset({"__MACOSX", "@eaDir"})


@dataclass(frozen=True)
class FolderListing:
    """The files of a folder tree, as paths relative to it.

    Attributes
    ----------
    paths : list of str
        The images, ordered by path; a folder's files are consecutive.
    other_files : list of str
        The files whose suffix is none of an image.
    """

    paths: list[str]
    other_files: list[str]


def find_images(folder: Path) -> FolderListing:
    """List the images at any depth below a folder.

    Hidden files and folders (whose names begin with a dot, as macOS's ``._0.jpg`` does) are ignored, as are
    ``__MACOSX`` and ``@eaDir``. Links to folders are followed, each folder once.

    Raises
    ------
    OSError
        If a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    images: list[Path] = []
    others: list[Path] = []
    visited: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        real = os.path.realpath(place)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _IGNORED_FOLDERS]
        for name in files:
            path = Path(place, name).relative_to(folder)
            if not name.startswith("."):
                (images if path.suffix.lower() in IMAGE_SUFFIXES else others).append(path)
    images.sort(key=lambda path: path.parts)
    return FolderListing([path.as_posix() for path in images], sorted(path.as_posix() for path in others))


def class_labels(paths: list[str]) -> tuple[NDArray[np.int64], list[str]] | None:
    """Return class ids and names by the first folder of each path; None where a path has no folder.

    >>> class_labels(["cat/1.jpg", "dog/more/2.jpg", "dog/3.jpg"])
    (array([0, 1, 1]), ['cat', 'dog'])
    """
    folders = [path.split("/", 1)[0] for path in paths if "/" in path]
    if len(folders) < len(paths) or not paths:
        return None
    names, labels = np.unique(folders, return_inverse=True)
    return labels.astype(np.int64), names.tolist()


def load(
    folder: Path, *, random_state: int = 0, skip_broken: bool = False, fold_sizes: Mapping[str, float] | None = None
) -> ImageDataset:
    """Load a folder in which every sub-folder is a class; the images of a class may lie at any depth in it.

    Parameters
    ----------
    folder : path
        The folder.
    random_state : int
        Seed of the folds.
    skip_broken : bool
        Whether to leave out images that do not decode, images beside the sub-folders, and sub-folders without images.
    fold_sizes : mapping, optional
        The number of "train", "query" and "validation" images of each class: counts (int) or shares (float). The rest
        is the database. By default 0.4, 0.1 and 0.1.
    """
    listing = find_images(folder)
    loose = [path for path in listing.paths if "/" not in path]
    paths = [path for path in listing.paths if "/" in path]
    empty = _folders_without(folder, paths)
    if not paths and not empty:
        raise ValueError(f"{folder} has no sub-folders; expected one sub-folder of images for each class")
    if loose and not skip_broken:
        raise ValueError(
            f"{folder / loose[0]} is in no sub-folder, so it has no class ({len(loose)} such image(s)); move it, or "
            "leave such images out with skip_broken=True"
        )
    if (empty and not skip_broken) or not paths:
        raise ValueError(
            f"class folder {folder / empty[0]} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); remove it, or "
            "leave such folders out with skip_broken=True"
        )
    screened = screen_files(folder, paths, skip_broken=skip_broken, listed_in=str(folder))
    labels, classes = class_labels(paths) or (np.empty(0, np.int64), [])
    labels = labels[screened.kept]
    check_classes(labels, classes, f"{folder} (whose images do not decode)")
    images = screened.images
    folds = split_per_class(labels, images.paths, fold_sizes or SHARES, random_state=random_state, class_names=classes)
    skipped = (*(str(folder / path) for path in loose), *screened.skipped)
    return ImageDataset(folder.name, images, labels, tuple(classes), folds, images.fingerprint(), skipped)


def _folders_without(folder: Path, paths: list[str]) -> list[str]:
    """Return the sub-folders that hold no images."""
    with_images = {path.split("/", 1)[0] for path in paths}
    present = {
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in _IGNORED_FOLDERS
    }
    return sorted(present - with_images)
