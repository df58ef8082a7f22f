"""Data sets by name."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from h2q.checks import check_integer
from h2q.datasets import cifar10, coco, digits, image_folder, imagenet100, list_files, nus_wide
from h2q.datasets.dataset import ImageDataset
from h2q.datasets.locations import data_folder, search_folders

__all__ = ["DATASETS", "load_dataset"]


@dataclass(frozen=True)
class _Source:
    load: Callable[..., ImageDataset]
    download: Callable[[Path], None] | None
    no_download: str = ""


_SOURCES = {
    "cifar10": _Source(cifar10.load, cifar10.download),
    "nus-wide": _Source(nus_wide.load, None, nus_wide.NO_DOWNLOAD),
    "coco": _Source(coco.load, coco.download),
    "imagenet-100": _Source(imagenet100.load, None, imagenet100.NO_DOWNLOAD),
}
DATASETS = (*_SOURCES, "digits")


def load_dataset(
    name: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    random_state: int = 0,
    skip_broken: bool = False,
    download: bool = False,
    fold_sizes: Mapping[str, float] | None = None,
) -> ImageDataset:
    """Load a data set with the paper's folds.

    Parameters
    ----------
    name : str or path
        "cifar10", "nus-wide", "coco", "imagenet-100" or "digits" (those that scikit-learn carries); or the path of a
        folder with one sub-folder per class, of a folder with list files (``train.txt``, ``test.txt``,
        ``database.txt``), or of one list file (``path label label ...``).
    root : path, optional
        The folder of the data set. By default a folder called `name` is looked for in `search_folders`; for "cifar10"
        the sample of 6,000 images in a source checkout comes last.
    random_state : int
        Of the folds: the same images and seed give the same folds.
    skip_broken : bool
        Whether to leave out what is missing or broken and list it in ``skipped``; this decodes every image once.
    download : bool
        Whether to fetch the data set where it is missing and its source allows that ("cifar10", "coco"; extra
        ``download``), into `root`, or the folder called `name` in `data_folder`.
    fold_sizes : mapping, optional
        For a folder or a list file of your own: how many "train", "query" and "validation" images, as counts (int) or
        shares (float); of each class for a folder. The rest is the database.

    Returns
    -------
    ImageDataset

    Raises
    ------
    FileNotFoundError
        If there are no such data, or an image is missing.
    FileFormatError
        If a file of the data set is damaged; names it.
    ValueError
        If the name is not known, a class is empty, or the images are too few to be split.

    Examples
    --------
    >>> dataset = load_dataset("digits")
    >>> len(dataset.images), dataset.images[0].size, dataset.n_classes
    (1797, (8, 8), 10)
    >>> {fold: len(positions) for fold, positions in dataset.folds.items()}
    {'train': 500, 'query': 100, 'validation': 100, 'database': 1097}
    """
    random_state = check_integer(random_state, "random_state", low=0)
    if isinstance(name, str) and name in DATASETS:
        if fold_sizes is not None:
            raise ValueError(f"fold_sizes is for folders and list files of your own; {name} has the paper's folds")
        if name == "digits":
            return digits.load(random_state=random_state)
        return _load_published(name, None if root is None else Path(root), random_state, skip_broken, download)
    path = Path(name) if root is None else Path(root) / name
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise FileNotFoundError(f"there is no file or folder {path}")
        raise ValueError(f"{str(path)!r} is neither a data set ({', '.join(DATASETS)}) nor a folder or list file")
    if path.is_file() or list_files.find_lists(path):
        return list_files.load(path, random_state=random_state, skip_broken=skip_broken, fold_sizes=fold_sizes)
    return image_folder.load(path, random_state=random_state, skip_broken=skip_broken, fold_sizes=fold_sizes)


def _load_published(name: str, root: Path | None, random_state: int, skip_broken: bool, download: bool) -> ImageDataset:
    source = _SOURCES[name]
    place = root or _find(name, sample=not download)
    if place is None and not download:
        looked = ", ".join(str(folder / name) for folder in search_folders()) or str(data_folder() / name)
        advice = source.no_download or "pass download=True to fetch it"
        raise FileNotFoundError(f"no {name} in {looked}; {advice}, or name its folder with root or H2Q_DATA")
    place = place or data_folder() / name
    try:
        return source.load(place, random_state=random_state, skip_broken=skip_broken)
    except FileNotFoundError:
        if not download:
            raise
    if source.download is None:
        raise ValueError(source.no_download)
    source.download(place)
    return source.load(place, random_state=random_state, skip_broken=skip_broken)


def _find(name: str, *, sample: bool) -> Path | None:
    """Return the folder of a data set, or (CIFAR-10) the file of the sample."""
    places = [folder / name for folder in search_folders()]
    if sample and name == "cifar10":
        places += [folder / cifar10.SAMPLE for folder in search_folders()]
    return next((place for place in places if place.exists()), None)
