"""Cars-196 (Krause et al., 3dRR 2013): 16,185 photos of 196 models of cars."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.dataset import ImageDataset
from h2q.datasets.screening import check_classes, screen_files
from h2q.datasets.sources import DatasetSource, register
from h2q.datasets.splits import Protocol, fine_grained_folds
from h2q.errors import FileFormatError

__all__ = ["load"]

NO_DOWNLOAD = (
    "Cars-196 was at ai.stanford.edu/~jkrause/cars and is mirrored elsewhere: put cars_annos.mat and car_ims/, or "
    "cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat into one folder"
)


def load(
    folder: Path, *, random_state: int = 0, skip_broken: bool = False, protocol: Protocol = "official"
) -> ImageDataset:
    """Load Cars-196.

    Parameters
    ----------
    folder : path
        With ``cars_annos.mat`` and ``car_ims``; or with ``cars_train``, ``cars_test``, ``devkit/cars_meta.mat``,
        ``devkit/cars_train_annos.mat`` and ``cars_test_annos_withlabels.mat`` (also in ``devkit``).
    random_state : int
        Seed of the zero-shot protocol's queries.
    skip_broken : bool
        Whether to leave out images that are missing or do not decode.
    protocol : {"official", "zero-shot"}
        See `h2q.datasets.splits.fine_grained_folds`.
    """
    if (folder / "cars_annos.mat").is_file():
        source = folder / "cars_annos.mat"
        paths, models, is_test, names = _read_one_file(source)
    else:
        source = folder / "devkit" / "cars_train_annos.mat"
        paths, models, is_test, names = _read_devkit(folder)
    if not len(models) or not 1 <= models.min() <= models.max() <= len(names):
        raise FileFormatError(f"{source}: classes must be 1 to {len(names)}")
    screened = screen_files(folder, paths, skip_broken=skip_broken, listed_in=str(source))
    images, labels = screened.images, models[screened.kept] - 1
    check_classes(labels, names, str(source))
    folds = fine_grained_folds(
        labels, images.paths, ~is_test[screened.kept], protocol=protocol, random_state=random_state
    )
    return ImageDataset("cars-196", images, labels, tuple(names), folds, images.fingerprint(), screened.skipped)


Annotations = tuple[list[str], NDArray[np.int64], NDArray[np.bool_], list[str]]


def _read_one_file(file: Path) -> Annotations:
    """Read paths, classes, test flags and class names from ``cars_annos.mat``."""
    content = _read_mat(file, "annotations", "class_names")
    paths, models, is_test = _columns(content["annotations"], file, "relative_im_path", "class", "test")
    names = [str(name) for name in content["class_names"]]
    return [str(path) for path in paths], np.array(models, np.int64), np.array(is_test, np.bool_), names


def _read_devkit(folder: Path) -> Annotations:
    """Read the same from the files of the 2013 challenge, with the labels of its test images."""
    labels_file = next(
        (
            folder / place / "cars_test_annos_withlabels.mat"
            for place in (".", "devkit")
            if (folder / place / "cars_test_annos_withlabels.mat").is_file()
        ),
        folder / "cars_test_annos_withlabels.mat",
    )
    paths: list[str] = []
    models: list[int] = []
    n_train = 0
    for place, file in (("cars_train", folder / "devkit" / "cars_train_annos.mat"), ("cars_test", labels_file)):
        names, classes = _columns(_read_mat(file, "annotations")["annotations"], file, "fname", "class")
        paths += [f"{place}/{name}" for name in names]
        models += classes
        n_train = n_train or len(names)
    class_names = [str(name) for name in _read_mat(folder / "devkit" / "cars_meta.mat", "class_names")["class_names"]]
    return paths, np.array(models, dtype=np.int64), np.arange(len(paths)) >= n_train, class_names


def _columns(rows: NDArray[Any], file: Path, *fields: str) -> list[list[Any]]:
    """Return these fields of a structure array."""
    missing = [field for field in fields if field not in (rows.dtype.names or ())]
    if missing:
        raise FileFormatError(f"{file}: annotations lacks the field {missing[0]}")
    return [rows[field].tolist() for field in fields]


def _read_mat(file: Path, *keys: str) -> dict[str, Any]:
    """Read a MATLAB file and check that the variables that are used exist."""
    from scipy.io import loadmat

    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist. {NO_DOWNLOAD}")
    try:
        content = loadmat(file, squeeze_me=True)
        return {key: np.atleast_1d(content[key]) for key in keys}
    except Exception as error:  # a damaged file can make scipy raise anything
        raise FileFormatError(f"{file} is not a MATLAB file with {' and '.join(keys)}: {error}") from error


register(DatasetSource("cars-196", load, no_download=NO_DOWNLOAD, position=23))
