import numpy as np
import pytest

from h2q.datasets import BrokenImageError, load_dataset


@pytest.fixture
def folder(write_photos, tmp_path):
    write_photos(tmp_path, [f"{name}/{i}.jpg" for name in ("cat", "dog") for i in range(10)] + ["cat/more/x.JPEG"])
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_sub_folder_is_a_class(folder):
    dataset = load_dataset(folder)
    assert dataset.class_names == ("cat", "dog")
    assert np.bincount(dataset.labels).tolist() == [11, 10]
    assert dataset.images.paths[10] == "cat/more/x.JPEG"
    assert dataset.images[20].size == (32, 32)
    assert {fold: len(p) for fold, p in dataset.folds.items()} == {
        "train": 8, "query": 2, "validation": 2, "database": 9,
    }  # fmt: skip
    assert np.array_equal(load_dataset(folder).folds["train"], dataset.folds["train"])


def test_fold_sizes_can_be_counts(folder):
    folds = load_dataset(folder, fold_sizes={"train": 5, "query": 0, "validation": 1}).folds
    assert {fold: len(p) for fold, p in folds.items()} == {"train": 10, "query": 0, "validation": 2, "database": 9}
    with pytest.raises(ValueError, match=r"class 'cat': 11 images cannot be split into 9 train, 1 query, 1 validation"):
        load_dataset(folder, fold_sizes={"train": 9, "query": 1, "validation": 1})
    with pytest.raises(ValueError, match=r"fold_sizes must have train, query, validation; got train"):
        load_dataset(folder, fold_sizes={"train": 9})


def test_an_empty_class_is_named_or_skipped(folder):
    (folder / "owl").mkdir()
    (folder / "owl" / "readme.txt").write_text("soon")
    with pytest.raises(ValueError, match=r"class folder .*owl holds no images"):
        load_dataset(folder)
    assert load_dataset(folder, skip_broken=True).class_names == ("cat", "dog")


def test_broken_images_are_named_or_skipped_and_counted(folder):
    (folder / "dog" / "3.jpg").write_bytes(b"broken")
    dataset = load_dataset(folder)
    position = dataset.images.paths.index("dog/3.jpg")
    with pytest.raises(BrokenImageError, match=r"dog/3\.jpg does not decode"):
        dataset.images[position]
    skipped = load_dataset(folder, skip_broken=True)
    assert (len(skipped), skipped.n_skipped) == (20, 1)
    assert "dog/3.jpg" not in skipped.images.paths
    assert np.bincount(skipped.labels).tolist() == [11, 9]


def test_a_class_of_nothing_but_broken_images_is_named(folder, write_photos):
    (folder / "owl").mkdir()
    (folder / "owl" / "0.jpg").write_bytes(b"broken")
    with pytest.raises(ValueError, match="class 'owl' has no images"):
        load_dataset(folder, skip_broken=True)


def test_a_folder_without_classes_says_what_was_expected(tmp_path):
    with pytest.raises(ValueError, match="has no sub-folders; expected one sub-folder of images for each class"):
        load_dataset(tmp_path)
