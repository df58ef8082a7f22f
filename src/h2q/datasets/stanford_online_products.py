"""Stanford Online Products (Song et al., CVPR 2016): 120,053 photos of 22,634 products."""

from pathlib import Path

import numpy as np

from h2q.datasets.dataset import ImageDataset
from h2q.datasets.list_files import read_lines
from h2q.datasets.screening import screen_files
from h2q.datasets.sources import DatasetSource, register
from h2q.datasets.splits import halve_per_class
from h2q.errors import FileFormatError

__all__ = ["load"]

NO_DOWNLOAD = (
    "Stanford Online Products is at cvgl.stanford.edu/projects/lifted_struct: unpack Stanford_Online_Products.zip and "
    "name the folder with Ebay_train.txt and Ebay_test.txt"
)
_HEADER = ["image_id", "class_id", "super_class_id", "path"]


def load(folder: Path, *, random_state: int = 0, skip_broken: bool = False) -> ImageDataset:
    """Load Stanford Online Products: the official training products; the photos of the others are half queries.

    Published results search each test photo among all others, itself left out. Here queries are apart from the
    database: half of the photos of each test product each, the odd one in the database. There is no validation fold.

    Parameters
    ----------
    folder : path
        With ``Ebay_train.txt``, ``Ebay_test.txt`` and the photos that they list.
    random_state : int
        Seed of the division into queries and database.
    skip_broken : bool
        Whether to leave out images that are missing or do not decode.
    """
    nested = folder / "Stanford_Online_Products"
    folder = nested if nested.is_dir() else folder
    paths: list[str] = []
    products: list[int] = []
    n_train = 0
    for part in ("Ebay_train.txt", "Ebay_test.txt"):
        listed = _read_list(folder / part)
        paths += [path for _, path in listed]
        products += [product for product, _ in listed]
        n_train = n_train or len(listed)
    screened = screen_files(folder, paths, skip_broken=skip_broken, listed_in=str(folder / "Ebay_train.txt"))
    names, labels = np.unique(np.array(products)[screened.kept], return_inverse=True)
    images, training = screened.images, screened.kept < n_train
    query, database = halve_per_class(labels, images.paths, np.flatnonzero(~training), random_state=random_state)
    folds = {
        "train": np.flatnonzero(training),
        "query": query,
        "validation": np.empty(0, np.int64),
        "database": database,
    }
    return ImageDataset(
        "stanford-online-products",
        images,
        labels.astype(np.int64),
        tuple(f"product {name}" for name in names),
        folds,
        images.fingerprint(),
        screened.skipped,
    )


def _read_list(file: Path) -> list[tuple[int, str]]:
    """Read product and path of each photo."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist. {NO_DOWNLOAD}")
    header, *lines = [line.split() for line in read_lines(file) if line.strip()] or [[]]
    if header != _HEADER:
        raise FileFormatError(f"{file} must begin with the line {' '.join(_HEADER)!r}; got {' '.join(header)[:80]!r}")
    for number, words in enumerate(lines, 2):
        if len(words) != len(_HEADER) or not words[1].isdecimal():
            raise FileFormatError(f"{file}, line {number}: expected {' '.join(_HEADER)}; got {' '.join(words)[:80]!r}")
    return [(int(words[1]), words[3]) for words in lines]


register(DatasetSource("stanford-online-products", load, no_download=NO_DOWNLOAD, position=21))
