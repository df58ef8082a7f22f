import numpy as np
import pytest

from h2q.datasets import load_dataset
from h2q.errors import FileFormatError

# The layout of HashNet's lists: training and database images in image/, test images in val_image/, one-hot labels.
PREFIX = "/home/caozhangjie/run-czj/dataset/imagenet/"
TRAIN = [f"image/n{i:08d}_{i}.JPEG" for i in range(200)]
TEST = [f"val_image/ILSVRC2012_val_{i:08d}.JPEG" for i in range(100)]


def one_hot(i):
    return " ".join("1" if j == i % 100 else "0" for j in range(100))


@pytest.fixture
def folder(write_photos, tmp_path):
    write_photos(tmp_path, TRAIN + TEST)
    for name, paths in (("train", TRAIN[:100]), ("test", TEST), ("database", TRAIN)):
        text = "\n".join(f"{PREFIX}{path} {one_hot(i)}" for i, path in enumerate(paths))
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def paths_of(dataset):
    return {fold: [dataset.images.paths[i] for i in positions] for fold, positions in dataset.folds.items()}


def test_the_database_is_the_published_list_unless_overlaps_are_removed(folder):
    folds = paths_of(load_dataset("imagenet-100", folder))
    assert folds["database"] == TRAIN
    assert folds["train"] == TRAIN[:100]
    with pytest.raises(TypeError, match="imagenet-100 has no option overlaps; it has overlap"):
        load_dataset("imagenet-100", folder, overlaps="keep")


@pytest.mark.parametrize("layout", ["flat", "official", "validation by synset", "kaggle"])
def test_other_layouts_of_imagenet_are_found(layout, folder):
    for path in TRAIN + TEST:
        name = path.split("/")[1]
        synset = name.split("_")[0] if path in TRAIN else "n00000000"
        target = {
            "flat": f"images/{name}",
            "official": f"train/{synset}/{name}" if path in TRAIN else f"val/{name}",
            "validation by synset": f"train/{synset}/{name}" if path in TRAIN else f"val/{synset}/{name}",
            "kaggle": f"ILSVRC/Data/CLS-LOC/train/{synset}/{name}"
            if path in TRAIN
            else f"ILSVRC/Data/CLS-LOC/val/{name}",
        }[layout]
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).rename(folder / target)
    dataset = load_dataset("imagenet-100", folder)
    names = {fold: [path.rsplit("/")[-1] for path in paths] for fold, paths in paths_of(dataset).items()}
    assert names["database"] == [path.split("/")[1] for path in TRAIN]
    assert names["query"] == [path.split("/")[1] for path in TEST[0::2]]
    assert dataset.images[0].size == (32, 32)


def test_the_test_list_alternates_and_the_database_excludes_the_other_folds(folder):
    dataset = load_dataset("imagenet-100", folder, overlap="remove")
    assert dataset.labels.dtype == np.int64
    assert (dataset.n_classes, dataset.labels.max()) == (100, 99)
    assert paths_of(dataset) == {
        "train": TRAIN[:100],
        "query": TEST[0::2],
        "validation": TEST[1::2],
        "database": TRAIN[100:],
    }
    assert dataset.labels[dataset.folds["query"]].tolist() == list(range(0, 100, 2))


def test_two_classes_for_one_image_are_refused(folder):
    lines = (folder / "test.txt").read_text().splitlines()
    lines[3] = lines[3][: -len(one_hot(3))] + "1 " + one_hot(3)[2:]
    (folder / "test.txt").write_text("\n".join(lines))
    with pytest.raises(FileFormatError, match=r"ILSVRC2012_val_00000003\.JPEG has 2 classes, but one was expected"):
        load_dataset("imagenet-100", folder)


def test_it_says_that_it_cannot_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("H2Q_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no imagenet-100 in .*registered users"):
        load_dataset("imagenet-100")
    with pytest.raises(ValueError, match=r"ImageNet can only be downloaded by registered users"):
        load_dataset("imagenet-100", download=True)
