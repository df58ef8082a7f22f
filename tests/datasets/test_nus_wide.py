import numpy as np
import pytest

from h2q.datasets import load_dataset, nus_wide
from h2q.errors import FileFormatError

# The layout of the source: backslashes in the list, one file of 0 and 1 for each concept, images in Flickr/.
NAMES = [f"{'actor' if i % 2 else 'airport'}/{i:04d}_{2124494179 + i}.jpg" for i in range(60)]
CONCEPTS = {"sky": 2, "clouds": 3, "zebra": 30, "water": 5}


@pytest.fixture
def folder(write_photos, tmp_path):
    write_photos(tmp_path / "Flickr", NAMES)
    (tmp_path / "ImageList").mkdir()
    (tmp_path / "ImageList" / "Imagelist.txt").write_text("".join(name.replace("/", "\\") + "\r\n" for name in NAMES))
    (tmp_path / "Groundtruth" / "AllLabels").mkdir(parents=True)
    for concept, step in CONCEPTS.items():
        column = "".join(f"{int(i % step == 0)}\n" for i in range(60))
        (tmp_path / "Groundtruth" / "AllLabels" / f"Labels_{concept}.txt").write_text(column)
    return tmp_path


def test_frequent_concepts_are_kept_and_images_without_any_left_out(folder):
    dataset = nus_wide.load(folder, min_images=12)
    assert dataset.class_names == ("clouds", "sky", "water")
    kept = [i for i in range(60) if i % 2 == 0 or i % 3 == 0 or i % 5 == 0]
    assert dataset.images.paths == [NAMES[i] for i in kept]
    assert dataset.labels.tolist() == [[i % 3 == 0, i % 2 == 0, i % 5 == 0] for i in kept]
    assert dataset.images[0].size == (32, 32)
    assert len(np.unique(np.concatenate(list(dataset.folds.values())))) == len(dataset)


def test_the_papers_sizes(folder):
    assert (nus_wide.SIZES, nus_wide.MIN_IMAGES) == ({"train": 10_500, "query": 2_100, "validation": 2_100}, 5_000)
    folds = nus_wide.load(folder, min_images=12).folds
    assert {fold: len(positions) for fold, positions in folds.items()} == {
        "train": 2, "query": 1, "validation": 1, "database": 40,
    }  # fmt: skip


def test_too_few_of_every_concept_is_an_error(folder):
    with pytest.raises(FileFormatError, match=r"has no Labels_<concept>\.txt with at least 5000 images"):
        load_dataset("nus-wide", folder)


def test_a_wrong_number_of_labels_names_the_file(folder):
    file = folder / "Groundtruth" / "AllLabels" / "Labels_sky.txt"
    file.write_text(file.read_text()[:-2])
    with pytest.raises(FileFormatError, match=r"Labels_sky\.txt has 59 labels, but .*Imagelist\.txt lists 60 images"):
        nus_wide.load(folder, min_images=12)
    file.write_text("2\n" * 60)
    with pytest.raises(FileFormatError, match=r"Labels_sky\.txt must hold 0 or 1 on each line; got '2'"):
        nus_wide.load(folder, min_images=12)


def test_missing_images_are_named_or_skipped(folder):
    (folder / "Flickr" / NAMES[6]).unlink()
    with pytest.raises(FileNotFoundError, match=r"0006_2124494185\.jpg does not exist: .*Imagelist\.txt"):
        nus_wide.load(folder, min_images=12)
    assert nus_wide.load(folder, min_images=12, skip_broken=True).n_skipped == 1


def test_it_says_how_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"Imagelist\.txt does not exist\. NUS-WIDE cannot be downloaded"):
        load_dataset("nus-wide", tmp_path)
    monkeypatch.setenv("H2Q_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="NUS-WIDE cannot be downloaded by program"):
        load_dataset("nus-wide", download=True)
