"""Running plans on real digits: what cells hold, kills, several runs on one folder, failures."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from h2q.datasets import load_dataset
from h2q.evaluation import mean_average_precision
from h2q.experiments import Plan, RunSummary, load_results, run_plan, status_of
from h2q.experiments.networks import sign_codes_score
from h2q.experiments.plan_file import parse_plan
from h2q.experiments.records import Record
from h2q.experiments.store import ExperimentFolder
from h2q.files import read_tensors
from h2q.quantization import HouseholderQuantizer

TINY = """
name = "tiny"
[grid]
datasets = ["digits"]
losses = ["DPSH"]
bits = [16]
seeds = [0, 1, 2]
quantizers = ["real", "sign", "random", "itq", "penalty"]
[training]
image_size = 32
epochs = 1
min_steps = 0
hidden = [8]
[penalty]
weights = [0.1]
[scoring]
k = 50
"""
N_TINY = 15


def test_a_run_does_every_cell_once(experiment: tuple[Path, RunSummary]) -> None:
    folder, summary = experiment
    assert (summary.n_cells, summary.n_done, summary.n_new, summary.failed) == (40, 40, 40, ())
    assert len((folder / "results.jsonl").read_text().splitlines()) == 40
    assert len(list((folder / "networks").iterdir())) == 2 * 2 * 2 * 2  # shared, and with penalty


def test_cells_hold_what_can_be_computed_again(experiment: tuple[Path, RunSummary]) -> None:
    folder, _ = experiment
    row = next(row for row in load_results(folder).rows if row.quantizer == "h2q-l2" and row.seed == 1)
    parts = read_tensors(folder / "networks" / f"{row.network.key}.safetensors").tensors
    dataset = load_dataset("digits", random_state=1)
    assert row.record.data.fingerprint == dataset.fingerprint
    assert len(parts["train"]) == row.record.data.folds["train"] == 500
    quantizer = HouseholderQuantizer(center=False, random_state=1).fit(parts["train"])
    labels = [dataset.labels[dataset.folds[fold]] for fold in ("query", "database")]
    codes = [quantizer.encode(parts[fold]) for fold in ("query", "database")]
    expected = mean_average_precision(*codes, *labels, n_bits=row.setting.n_bits, k=100, ties="expected").value
    by_float = mean_average_precision(
        *codes, *labels, n_bits=row.setting.n_bits, k=100, ties="embeddings",
        query_embeddings=parts["query"], database_embeddings=parts["database"],
    ).value  # fmt: skip
    assert row.scores.map_expected == pytest.approx(expected, abs=1e-9)
    assert row.scores.map_embeddings == pytest.approx(by_float, abs=1e-9)
    low, high = row.scores.map_embeddings_interval
    assert low < by_float < high
    error = quantizer.quantization_error(parts["database"])
    assert row.scores.quantization_error_l2 == pytest.approx(error, rel=1e-5)
    assert row.scores.distinct_codes == len({code.tobytes() for code in codes[1]})


def test_the_best_weight_is_that_of_the_validation_fold(experiment: tuple[Path, RunSummary]) -> None:
    folder, _ = experiment
    dataset = load_dataset("digits", random_state=0)
    labels = dataset.labels[dataset.folds["validation"]]
    rows = [row for row in load_results(folder).rows if row.quantizer == "penalty"]
    assert len(rows) == 8
    for row in rows:
        network = row.network
        tried = {(trial.weight, trial.tanh): trial.validation_map for trial in network.tried}
        assert set(tried) == {(0.01, False), (0.1, False), (0.01, True), (0.1, True)}
        assert tried[network.weight, network.tanh] == max(tried.values()) == network.validation_map
        if row.seed == 0:
            path = folder / "networks" / f"{network.key}.safetensors"
            held_out = read_tensors(path).tensors["validation"]
            assert sign_codes_score(held_out, None, labels, None) == pytest.approx(network.validation_map)


def test_the_score_of_sign_codes_is_the_authors_key() -> None:
    generator = np.random.default_rng(0)
    queries, database = (generator.standard_normal((n, 16)).astype(np.float32) for n in (20, 300))
    labels = generator.integers(0, 3, 20), generator.integers(0, 3, 300)
    codes = [np.packbits(part > 0, axis=1) for part in (queries, database)]
    by_float = mean_average_precision(
        *codes, *labels, n_bits=16, ties="embeddings", query_embeddings=queries, database_embeddings=database
    )
    assert sign_codes_score(queries, database, *labels) == pytest.approx(by_float.value, abs=1e-6)


def test_a_finished_plan_has_nothing_left_to_do(
    experiment: tuple[Path, RunSummary], small_plan: Plan, tmp_path: Path
) -> None:
    folder = shutil.copytree(experiment[0], tmp_path / "copy")
    before = (folder / "results.jsonl").read_bytes()
    summary = run_plan(small_plan, folder)
    assert (summary.n_done, summary.n_new) == (40, 0)
    assert (folder / "results.jsonl").read_bytes() == before


def test_what_is_lost_is_run_again_on_the_same_embeddings(
    experiment: tuple[Path, RunSummary], small_plan: Plan, tmp_path: Path
) -> None:
    folder = shutil.copytree(experiment[0], tmp_path / "copy")
    results = folder / "results.jsonl"
    lines = results.read_text().splitlines(keepends=True)
    lost = json.loads(lines[3])
    results.write_text("".join(lines[:3] + lines[4:-1]) + lines[-1][:-50])  # one gone, one torn
    networks = {path.name: path.stat().st_mtime_ns for path in (folder / "networks").iterdir()}
    assert run_plan(small_plan, folder).n_new == 2
    again = ExperimentFolder(folder).records()[lost["key"]]
    assert again.to_json()["scores"] == lost["scores"] | {
        "map_embeddings_interval": again.scores.map_embeddings_interval
    }
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "networks").iterdir()} == networks


def test_a_larger_plan_adds_its_cells_only(
    experiment: tuple[Path, RunSummary], small_plan: Plan, tmp_path: Path
) -> None:
    folder = shutil.copytree(experiment[0], tmp_path / "copy")
    larger = dataclasses.replace(small_plan, quantizers=(*small_plan.quantizers, "h2q-l1"))
    assert run_plan(larger, folder).n_new == 8
    results = load_results(folder)
    assert (len(results.rows), results.quantizers[-1]) == (48, "h2q-l1")
    smaller = dataclasses.replace(small_plan, quantizers=("real", "sign"))
    assert run_plan(smaller, folder).n_new == 0
    assert len(load_results(folder).rows) == 16  # those of the plan that was run last


def test_cells_that_fail_are_written_down_and_tried_again(small_plan: Plan, tmp_path: Path) -> None:
    plan = dataclasses.replace(
        small_plan, losses=("DPSH",), bits=(16,), seeds=(0,), quantizers=("real", "sign", "hswd"),
        weights={"hswd": (1e39,)},
    )  # fmt: skip
    summary = run_plan(plan, tmp_path / "x")
    assert (summary.n_done, len(summary.failed)) == (2, 1)
    assert summary.failed[0][0].endswith("DPSH / 16 bits / seed 0 / hswd")
    assert "LossDivergedError" in summary.failed[0][1]
    assert status_of(tmp_path / "x").n_failed == 1
    again = run_plan(plan, tmp_path / "x")
    assert (again.n_new, len(again.failed)) == (0, 1)
    assert len((tmp_path / "x" / "results.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("changes", "n_blocks"),
    [
        ({"losses": ("ADSH",), "weights": {}}, None),
        ({"losses": ("DPSH",), "preset": "fine-tune", "train_blocks": 1}, 1),
    ],
)
def test_networks_that_have_a_loop_of_their_own(
    small_plan: Plan, tmp_path: Path, changes: dict[str, Any], n_blocks: int | None
) -> None:
    plan = dataclasses.replace(small_plan, bits=(16,), seeds=(0,), quantizers=("real", "sign"), **changes)
    summary = run_plan(plan, tmp_path / "x")
    assert (summary.n_done, summary.failed) == (2, ())
    row = next(row for row in load_results(tmp_path / "x").rows if row.quantizer == "sign")
    assert row.cell.network.train_blocks == n_blocks
    chance = 0.1
    assert row.scores.map_real > row.scores.map_expected > 1.2 * chance


def test_other_images_are_refused(experiment: tuple[Path, RunSummary], small_plan: Plan, tmp_path: Path) -> None:
    folder = shutil.copytree(experiment[0], tmp_path / "copy")
    results = folder / "results.jsonl"
    fingerprint = load_dataset("digits").fingerprint
    records = list(ExperimentFolder(folder).records().values())
    results.unlink()
    for record in records[:-1]:
        document = json.loads(json.dumps(record.to_json()).replace(fingerprint, "0" * len(fingerprint)))
        ExperimentFolder(folder).append(Record.from_json(document))
    with pytest.raises(ValueError, match="results of other images of digits"):
        run_plan(small_plan, folder)


def _start(plan: Path, folder: Path, processes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from h2q.cli import main; main()", "experiment", "run", str(plan), "--output"]
    return subprocess.Popen(
        [*command, str(folder), "--processes", str(processes)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def _wait_for_lines(results: Path, n_lines: int, process: subprocess.Popen[bytes]) -> None:
    while not results.exists() or results.read_bytes().count(b"\n") < n_lines:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)


def _workers(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    children = psutil.Process(run.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_runs_that_are_killed_are_gone_on_with(tmp_path: Path) -> None:
    plan, folder = tmp_path / "plan.toml", tmp_path / "folder"
    plan.write_text(TINY)
    results = folder / "results.jsonl"

    everything = _start(plan, folder, 2)
    _wait_for_lines(results, 1, everything)
    os.killpg(everything.pid, signal.SIGKILL)  # the run and its workers, at once
    everything.communicate()
    assert results.read_bytes().count(b"\n") < N_TINY

    parent_only = _start(plan, folder, 2)
    _wait_for_lines(results, 3, parent_only)
    workers = _workers(parent_only)
    parent_only.kill()
    parent_only.communicate()
    _, alive = psutil.wait_procs(workers, timeout=300)
    assert alive == []  # workers end by themselves once nobody waits for them
    kept = set(ExperimentFolder(folder).finished())
    assert 3 <= len(kept) < N_TINY

    one_worker = _start(plan, folder, 2)
    _wait_for_lines(results, len(kept) + 1, one_worker)
    _workers(one_worker)[0].kill()
    output, error = one_worker.communicate()
    assert one_worker.returncode == 0, (output + error).decode()
    assert f"{N_TINY} of {N_TINY} cells done".encode() in output
    keys = [json.loads(line)["key"] for line in results.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == N_TINY  # no cell was done twice
    assert kept <= set(keys)


def test_losses_without_labels_train_heads_without_validation(tmp_path: Path) -> None:
    text = TINY.replace('"DPSH"', '"CIBHash", "BiHalfUnsupervised"').replace('"penalty"', '"h2q-l2"')
    plan = parse_plan(text.replace("[penalty]\nweights = [0.1]\n", "").replace("seeds = [0, 1, 2]", "seeds = [0]"))
    assert run_plan(plan, tmp_path / "results", progress=False).failed == ()
    rows = load_results(tmp_path / "results").rows
    assert {row.network.validation_map for row in rows} == {None}
    assert all(row.scores.map_real > 0.15 for row in rows)  # ten classes
