"""The folder of results: torn lines, damage, and killed processes."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from h2q.errors import FileFormatError
from h2q.experiments import (
    Cell,
    CellScores,
    CellSeconds,
    DataVersion,
    NetworkSpec,
    NetworkSummary,
    Record,
    cells_of,
    load_plan,
    parse_plan,
)
from h2q.experiments.records import StoredPlan, Trial
from h2q.experiments.store import ExperimentFolder
from h2q.files import encode_checked_json, write_checked_json
from h2q.similarity.presets import HEAD

CONTEXT = multiprocessing.get_context("spawn")


PLAN = parse_plan('name = "test"\n[grid]\ndatasets = ["digits"]\nlosses = ["DPSH"]\nbits = [16]')


def record(name: str, *, error: str | None = None, padding: int = 0) -> Record:
    """A record whose quantizer has this name."""
    network = NetworkSpec("digits", "efficientnet-lite0", "DPSH", 16, 0, "head", HEAD)
    cell = Cell(network, name, 5000, "retrieved", "zero", {"center": False})
    data = DataVersion("0" * 16, {"train": 500}, "1" * 16)
    versions = {"h2q": "x" * padding}
    if error is not None:
        return Record(cell, data, versions, "2026-01-01", error=error)
    scores = CellScores(0.9, 0.8, (0.7, 0.9), 0.7, 0.5, 0.3, 12)
    summary = NetworkSummary(network.key, 0.5, 3, 1.0, 0.1, 0.3, (Trial(0.1, 0.4), Trial(0.3, 0.5, True)), True)
    return Record(cell, data, versions, "2026-01-01", summary, scores, CellSeconds(0.1, 0.3, 0.1, 0.1))


def test_trials_of_older_folders_are_pairs_without_a_tanh() -> None:
    document = json.loads(json.dumps(record("a").to_json()))
    del document["network"]["tanh"]
    document["network"]["tried"] = [[0.1, 0.4], [0.3, 0.5]]
    network = Record.from_json(document).network
    assert network is not None
    assert (network.tanh, network.tried) == (False, (Trial(0.1, 0.4, False), Trial(0.3, 0.5, False)))


def test_scores_of_queries_are_kept_by_cell(store: ExperimentFolder) -> None:
    scores = np.array([0.5, np.nan, 1.0], np.float32)
    store.write_query_scores("a", {"map_expected": scores})
    np.testing.assert_array_equal(store.query_scores("a")["map_expected"], scores)
    assert store.query_scores("b") == {}


def names(store: ExperimentFolder) -> set[str]:
    return {each.cell.quantizer for each in store.records().values()}


@pytest.fixture
def store(tmp_path: Path) -> ExperimentFolder:
    folder = ExperimentFolder(tmp_path / "experiment")
    folder.create(StoredPlan(PLAN, ()))
    return folder


def test_the_last_record_of_a_key_counts(store: ExperimentFolder) -> None:
    store.append(record("a", error="ValueError: no luck"))
    store.append(record("b"))
    assert store.finished() == {record("b").cell.key}
    store.append(record("a"))
    assert store.finished() == {record("a").cell.key, record("b").cell.key}


@pytest.mark.parametrize("torn", ['{"key": "b", "sta', "x" * 200_000])
def test_a_torn_last_line_is_not_read_and_cut_off_by_the_next(store: ExperimentFolder, torn: str) -> None:
    store.append(record("a"))
    with store.results.open("a") as file:
        file.write(torn)
    assert names(store) == {"a"}
    store.append(record("c"))
    assert names(store) == {"a", "c"}
    assert all(json.loads(line) for line in store.results.read_text().splitlines())


def test_a_file_of_one_torn_line(store: ExperimentFolder) -> None:
    store.results.write_text('{"key"')
    assert store.records() == {}
    store.append(record("a"))
    assert names(store) == {"a"}


@pytest.mark.parametrize("error", [None, "ValueError: no luck"])
def test_records_survive_the_file(store: ExperimentFolder, error: str | None) -> None:
    store.append(record("a", error=error))
    (key,), (read,) = store.records().keys(), store.records().values()
    assert read == record("a", error=error)
    assert read.cell.key == key == record("a").cell.key


def test_the_plan_survives_the_file(tmp_path: Path) -> None:
    plan = load_plan("cifar10")
    cells = tuple(cells_of(plan))
    folder = ExperimentFolder(tmp_path / "x")
    folder.create(StoredPlan(plan, cells))
    read = folder.plan()
    assert read == StoredPlan(plan, cells)
    assert [cell.key for cell in read.cells] == [cell.key for cell in cells]
    write_checked_json(tmp_path / "x" / "plan.json", {"plan": {}, "cells": []})
    with pytest.raises(FileFormatError, match="holds no plan"):
        folder.plan()


def test_a_record_without_scores_is_damaged(store: ExperimentFolder) -> None:
    document = record("a").to_json() | {"scores": None}
    store.results.write_bytes(encode_checked_json(document, "a record"))
    with pytest.raises(FileFormatError, match="line 1, is damaged: a cell that is done must have"):
        store.records()


def test_a_damaged_line_is_named(store: ExperimentFolder) -> None:
    store.append(record("a"))
    with store.results.open("a") as file:
        file.write("no json\n")
    store.append(record("c"))
    with pytest.raises(FileFormatError, match="line 2, is damaged"):
        store.records()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        ExperimentFolder(tmp_path / "file").create(StoredPlan(PLAN, ()))
    with pytest.raises(FileExistsError, match="holds no experiment"):
        ExperimentFolder(tmp_path).create(StoredPlan(PLAN, ()))
    with pytest.raises(FileNotFoundError, match="h2q experiment run"):
        ExperimentFolder(tmp_path / "nothing").plan()


def _append_many(path: Path, name: str, n: int) -> None:
    folder = ExperimentFolder(path)
    for number in range(n):
        folder.append(record(f"{name}-{number}", padding=500))


def test_processes_append_side_by_side(store: ExperimentFolder) -> None:
    processes = [CONTEXT.Process(target=_append_many, args=(store.path, name, 50)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert names(store) == {f"{name}-{number}" for name in "abc" for number in range(50)}


def test_writers_killed_again_and_again_leave_whole_lines(store: ExperimentFolder) -> None:
    generator = random.Random(0)
    for round_number in range(6):
        lines = store.results.read_bytes().count(b"\n") if store.results.exists() else 0
        process = CONTEXT.Process(target=_append_many, args=(store.path, f"r{round_number}", 100_000))
        process.start()
        while not store.results.exists() or store.results.read_bytes().count(b"\n") < lines + 3:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.02))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    store.append(record("last"))
    kept = names(store)
    assert "last" in kept
    for round_number in range(6):
        numbers = sorted(int(name.split("-")[1]) for name in kept if name.startswith(f"r{round_number}-"))
        assert len(numbers) >= 3
        assert numbers == list(range(len(numbers)))  # every line appended before the kill is there


def _claim_and_wait(path: Path, ready: Path) -> None:
    with ExperimentFolder(path).claim("network") as claimed:
        ready.write_text(str(claimed))
        time.sleep(60)


def test_a_claim_is_free_once_its_process_is_killed(store: ExperimentFolder, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = CONTEXT.Process(target=_claim_and_wait, args=(store.path, ready))
    process.start()
    while not ready.exists() or not ready.read_text():
        time.sleep(0.01)
    assert ready.read_text() == "True"
    with store.claim("network") as claimed:
        assert not claimed
    with store.claim("another") as claimed:
        assert claimed
    process.kill()
    process.join()
    with store.claim("network") as claimed:
        assert claimed
