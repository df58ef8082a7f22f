"""MS COCO 2014 (Lin et al., ECCV 2014): the images of train2014 and val2014 with the 80 categories of their objects."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from h2q.datasets.dataset import ImageDataset
from h2q.datasets.download import fetch_archive
from h2q.datasets.screening import check_classes, screen_files
from h2q.datasets.sources import DatasetSource, register
from h2q.datasets.splits import scale_sizes, split_at_random
from h2q.errors import FileFormatError

__all__ = ["SIZES", "download", "load"]

# The paper's: at random 10,000 for training, 5,000 queries, 5,000 for validation, the rest is the database.
SIZES = {"train": 10_000, "query": 5_000, "validation": 5_000}
N_IMAGES = 122_218
PARTS = ("train2014", "val2014")
ARCHIVES = (
    ("http://images.cocodataset.org/annotations/annotations_trainval2014.zip", "0a379cfc70b0e71301e0f377548639bd"),
    ("http://images.cocodataset.org/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88"),
    ("http://images.cocodataset.org/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3"),
)

_FIELDS = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}


def load(
    folder: Path,
    *,
    random_state: int = 0,
    skip_broken: bool = False,
    unlabeled: Literal["remove", "keep"] = "remove",
) -> ImageDataset:
    """Load MS COCO 2014 with the paper's folds.

    Parameters
    ----------
    folder : path
        With ``annotations/instances_train2014.json``, ``annotations/instances_val2014.json``, ``train2014`` and
        ``val2014``.
    random_state : int
        Seed of the folds.
    skip_broken : bool
        Whether to leave out images that are missing or do not decode.
    unlabeled : {"remove", "keep"}
        The 1,069 of 123,287 images without an object: "remove", the habit of the field, leaves 122,218. The authors of
        Householder quantization keep them, with a row of zeros; such a query has no relevant item, so that its average
        precision is 0 or, with ``empty="skip"``, not counted.
    """
    if unlabeled not in ("remove", "keep"):
        raise ValueError(f'unlabeled must be "remove" or "keep"; got {unlabeled!r}')
    paths: list[str] = []
    rows: list[int] = []
    columns: list[int] = []
    categories: dict[int, str] = {}
    for part in PARTS:
        file = folder / "annotations" / f"instances_{part}.json"
        instances = _read_instances(file)
        categories |= {int(entry["id"]): str(entry["name"]) for entry in instances["categories"]}
        row_of = {entry["id"]: len(paths) + i for i, entry in enumerate(instances["images"])}
        paths += [f"{part}/{entry['file_name']}" for entry in instances["images"]]
        for annotation in instances["annotations"]:
            if annotation["image_id"] not in row_of or annotation["category_id"] not in categories:
                raise FileFormatError(
                    f"{file}: annotation {annotation.get('id')} belongs to image {annotation['image_id']} and category "
                    f"{annotation['category_id']}, of which one is not in the file"
                )
            rows.append(row_of[annotation["image_id"]])
            columns.append(annotation["category_id"])
    ids = sorted(categories)
    labels = np.zeros((len(paths), len(ids)), dtype=np.bool_)
    labels[rows, np.searchsorted(ids, columns)] = True
    labeled = np.flatnonzero(labels.any(axis=1) | (unlabeled == "keep"))
    class_names = tuple(categories[i] for i in ids)
    screened = screen_files(
        folder, [paths[i] for i in labeled.tolist()], skip_broken=skip_broken, listed_in=str(folder / "annotations")
    )
    images, labels = screened.images, labels[labeled][screened.kept]
    if not skip_broken:
        check_classes(labels, class_names, str(folder / "annotations"))
    folds = split_at_random(images.paths, scale_sizes(SIZES, len(images), N_IMAGES), random_state=random_state)
    return ImageDataset("coco", images, labels, class_names, folds, images.fingerprint(), screened.skipped)


def _read_instances(file: Path) -> dict[str, Any]:
    """Read one instances file and check that the fields that are used exist."""
    try:
        instances = json.loads(file.read_text(encoding="utf-8"))
        complete = all(
            field in entry for key, fields in _FIELDS.items() for field in fields for entry in instances[key]
        )
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} does not exist; pass download=True to fetch MS COCO 2014 (20 GB)") from None
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{file} is truncated or no instances file of MS COCO: {error!r}") from error
    if not complete:
        raise FileFormatError(f"{file} is no instances file of MS COCO: an entry lacks a field")
    return dict(instances)


def download(folder: Path) -> None:
    """Download annotations and images (20 GB) into a folder; what is there already is not fetched again."""
    for url, md5 in ARCHIVES:
        name = url.rsplit("/", 1)[1].removesuffix(".zip")
        target = folder / ("annotations" if name.startswith("annotations") else name)
        if not target.is_dir():
            fetch_archive(url, md5, folder)


register(DatasetSource("coco", load, download, position=2))
