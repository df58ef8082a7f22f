import shutil

import numpy as np
import pytest

from h2q.datasets import DATASETS, load_dataset


def test_the_digits_work_without_any_data(tmp_path, monkeypatch):
    monkeypatch.setenv("H2Q_DATA", str(tmp_path))
    dataset = load_dataset("digits", random_state=5)
    assert np.asarray(dataset.images[0]).shape == (8, 8, 3)
    assert np.asarray(dataset.images[0]).max() == round(15 * 255 / 16)
    assert np.bincount(dataset.labels[dataset.folds["train"]]).tolist() == [50] * 10


def test_cifar10_is_the_sample_where_there_is_nothing_more(tmp_path, monkeypatch, sample_file):
    monkeypatch.setenv("H2Q_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no cifar10 in .*cifar10; pass download=True to fetch it"):
        load_dataset("cifar10")
    shutil.copy(sample_file, tmp_path)
    assert len(load_dataset("cifar10")) == 6_000
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no CIFAR-10"):
        load_dataset("cifar10")


def test_unknown_names_and_roots_say_what_there_is(tmp_path):
    with pytest.raises(ValueError, match=r"'cifar-10' is neither a data set \(cifar10, .*digits\) nor a folder"):
        load_dataset("cifar-10")
    with pytest.raises(FileNotFoundError, match=r"typo holds no CIFAR-10"):
        load_dataset("cifar10", tmp_path / "typo")
    with pytest.raises(ValueError, match="fold_sizes is for folders and list files of your own"):
        load_dataset("digits", fold_sizes={"train": 1})
    with pytest.raises(TypeError, match="random_state must be a whole number"):
        load_dataset("digits", random_state=0.5)
    with pytest.raises(TypeError, match="digits has no option overlap; it has none"):
        load_dataset("digits", overlap="keep")
    assert DATASETS[:4] == ("cifar10", "nus-wide", "coco", "imagenet-100")
    assert DATASETS[-1] == "digits"


def test_data_sets_refuse_labels_and_folds_that_do_not_fit():
    from dataclasses import replace

    digits = load_dataset("digits")
    with pytest.raises(ValueError, match="1797 images, but 3 rows of labels"):
        replace(digits, labels=digits.labels[:3])
    with pytest.raises(ValueError, match="folds must be train, query, validation, database; got train"):
        replace(digits, folds={"train": digits.folds["train"]})
