"""``h2q embed`` on real images, from arguments to a file that loads."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
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


def arrays_of(path):
    with np.load(path) as stored:
        return dict(stored)


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
    assert arrays_of(tmp_path / "x.npz")["paths"].tolist() == [f"{i:02d}.jpg" for i in range(12)]


def test_broken_images_are_named_or_skipped_and_counted(photos, tmp_path):
    (photos / "03.jpg").write_bytes(b"broken")
    done = run(photos, "-o", tmp_path / "x.npy", "--image-size", 32)
    assert done.exit_code == 1
    assert "03.jpg does not decode" in done.output
    assert "--skip-broken" in done.output
    assert not (tmp_path / "x.npy").exists()
    done = run(photos, "-o", tmp_path / "x.npy", "--image-size", 32, "--skip-broken")
    assert f"skipped     1: {photos / '03.jpg'} (does not decode)" in done.stdout
    assert np.load(tmp_path / "x.npy").shape == (11, 1280)


def test_sub_folders_are_classes_and_folds_go_with_the_embeddings(photos, tmp_path):
    for name in ("cat", "dog"):
        shutil.copytree(photos, tmp_path / "classes" / name)
    done = run(tmp_path / "classes", "-o", tmp_path / "x.npz", "--image-size", 32, "--seed", 3)
    assert done.exit_code == 0, done.output
    stored, dataset = arrays_of(tmp_path / "x.npz"), load_dataset(tmp_path / "classes", random_state=3)
    assert stored["embeddings"].shape == (24, 1280)
    assert stored["labels"].tolist() == [0] * 12 + [1] * 12
    assert all(np.array_equal(stored[fold], positions) for fold, positions in dataset.folds.items())
    assert stored["class_names"].tolist() == ["cat", "dog"]


def test_a_folder_of_any_shape_is_embedded_whole(photos, tmp_path):
    album = tmp_path / "album"
    for place in ("2023/may", "2023/june", "2024"):
        (album / place).mkdir(parents=True)
        shutil.copy(photos / "00.jpg", album / place / "a.jpg")
    shutil.copy(photos / "01.jpg", album / "loose.jpg")
    (album / "notes.txt").write_text("hello")
    (album / "._loose.jpg").write_bytes(b"resource fork")
    result = json.loads(run(album, "-o", tmp_path / "x.npz", "--image-size", 32, "--json").stdout)
    assert (result["images"], result["arrays"]) == (4, ["embeddings", "paths"])
    assert (result["skipped"], result["other_files"]) == (0, [str(album / "notes.txt")])
    assert arrays_of(tmp_path / "x.npz")["paths"].tolist() == [
        "2023/june/a.jpg", "2023/may/a.jpg", "2024/a.jpg", "loose.jpg",
    ]  # fmt: skip
    (album / "loose.jpg").unlink()
    done = run(album, "-o", tmp_path / "x.npz", "--image-size", 32)
    assert "arrays      embeddings, paths, labels, class_names" in done.stdout
    assert "no images   1 other file(s) (.txt 1)" in done.stdout
    assert arrays_of(tmp_path / "x.npz")["labels"].tolist() == [0, 0, 1]


def test_one_image_is_embedded_not_read_as_a_list(photos, tmp_path):
    done = run(photos / "03.jpg", "-o", tmp_path / "x.npy", "--image-size", 32)
    assert done.exit_code == 0, done.output
    expected = extract_features([photos / "03.jpg"], image_size=32)
    assert np.array_equal(np.load(tmp_path / "x.npy"), expected)


def test_a_photo_tagged_as_rotated_has_the_embedding_of_the_upright_one(photos, tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(photos / "00.jpg")
    for name, image, tag in (("upright", upright, None), ("tagged", upright.rotate(90, expand=True), exif)):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "x.png", **({} if tag is None else {"exif": tag}))
        run(tmp_path / name, "-o", tmp_path / f"{name}.npy", "--image-size", 64)
    assert np.array_equal(np.load(tmp_path / "upright.npy"), np.load(tmp_path / "tagged.npy"))


def test_a_folder_without_images_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("x")
    done = run(tmp_path / "empty", "-o", tmp_path / "x.npy")
    assert done.exit_code == 1
    assert "holds no images (.avif, .bmp," in done.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped_leaves_no_debris(number, code, photos, tmp_path):
    for i in range(1500):
        shutil.copy(photos / f"{i % 12:02d}.jpg", photos / f"copy-{i}.jpg")
    command = [sys.executable, "-c", "from h2q.cli import main; main()", "embed", str(photos), "-o", "x.npy"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    features = Path(os.environ["H2Q_CACHE"]) / "features"
    while not list(features.glob("*.parts/lock")):
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code
    assert errors == {143: "terminated\n", 130: "interrupted\n"}[code]
    assert [path.name for path in features.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "x.npy").exists()


def test_options_of_a_data_set_are_passed_on(photos, tmp_path):
    (photos / "all.txt").write_text("".join(f"{i:02d}.jpg {i % 2}\n" for i in range(12)))
    done = run(photos / "all.txt", "-o", tmp_path / "x.npz", "--image-size", 32)
    assert "--data-option labels=class-ids" in done.output
    done = run(photos / "all.txt", "-o", tmp_path / "x.npz", "--image-size", 32, "--data-option", "labels=class-ids")
    assert done.exit_code == 0, done.output
    assert arrays_of(tmp_path / "x.npz")["labels"].tolist() == [0, 1] * 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch", "-o", "x.npy"], "'nosuch' is neither a data set"),
        (["nosuch.png", "-o", "x.npy"], "there is no file or folder nosuch.png"),
        (["digits", "-o", "x.npy", "--data-option", "overlap"], "expected NAME=VALUE; got 'overlap'"),
        (["digits", "-o", "x.npy", "--data-option", "overlap=keep"], "digits has no option overlap; it has none"),
        (["digits", "-o", "x.csv"], ".npy or .npz; got x.csv"),
        (["digits", "-o", "x.npy", "--backbone", "nosuch"], "backbone must be"),
        (["digits", "-o", "x.npy", "--hasher", "nosuch"], "there is no hasher at nosuch"),
    ],
)
def test_mistakes_are_named(arguments, message):
    done = run(*arguments)
    assert done.exit_code in (1, 2)
    assert message in done.output
