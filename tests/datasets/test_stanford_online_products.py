import numpy as np
import pytest

from h2q.datasets import load_dataset
from h2q.errors import FileFormatError

HEADER = "image_id class_id super_class_id path\n"


@pytest.fixture
def folder(write_photos, tmp_path):
    root = tmp_path / "Stanford_Online_Products"
    number = 0
    for part, products, super_class in (("train", (1, 2, 3), "bicycle"), ("test", (11319, 11320), "cabinet")):
        lines = []
        for product in products:
            for photo in range(5):
                number += 1
                lines.append(f"{number} {product} 1 {super_class}_final/{110000000000 + product}_{photo}.JPG\n")
        root.mkdir(exist_ok=True)
        (root / f"Ebay_{part}.txt").write_text(HEADER + "".join(lines))
        write_photos(root, [line.split()[3] for line in lines])
    return tmp_path


def test_test_products_are_not_trained_on_and_are_half_queries(folder):
    dataset = load_dataset("stanford-online-products", folder)
    assert len(dataset) == 25
    assert dataset.class_names[-1] == "product 11320"
    assert {fold: len(p) for fold, p in dataset.folds.items()} == {
        "train": 15, "query": 4, "validation": 0, "database": 6,
    }  # fmt: skip
    assert dataset.labels[dataset.folds["train"]].max() == 2
    assert np.bincount(dataset.labels[dataset.folds["query"]]).tolist() == [0, 0, 0, 2, 2]
    again = load_dataset("stanford-online-products", folder / "Stanford_Online_Products")
    assert np.array_equal(again.folds["query"], dataset.folds["query"])
    other = load_dataset("stanford-online-products", folder, random_state=1)
    assert not np.array_equal(other.folds["query"], dataset.folds["query"])


def test_missing_photos_are_left_out_of_their_fold(folder):
    next(folder.rglob("110000000001_3.JPG")).unlink()
    with pytest.raises(FileNotFoundError, match=r"110000000001_3\.JPG does not exist"):
        load_dataset("stanford-online-products", folder)
    dataset = load_dataset("stanford-online-products", folder, skip_broken=True)
    assert (len(dataset.folds["train"]), dataset.n_skipped) == (14, 1)
    assert np.bincount(dataset.labels[dataset.folds["train"]]).tolist() == [4, 5, 5]


def test_damaged_lists_are_named(folder, tmp_path):
    file = folder / "Stanford_Online_Products" / "Ebay_test.txt"
    file.write_text(HEADER + "16 11319 7\n")
    with pytest.raises(FileFormatError, match=r"Ebay_test\.txt, line 2: expected image_id class_id super_class_id"):
        load_dataset("stanford-online-products", folder)
    file.write_text("16 11319 7 a.JPG\n")
    with pytest.raises(FileFormatError, match=r"Ebay_test\.txt must begin with the line 'image_id class_id"):
        load_dataset("stanford-online-products", folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"Ebay_test\.txt does not exist\. Stanford Online Products is at"):
        load_dataset("stanford-online-products", folder)
