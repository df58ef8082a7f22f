import json

import numpy as np
import pytest

from h2q.datasets import coco, load_dataset
from h2q.errors import FileFormatError

N = 12


@pytest.fixture
def folder(write_photos, tmp_path, instances):
    (tmp_path / "annotations").mkdir()
    for part, first in (("train2014", 100), ("val2014", 200)):
        entries = instances(part, first)
        (tmp_path / "annotations" / f"instances_{part}.json").write_text(json.dumps(entries))
        write_photos(tmp_path / part, [image["file_name"] for image in entries["images"]])
    return tmp_path


def test_categories_become_columns_and_images_without_objects_are_left_out(folder):
    dataset = load_dataset("coco", folder)
    assert dataset.class_names == ("person", "car", "brush")
    assert len(dataset) == 2 * (N - 1)
    assert dataset.images.paths[0] == "train2014/COCO_train2014_000000000100.jpg"
    assert dataset.images.paths[-1] == "val2014/COCO_val2014_000000000210.jpg"
    assert dataset.labels[:2].tolist() == [[False, False, True], [True, True, False]]
    assert dataset.images[3].size == (32, 32)
    assert len(np.unique(np.concatenate(list(dataset.folds.values())))) == len(dataset)
    assert coco.SIZES == {"train": 10_000, "query": 5_000, "validation": 5_000}


def test_images_without_objects_are_kept_where_it_is_asked_for(folder):
    dataset = load_dataset("coco", folder, unlabeled="keep")
    assert len(dataset) == 2 * N
    assert not dataset.labels[N - 1].any()
    with pytest.raises(ValueError, match='unlabeled must be "remove" or "keep"; got None'):
        load_dataset("coco", folder, unlabeled=None)


def test_missing_images_and_annotations_are_named(folder):
    (folder / "val2014" / "COCO_val2014_000000000201.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"COCO_val2014_000000000201\.jpg does not exist"):
        load_dataset("coco", folder)
    assert load_dataset("coco", folder, skip_broken=True).n_skipped == 1
    (folder / "annotations" / "instances_val2014.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"instances_val2014\.json does not exist; pass download=True"):
        load_dataset("coco", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.pop("annotations"), "is truncated or no instances file"),
        (lambda entries: entries["images"][0].pop("file_name"), "an entry lacks a field"),
        (lambda entries: entries["annotations"][0].update(image_id=7), "belongs to image 7 and category 90"),
        (lambda entries: entries["annotations"][0].update(category_id=2), "and category 2, of which one is not"),
    ],
)
def test_damaged_annotations_name_the_file(folder, change, message):
    file = folder / "annotations" / "instances_train2014.json"
    entries = json.loads(file.read_text())
    change(entries)
    file.write_text(json.dumps(entries))
    with pytest.raises(FileFormatError, match=rf"instances_train2014\.json.*{message}"):
        load_dataset("coco", folder)
    file.write_text(file.read_text()[:100])
    with pytest.raises(FileFormatError, match=r"instances_train2014\.json is truncated"):
        load_dataset("coco", folder)


def test_an_empty_category_is_named(folder):
    for part in coco.PARTS:
        file = folder / "annotations" / f"instances_{part}.json"
        entries = json.loads(file.read_text())
        entries["categories"].append({"id": 91, "name": "unicorn"})
        file.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="class 'unicorn' has no images"):
        load_dataset("coco", folder)
