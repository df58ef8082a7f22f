"""``h2q demo``: on the sample of real images, and on digits where there are none."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from h2q.demo.data import load_demo_data
from h2q.demo.output import say_results
from h2q.demo.run import run_stage
from h2q.demo.stages import frozen_stage, learned_stage

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "cifar10-sample.parquet"


@pytest.fixture
def no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("H2Q_DATA", str(tmp_path))
    return tmp_path


def without_seconds(document: dict[str, Any]) -> list[dict[str, Any]]:
    kept = []
    for stage in document["stages"]:
        for score in stage["scores"]:
            score = {key: value for key, value in score.items() if key != "fit_seconds"}
            score["deviation"] = {key: value for key, value in score["deviation"].items() if key != "fit_seconds"}
            kept.append(score)
    return kept


def test_without_images_it_says_so_and_uses_digits(run: Any, no_images: Path) -> None:
    result = run("demo", "-o", "results", "--seeds", 1)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert "No images of CIFAR-10 here" in result.stdout
    assert "handwritten digits" in result.stdout
    for label in ("real-valued", "sign", "random rotation", "ITQ", "H²Q"):
        assert f" {label} " in result.stdout
    assert max(len(line) for line in result.stdout.splitlines() if "│" in line or "─" in line) <= 82
    assert {file.name for file in Path("results").iterdir()} == {"table.md", "results.json", "neighbors.png"}
    table = Path("results/table.md").read_text()
    assert table.count("\n| H²Q |") == 2


def test_json_is_deterministic_and_true(document: Any, no_images: Path) -> None:
    first, second = (document("demo", "--output", folder, "--seeds", 2) for folder in "ab")
    assert without_seconds(first) == without_seconds(second)
    assert Path("a/neighbors.png").read_bytes() == Path("b/neighbors.png").read_bytes()
    assert without_seconds(json.loads(Path("a/results.json").read_text())) == without_seconds(first)
    scores = {(score["quantizer"], score["n_bits"]): score for score in first["stages"][0]["scores"]}
    lengths = {bits for _, bits in scores if bits is not None}
    assert len(lengths) == 2
    for bits in lengths:
        assert scores["H²Q", bits]["quantization_error"] < scores["sign", bits]["quantization_error"]
        assert scores["H²Q", bits]["recall"] > scores["sign", bits]["recall"]
        assert scores["H²Q", bits]["map_embeddings"] > scores["sign", bits]["map_embeddings"] + 0.02
    assert scores["real-valued", None]["recall"] is None  # it has no meaning there


def test_queries_are_never_fitted_on(no_images: Path) -> None:
    data = load_demo_data()
    folds = [set(rows.tolist()) for rows in data.folds.values()]
    assert sum(map(len, folds)) == len(set.union(*folds))
    stage = frozen_stage(data)
    embedded = stage.embed(16, "")
    np.testing.assert_allclose(embedded.train, data.features[data.folds["train"]])
    changed = data.features.copy()
    changed[data.folds["query"]] = np.random.default_rng(0).standard_normal(changed[data.folds["query"]].shape)
    fitted = [entry.contender.make(16, 0).fit(embedded.train) for entry in stage.entries]
    again = frozen_stage(type(data)(**{**vars(data), "features": changed})).embed(16, "")
    for entry, quantizer in zip(stage.entries, fitted, strict=True):
        other = entry.contender.make(16, 0).fit(again.train)
        np.testing.assert_array_equal(other.projection_, quantizer.projection_)


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ["--full"], "--full needs CIFAR-10, which is not here: put its train.parquet"),
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
    assert "only a sample of 6,000 is here" in fails(1, "demo", "--full")


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


def few_images(folder: Path) -> None:
    """Write 60 images of each class to the folder."""
    table = pq.read_table(SAMPLE)
    labels = table["label"].to_numpy()
    rows = np.sort(np.concatenate([np.flatnonzero(labels == label)[:60] for label in range(10)]))
    pq.write_table(table.take(rows), folder / SAMPLE.name)


def test_frozen_stage_on_real_images(no_images: Path) -> None:
    few_images(no_images)
    data = load_demo_data()
    assert "600 images of CIFAR-10" in data.title
    result = run_stage(frozen_stage(data), n_seeds=1)
    rows = {(row.name, row.n_bits): row.scores[0] for row in result.rows}
    for bits in (16, 64, 128):
        assert rows["H²Q", bits].map_expected.value > rows["sign", bits].map_expected.value + 0.03
        assert rows["H²Q", bits].recall.value > rows["sign", bits].recall.value
    assert len(say_results(result)) == 1  # the order of neighbors is not lost: nothing is said of it


def test_learned_stage_on_real_images(no_images: Path) -> None:
    few_images(no_images)
    data = load_demo_data()
    frozen = run_stage(frozen_stage(data, (16,)), n_seeds=1)
    result = run_stage(learned_stage(data, (16,)), n_seeds=2)
    rows = {row.name: row for row in result.rows}
    assert len(rows["H²Q"].scores) == 2

    def mean(row: Any) -> float:
        return float(np.mean([score.map_embeddings.value for score in row.scores]))

    assert mean(rows["real-valued"]) > mean(frozen.rows[0]) + 0.1
    assert mean(rows["H²Q"]) > mean(rows["sign"])
    for label in ("sign + L2 penalty", "sign + HSWD", "random rotation", "ITQ", "H²Q l1", "H²Q min_entry"):
        assert 0.1 < mean(rows[label]) < 1
    assert set(result.neighbors) == {"sign", "H²Q"}
    assert result.neighbors["sign"].shape == (50, 33)  # as many as a class has in the database


def test_without_lightning_stage_one_is_left_out_and_says_so(
    run: Any, no_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("h2q.demo.stages.LEARNING_MODULES", ("a_module_that_is_missing",))
    monkeypatch.setattr("h2q.similarity.features.extract_features", _tiny_features)
    few_images(no_images)
    result = run("demo", "--output", "results", "--seeds", 1)
    assert result.exit_code == 0, result.stderr
    assert 'Stage one, learning embeddings, is left out: pip install "h2q[learn]"' in " ".join(result.stdout.split())
    assert "learned from" not in result.stdout
