import numpy as np
import pyarrow.parquet as pq
import pytest

from h2q.datasets import load_dataset


@pytest.fixture
def folder(sample_file, tmp_path):
    """The sample as the hub has the data set: 5,000 images to train and 1,000 to test."""
    table = pq.read_table(sample_file)
    order = np.argsort(table["label"].to_numpy(), kind="stable")
    is_test = np.zeros(len(order), dtype=bool)
    is_test[order.reshape(10, -1)[:, :100].ravel()] = True
    pq.write_table(table.filter(~is_test), tmp_path / "train-00000-of-00001.parquet")
    pq.write_table(table.filter(is_test), tmp_path / "test-00000-of-00001.parquet")
    return tmp_path


def test_the_database_of_59000_is_all_but_the_queries(folder):
    usual, dataset = (load_dataset(name, folder, random_state=2) for name in ("cifar10", "cifar10-59000"))
    assert dataset.name == "cifar10-59000"
    assert dataset.fingerprint == usual.fingerprint
    for fold in ("train", "query", "validation"):
        assert np.array_equal(dataset.folds[fold], usual.folds[fold])
    assert len(dataset.folds["database"]) == 5_900
    assert not set(dataset.folds["query"]) & set(dataset.folds["database"])
    assert set(dataset.folds["train"]) < set(dataset.folds["database"])


def test_the_database_of_50000_is_the_official_training_set(folder):
    dataset = load_dataset("cifar10-50000", folder)
    assert {fold: len(positions) for fold, positions in dataset.folds.items()} == {
        "train": 5_000, "query": 1_000, "validation": 0, "database": 5_000,
    }  # fmt: skip
    assert "test-00000" in dataset.images.describe(int(dataset.folds["query"][0]))
    assert np.bincount(dataset.labels[dataset.folds["query"]]).tolist() == [100] * 10


def test_original_batches_say_which_images_are_the_test_set(write_batches, sample_file, tmp_path):
    sample = load_dataset("cifar10", sample_file)
    images, labels = [sample.images[i] for i in range(60)], sample.labels[:60]
    write_batches(tmp_path / "cifar-10-batches-py", images, labels)
    from h2q.datasets.cifar10 import load_images

    assert load_images(tmp_path, skip_broken=False).is_test.tolist() == [False] * 50 + [True] * 10


def test_the_sample_has_no_official_test_set(sample_file):
    assert len(load_dataset("cifar10-59000", sample_file).folds["database"]) == 5_900
    with pytest.raises(ValueError, match="does not say which images are the official test set"):
        load_dataset("cifar10-50000", sample_file)
