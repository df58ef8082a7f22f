import pytest

from h2q.datasets import cache_folder, data_folder, find_data, search_folders
from h2q.datasets.locations import checkout


def test_the_named_folder_alone_is_searched(tmp_path, monkeypatch):
    monkeypatch.setenv("H2Q_DATA", str(tmp_path))
    (tmp_path / "found.csv").write_text("x")
    assert search_folders() == (tmp_path,)
    assert data_folder() == tmp_path
    assert find_data("found.csv") == tmp_path / "found.csv"
    assert find_data("cifar10-sample.parquet") is None


def test_a_named_folder_that_is_missing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("H2Q_DATA", str(tmp_path / "typo"))
    with pytest.raises(FileNotFoundError, match=r"H2Q_DATA names .*typo, which is not a folder"):
        search_folders()
    with pytest.raises(FileNotFoundError, match="H2Q_DATA"):
        data_folder()


def test_without_it_the_home_folder_comes_before_the_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("H2Q_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / ".cache" / "h2q" not in search_folders()
    (tmp_path / ".cache" / "h2q").mkdir(parents=True)
    folders = search_folders()
    assert folders[0] == tmp_path / ".cache" / "h2q"
    assert folders[-1] == checkout() / "data"


def test_an_installed_package_has_no_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("H2Q_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("h2q.datasets.locations.__file__", str(tmp_path / "lib" / "h2q" / "datasets" / "locations.py"))
    assert checkout() is None
    assert search_folders() == ()
    assert data_folder() == tmp_path / ".cache" / "h2q"


def test_the_cache_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("H2Q_CACHE", str(tmp_path / "a" / "b"))
    assert cache_folder() == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()
