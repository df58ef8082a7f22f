"""``h2q demo``: on the sample of real images, and on digits where there are none."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from h2q.demo import run as demo_run
from h2q.demo.data import load_demo_data
from h2q.demo.picture import PictureRow, draw_neighbors

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "cifar10-sample.parquet"


@pytest.fixture
def no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("H2Q_DATA", str(tmp_path))
    return tmp_path


def without_seconds(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in score.items() if key != "fit_seconds"}
        for stage in document["stages"]
        for score in stage["scores"]
    ]


def test_without_images_it_says_so_and_uses_digits(run: Any, no_images: Path) -> None:
    result = run("demo", "-o", "results")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert "No images of CIFAR-10 here" in result.stdout
    assert "handwritten digits" in result.stdout
    for label in ("real-valued", "sign", "random rotation", "ITQ", "H²Q"):
        assert f" {label} " in result.stdout
    assert max(len(line) for line in result.stdout.splitlines() if "│" in line or "─" in line) <= 80
    assert {file.name for file in Path("results").iterdir()} == {"table.md", "results.json", "neighbors.png"}
    table = Path("results/table.md").read_text()
    assert table.count("\n| H²Q |") == 3


def test_json_is_deterministic_and_true(document: Any, no_images: Path) -> None:
    first, second = (document("demo", "--output", folder) for folder in "ab")
    assert without_seconds(first) == without_seconds(second)
    assert Path("a/neighbors.png").read_bytes() == Path("b/neighbors.png").read_bytes()
    assert without_seconds(json.loads(Path("a/results.json").read_text())) == without_seconds(first)
    scores = {(score["quantizer"], score["n_bits"]): score for score in first["stages"][0]["scores"]}
    lengths = {bits for _, bits in scores if bits is not None}
    assert len(lengths) == 3
    for bits in lengths:
        assert scores["H²Q", bits]["quantization_error"] < scores["sign", bits]["quantization_error"]
        assert scores["H²Q", bits]["recall"] > scores["sign", bits]["recall"]
        assert scores["H²Q", bits]["map_embeddings"] > scores["sign", bits]["map_embeddings"] + 0.02
    assert scores["real-valued", None]["recall"] == 1


def test_queries_are_never_fitted_on(no_images: Path) -> None:
    data = load_demo_data()
    folds = [set(rows.tolist()) for rows in data.folds.values()]
    assert sum(map(len, folds)) == len(set.union(*folds))
    stage = demo_run.frozen_stage(data)
    embedded = stage.embed(16, "")
    np.testing.assert_allclose(embedded.train, data.features[data.folds["train"]])
    changed = data.features.copy()
    changed[data.folds["query"]] = np.random.default_rng(0).standard_normal(changed[data.folds["query"]].shape)
    fitted = [contender.make(16, random_state=0).fit(embedded.train) for contender in stage.contenders]
    again = demo_run.frozen_stage(type(data)(**{**vars(data), "features": changed})).embed(16, "")
    for contender, quantizer in zip(stage.contenders, fitted, strict=True):
        other = contender.make(16, random_state=0).fit(again.train)
        np.testing.assert_array_equal(other.projection_, quantizer.projection_)


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ["--full"], "--full needs CIFAR-10, and there is none here: put its train.parquet"),
        (2, ["--output", "file.txt"], "--output: file.txt is a file; expected a folder"),
        (2, ["--seed", "-1"], "Invalid value for '--seed'"),
    ],
)
def test_demo_refuses(exit_code: int, arguments: list[str], message: str, fails: Any, no_images: Path) -> None:
    Path("file.txt").write_text("mine")
    assert message in fails(exit_code, "demo", *arguments)


def test_a_data_folder_that_is_not_there_is_no_reason_for_digits(
    fails: Any, no_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("H2Q_DATA", "nowhere")
    assert "H2Q_DATA names nowhere, which is not a folder" in fails(1, "demo")


def test_full_needs_more_than_the_sample(fails: Any, no_images: Path) -> None:
    shutil.copy(SAMPLE, no_images)
    assert "only a sample of 6,000 was found" in fails(1, "demo", "--full")


def test_all_of_cifar10_gives_the_images_of_the_sample(no_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = next(
        (p for p in (ROOT.parent / "shared" / "data", Path.home() / ".cache" / "h2q") if (p / "cifar10").exists()), None
    )
    if whole is None:
        pytest.skip("all of CIFAR-10 is not here")
    monkeypatch.setattr("h2q.similarity.features.extract_features", _tiny_features)
    monkeypatch.setenv("H2Q_DATA", str(whole))
    of_all = load_demo_data()
    shutil.copy(SAMPLE, no_images)
    monkeypatch.setenv("H2Q_DATA", str(no_images))
    of_sample = load_demo_data()
    np.testing.assert_array_equal(of_all.labels, of_sample.labels)
    for name, rows in of_all.folds.items():
        np.testing.assert_array_equal(rows, of_sample.folds[name])
    np.testing.assert_array_equal(of_all.features, of_sample.features)
    assert {name: len(rows) for name, rows in of_all.folds.items()} == {
        "train": 2000,
        "query": 500,
        "validation": 200,
        "database": 3300,
    }


def _tiny_features(dataset: Any, backbone: str, *, positions: Any) -> Any:
    """The mean colors of the quarters of each image: what a network would take minutes for is not what is tested."""
    rows = range(len(dataset.images)) if positions is None else positions
    pixels = np.stack([np.asarray(dataset.images[int(row)].resize((2, 2))) for row in rows])
    return pixels.reshape(len(pixels), -1).astype(np.float32)


def test_the_picture_marks_what_is_wrong(tmp_path: Path) -> None:
    from PIL import Image

    gray = Image.new("RGB", (32, 32), "#808080")
    rows = [PictureRow(gray, 0, [gray, gray], [0, 1]), PictureRow(gray, 1, [gray, gray], [1, 1])]
    draw_neighbors(tmp_path / "x.png", rows, ["cat", "dog"], "title")
    pixels = np.asarray(Image.open(tmp_path / "x.png").convert("RGB")).astype(int)
    red = (pixels == (0xD6, 0x33, 0x6C)).all(axis=2)
    grey_area = (pixels == 0x80).all(axis=2)
    assert grey_area.sum() == pytest.approx(6 * 96 * 96, rel=0.03)
    marked_rows, marked_columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    # One image is wrong: the last of the first row.
    assert np.ptp(marked_rows) < 140
    assert np.ptp(marked_columns) < 120
    assert marked_columns.min() > pixels.shape[1] / 2
    assert marked_rows.max() < pixels.shape[0] * 0.6


def test_on_real_images_with_both_stages(document: Any, no_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2q.demo.learned.LENGTHS", (16,))
    table = pq.read_table(SAMPLE)
    labels = table["label"].to_numpy()
    few = np.sort(np.concatenate([np.flatnonzero(labels == label)[:60] for label in range(10)]))
    pq.write_table(table.take(few), SAMPLE.name)
    found = document("demo", "--output", "results")
    assert "600 images of CIFAR-10" in found["data"]
    frozen, learned = (
        {(score["quantizer"], score["n_bits"]): score for score in stage["scores"]} for stage in found["stages"]
    )
    for bits in (16, 32, 64, 128):
        assert frozen["H²Q", bits]["map_expected"] > frozen["sign", bits]["map_expected"] + 0.03
        assert frozen["H²Q", bits]["recall"] > frozen["sign", bits]["recall"]
    assert learned["real-valued", None]["map_embeddings"] > frozen["real-valued", None]["map_embeddings"] + 0.1
    assert learned["H²Q", 16]["map_embeddings"] > learned["sign", 16]["map_embeddings"]
    for label in ("sign, L2 penalty", "sign, HSWD", "random rotation", "ITQ", "H²Q l1", "H²Q min_entry"):
        assert 0.1 < learned[label, 16]["map_embeddings"] < 1


def test_without_lightning_stage_one_is_left_out_and_says_so(
    run: Any, no_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = 'Stage one, learning embeddings, is left out: pip install "h2q[learn]"'
    monkeypatch.setattr("h2q.demo.learned.missing_for_learning", lambda: note)
    monkeypatch.setattr("h2q.similarity.features.extract_features", _tiny_features)
    table = pq.read_table(SAMPLE)
    pq.write_table(table.take(np.arange(0, 6000, 10)), SAMPLE.name)
    monkeypatch.setattr("h2q.demo.run.LENGTHS", (8,))
    result = run("demo", "--output", "results")
    assert result.exit_code == 0, result.stderr
    assert note in " ".join(result.stdout.split())
    assert "learned from" not in result.stdout
