"""A folder of images with one sub-folder per class."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from h2q.datasets.dataset import ImageDataset
from h2q.datasets.screening import check_classes, screen_files
from h2q.datasets.splits import split_per_class

__all__ = ["SHARES", "SUFFIXES", "load"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SHARES: Mapping[str, float] = {"train": 0.4, "query": 0.1, "validation": 0.1}


def load(
    folder: Path, *, random_state: int = 0, skip_broken: bool = False, fold_sizes: Mapping[str, float] | None = None
) -> ImageDataset:
    """Load a folder in which every sub-folder is a class, named by the sub-folder; images may lie deeper in it.

    Parameters
    ----------
    folder : path
        The folder.
    random_state : int
        Of the folds.
    skip_broken : bool
        Whether images that do not decode, and sub-folders without images, are left out.
    fold_sizes : mapping, optional
        How many "train", "query" and "validation" images of each class: counts (int) or shares (float); the rest is the
        database. By default 0.4, 0.1 and 0.1.
    """
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder} has no sub-folders; expected one sub-folder of images for each class")
    files = {
        name: sorted(
            path.relative_to(folder).as_posix()
            for path in (folder / name).rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        for name in classes
    }
    if skip_broken:
        classes = [name for name in classes if files[name]]
    for name in classes:
        if not files[name]:
            raise ValueError(
                f"class folder {folder / name} holds no images ({', '.join(sorted(SUFFIXES))}); remove it, or leave "
                "such folders out with skip_broken=True (--skip-broken)"
            )
    paths = [path for name in classes for path in files[name]]
    labels = np.repeat(np.arange(len(classes)), [len(files[name]) for name in classes])
    screened = screen_files(folder, paths, skip_broken=skip_broken, listed_in=str(folder))
    labels = labels[screened.kept]
    check_classes(labels, classes, f"{folder} (whose images do not decode)")
    images = screened.images
    folds = split_per_class(labels, images.paths, fold_sizes or SHARES, random_state=random_state, class_names=classes)
    return ImageDataset(folder.name, images, labels, tuple(classes), folds, images.fingerprint(), screened.n_skipped)
