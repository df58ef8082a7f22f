import numpy as np
import pytest

from h2q.datasets import load_dataset
from h2q.errors import FileFormatError

# As mirflickr25k_annotations_v080.zip has them: the numbers of the images with a label; _r1 are the stricter labels.
ANNOTATIONS = {
    "animals": range(1, 31, 2),
    "baby": [2, 3],
    "baby_r1": [2],
    "sky": range(4, 41),
}


@pytest.fixture(params=["as unpacked", "flat"])
def folder(request, write_photos, tmp_path):
    unpacked = request.param == "as unpacked"
    write_photos(tmp_path / ("mirflickr" if unpacked else "."), [f"im{i}.jpg" for i in range(1, 46)])
    labels = tmp_path / ("mirflickr25k_annotations_v080" if unpacked else ".")
    labels.mkdir(exist_ok=True)
    (labels / "README.txt").write_text("MIRFLICKR-25000 annotations\n")
    for name, numbers in ANNOTATIONS.items():
        (labels / f"{name}.txt").write_text("".join(f"{number}\r\n" for number in numbers))
    return tmp_path


def numbers_of(dataset, positions):
    return [int(dataset.images.paths[i][2:-4]) for i in positions]


def test_labels_are_the_files_and_unlabeled_images_are_left_out(folder):
    dataset = load_dataset("mirflickr-25k", folder)
    assert dataset.class_names == ("animals", "baby", "sky")
    assert numbers_of(dataset, range(len(dataset))) == list(range(1, 41))
    for name, column in zip(dataset.class_names, dataset.labels.T, strict=True):
        assert numbers_of(dataset, np.flatnonzero(column)) == list(ANNOTATIONS[name])
    assert load_dataset("mirflickr-25k", folder, annotations="all").class_names == tuple(ANNOTATIONS)
    assert dataset.images[3].size == (32, 32)


def test_training_images_are_in_the_database_or_not(folder):
    keep, remove = (load_dataset("mirflickr-25k", folder, overlap=overlap).folds for overlap in ("keep", "remove"))
    assert np.array_equal(keep["database"], np.union1d(remove["database"], remove["train"]))
    assert sum(len(positions) for positions in remove.values()) == 40
    assert len(remove["train"]) == 8
    assert not set(keep["database"]) & (set(keep["query"]) | set(keep["validation"]))


def test_what_is_missing_or_damaged_is_named(folder, tmp_path_factory):
    with pytest.raises(ValueError, match='overlap must be "keep" or "remove"; got \'no\''):
        load_dataset("mirflickr-25k", folder, overlap="no")
    next(folder.rglob("sky.txt")).write_text("4\nfive\n")
    with pytest.raises(FileFormatError, match=r"sky\.txt must hold the number of an image on each line; got 'five'"):
        load_dataset("mirflickr-25k", folder)
    with pytest.raises(FileNotFoundError, match=r"holds no im\*\.jpg\. MIRFlickr-25k is at press\.liacs\.nl"):
        load_dataset("mirflickr-25k", tmp_path_factory.mktemp("empty"))
