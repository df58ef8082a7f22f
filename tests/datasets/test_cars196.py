import numpy as np
import pytest
from scipy.io import savemat

from h2q.datasets import load_dataset
from h2q.errors import FileFormatError

MODELS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012", "Acura TL Type-S 2008"]
BOX = [("bbox_x1", "i4"), ("bbox_y1", "i4"), ("bbox_x2", "i4"), ("bbox_y2", "i4")]


def annotations(rows, fields):
    """A MATLAB structure array, as the published files have it."""
    table = np.zeros((1, len(rows)), dtype=[(name, object) for name in fields])
    for i, row in enumerate(rows):
        for name, value in zip(fields, row, strict=True):
            table[name][0, i] = value
    return table


def class_names():
    return np.array([MODELS], dtype=object)


@pytest.fixture(params=["one file", "devkit"])
def folder(request, write_photos, tmp_path):
    box = [1, 2, 30, 31]
    if request.param == "one file":
        rows = [[f"car_ims/{i + 1:06d}.jpg", *box, 1 + i // 6, int(i % 6 >= 3)] for i in range(24)]
        fields = ["relative_im_path", *(name for name, _ in BOX), "class", "test"]
        savemat(tmp_path / "cars_annos.mat", {"annotations": annotations(rows, fields), "class_names": class_names()})
        write_photos(tmp_path, [row[0] for row in rows])
        return tmp_path
    fields = [*(name for name, _ in BOX), "class", "fname"]
    (tmp_path / "devkit").mkdir()
    for place, file in (("cars_train", "devkit/cars_train_annos.mat"), ("cars_test", "cars_test_annos_withlabels.mat")):
        rows = [[*box, 1 + i // 3, f"{i + 1:05d}.jpg"] for i in range(12)]
        savemat(tmp_path / file, {"annotations": annotations(rows, fields)})
        write_photos(tmp_path / place, [row[-1] for row in rows])
    savemat(tmp_path / "devkit" / "cars_meta.mat", {"class_names": class_names()})
    return tmp_path


def test_both_releases_give_the_official_split(folder):
    dataset = load_dataset("cars-196", folder)
    assert dataset.class_names == tuple(MODELS)
    assert np.array_equal(dataset.folds["database"], dataset.folds["train"])
    for fold in ("train", "query"):
        assert np.bincount(dataset.labels[dataset.folds[fold]]).tolist() == [3] * 4
    assert dataset.images[23].size == (32, 32)


def test_the_zero_shot_split_searches_other_classes(folder):
    dataset = load_dataset("cars-196", folder, protocol="zero-shot")
    assert set(dataset.labels[dataset.folds["train"]]) == {0, 1}
    for fold in ("query", "database"):
        assert np.bincount(dataset.labels[dataset.folds[fold]]).tolist() == [0, 0, 3, 3]


def test_missing_and_damaged_files_are_named(folder, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match=r"cars_train_annos\.mat does not exist\. Cars-196 was at"):
        load_dataset("cars-196", tmp_path_factory.mktemp("empty"))
    file = next(folder.rglob("*annos.mat"))
    savemat(file, {"annotations": annotations([[1]], ["class"]), "class_names": class_names()})
    with pytest.raises(FileFormatError, match="lacks the field"):
        load_dataset("cars-196", folder)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FileFormatError, match=r"annos\.mat is not a MATLAB file with annotations"):
        load_dataset("cars-196", folder)
