import numpy as np
import pytest

from h2q.datasets import load_dataset
from h2q.errors import FileFormatError

SPECIES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross", "004.Groove_billed_Ani")


@pytest.fixture
def folder(write_photos, tmp_path):
    root = tmp_path / "CUB_200_2011"
    paths = [f"{name}/{name[4:]}_{photo:04d}_{photo}.jpg" for name in SPECIES for photo in range(6)]
    write_photos(root / "images", paths)
    (root / "images.txt").write_text("".join(f"{i} {path}\n" for i, path in enumerate(paths, 1)))
    (root / "image_class_labels.txt").write_text("".join(f"{i} {1 + (i - 1) // 6}\n" for i in range(1, 25)))
    (root / "train_test_split.txt").write_text("".join(f"{i} {int(i % 6 < 2)}\n" for i in range(1, 25)))
    (root / "classes.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(SPECIES, 1)))
    return tmp_path


def test_the_official_split_trains_on_the_database(folder):
    dataset = load_dataset("cub-200", folder)
    assert dataset.class_names == SPECIES
    assert dataset.labels.tolist() == [i // 6 for i in range(24)]
    assert dataset.folds["train"].tolist() == [i - 1 for i in range(1, 25) if i % 6 < 2]
    assert np.array_equal(dataset.folds["database"], dataset.folds["train"])
    assert dataset.folds["query"].tolist() == [i - 1 for i in range(1, 25) if i % 6 >= 2]
    assert dataset.images[0].size == (32, 32)


def test_the_zero_shot_split_searches_other_classes(folder):
    dataset = load_dataset("cub-200", folder / "CUB_200_2011", protocol="zero-shot")
    assert dataset.folds["train"].tolist() == list(range(12))
    for fold in ("query", "database"):
        assert np.bincount(dataset.labels[dataset.folds[fold]]).tolist() == [0, 0, 3, 3]
    assert not set(dataset.folds["query"]) & set(dataset.folds["database"])
    with pytest.raises(ValueError, match='protocol must be "official" or "zero-shot"; got \'half\''):
        load_dataset("cub-200", folder, protocol="half")


def test_broken_photos_keep_the_split_of_the_others(folder):
    (folder / "CUB_200_2011" / "images" / SPECIES[0] / "Black_footed_Albatross_0001_1.jpg").write_bytes(b"broken")
    dataset = load_dataset("cub-200", folder, skip_broken=True)
    assert (len(dataset), dataset.n_skipped) == (23, 1)
    assert dataset.folds["train"].tolist() == [i - 2 if i > 2 else i - 1 for i in range(1, 25) if i % 6 < 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("image_class_labels.txt", "1 1\n", r"image_class_labels\.txt must hold a number for each of the 24 images"),
        ("image_class_labels.txt", "".join(f"{i} 9\n" for i in range(1, 25)), r"labels must be 1 to 4"),
        ("train_test_split.txt", "1\n", r"train_test_split\.txt must hold a number and a value on each line; line 1"),
    ],
)
def test_damaged_files_are_named(name, content, message, folder):
    (folder / "CUB_200_2011" / name).write_text(content)
    with pytest.raises(FileFormatError, match=message):
        load_dataset("cub-200", folder)


def test_a_missing_file_is_named(folder):
    (folder / "CUB_200_2011" / "classes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"classes\.txt does not exist\. CUB-200-2011 is at"):
        load_dataset("cub-200", folder)
