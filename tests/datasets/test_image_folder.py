import numpy as np
import pytest

from h2q.datasets import BrokenImageError, load_dataset
from h2q.datasets.image_folder import find_images


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
    assert skipped.skipped == (f"{folder / 'dog/3.jpg'} (does not decode)",)
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


def test_images_beside_the_classes_are_named_or_skipped(folder, write_photos):
    write_photos(folder, ["loose.jpg"])
    with pytest.raises(ValueError, match=r"loose\.jpg is in no sub-folder, so it has no class \(1 such image"):
        load_dataset(folder)
    assert load_dataset(folder, skip_broken=True).skipped == (str(folder / "loose.jpg"),)


def test_hidden_files_and_folders_are_ignored(folder, write_photos):
    before = find_images(folder)
    assert before.other_files == ["cat/notes.txt"]
    write_photos(folder, ["cat/._0.jpg", ".cache/1.jpg", "__MACOSX/cat/0.jpg", "cat/@eaDir/0.jpg"])
    assert find_images(folder) == before
    assert load_dataset(folder).class_names == ("cat", "dog")


def test_the_files_of_a_folder_are_consecutive(write_photos, tmp_path):
    write_photos(tmp_path, ["a/1.jpg", "a-b/1.jpg", "a/b/2.jpg", "0.jpg"])
    assert find_images(tmp_path).paths == ["0.jpg", "a/1.jpg", "a/b/2.jpg", "a-b/1.jpg"]


def test_links_are_followed_and_loops_end(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "9.jpg").write_bytes((folder / "cat" / "0.jpg").read_bytes())
    (folder / "cat" / "album").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    paths = find_images(folder).paths
    assert "cat/album/9.jpg" in paths
    assert len(paths) == 22


def test_heif_files_are_refused_before_any_work_or_skipped_where_pillow_heif_is_missing(folder, monkeypatch):
    import sys

    from h2q.datasets.images import has_heif
    from h2q.errors import MissingDependencyError

    (folder / "cat" / "z.HEIC").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    has_heif.cache_clear()
    try:
        with pytest.raises(MissingDependencyError, match=r"z\.HEIC is a HEIF image \(1 of 22 are\): .*skip_broken"):
            load_dataset(folder)
        assert load_dataset(folder, skip_broken=True).skipped == (f"{folder / 'cat/z.HEIC'} (needs pillow-heif)",)
    finally:
        has_heif.cache_clear()
