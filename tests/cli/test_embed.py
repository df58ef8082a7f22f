"""``h2q embed`` on real images, from arguments to a file that loads."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from h2q.cli import build_app
from h2q.datasets import load_dataset
from h2q.similarity.features import extract_features

pytest.importorskip("torch")

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "cifar10-sample.parquet"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("H2Q_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, row in enumerate(pq.read_table(SAMPLE).slice(0, 12).to_pylist()):
        (folder / f"{i:02d}.jpg").write_bytes(row["img"]["bytes"])
    return folder


def run(*arguments):
    return CliRunner().invoke(build_app(), ["embed", *(str(argument) for argument in arguments)])


def test_a_folder_of_images_gives_its_features_in_the_order_of_names(photos, tmp_path):
    done = run(photos, "-o", tmp_path / "x.npy", "--image-size", 32)
    assert done.exit_code == 0, done.output
    assert "images      12" in done.stdout
    from PIL import Image

    expected = extract_features([Image.open(path) for path in sorted(photos.iterdir())], image_size=32)
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, atol=1e-5)
    done = run(photos, "-o", tmp_path / "x.npz", "--image-size", 32, "--json")
    result = json.loads(done.stdout)
    assert (result["images"], result["dimensions"], result["skipped"]) == (12, 1280, 0)
    assert np.load(tmp_path / "x.npz")["paths"].tolist() == [f"{i:02d}.jpg" for i in range(12)]


def test_broken_images_are_named_or_skipped_and_counted(photos, tmp_path):
    (photos / "03.jpg").write_bytes(b"broken")
    done = run(photos, "-o", tmp_path / "x.npy", "--image-size", 32)
    assert done.exit_code == 1
    assert "03.jpg does not decode" in done.output
    assert "--skip-broken" in done.output
    assert not (tmp_path / "x.npy").exists()
    done = run(photos, "-o", tmp_path / "x.npy", "--image-size", 32, "--skip-broken")
    assert "skipped     1" in done.stdout
    assert np.load(tmp_path / "x.npy").shape == (11, 1280)


def test_sub_folders_are_classes_and_folds_go_with_the_embeddings(photos, tmp_path):
    for name in ("cat", "dog"):
        shutil.copytree(photos, tmp_path / "classes" / name)
    done = run(tmp_path / "classes", "-o", tmp_path / "x.npz", "--image-size", 32, "--seed", 3)
    assert done.exit_code == 0, done.output
    stored, dataset = np.load(tmp_path / "x.npz"), load_dataset(tmp_path / "classes", random_state=3)
    assert stored["embeddings"].shape == (24, 1280)
    assert stored["labels"].tolist() == [0] * 12 + [1] * 12
    assert all(np.array_equal(stored[fold], positions) for fold, positions in dataset.folds.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch", "-o", "x.npy"], "'nosuch' is neither a data set"),
        (["digits", "-o", "x.csv"], ".npy or .npz; got x.csv"),
        (["digits", "-o", "x.npy", "--backbone", "nosuch"], "backbone must be"),
        (["digits", "-o", "x.npy", "--hasher", "nosuch"], "there is no hasher at nosuch"),
    ],
)
def test_mistakes_are_named(arguments, message):
    done = run(*arguments)
    assert done.exit_code in (1, 2)
    assert message in done.output
