"""The folder of results under torn lines, damage, and processes that are really killed."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from h2q.errors import FileFormatError
from h2q.experiments.store import ExperimentFolder

CONTEXT = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> ExperimentFolder:
    folder = ExperimentFolder(tmp_path / "experiment")
    folder.create({"name": "test", "cells": []})
    return folder


def test_the_last_record_of_a_key_counts(store: ExperimentFolder) -> None:
    store.append({"key": "a", "status": "failed"})
    store.append({"key": "b", "status": "done"})
    assert store.finished() == {"b"}
    store.append({"key": "a", "status": "done"})
    assert store.finished() == {"a", "b"}


@pytest.mark.parametrize("torn", ['{"key": "b", "sta', "x" * 200_000])
def test_a_torn_last_line_is_not_read_and_cut_off_by_the_next(store: ExperimentFolder, torn: str) -> None:
    store.append({"key": "a", "status": "done"})
    with store.results.open("a") as file:
        file.write(torn)
    assert set(store.records()) == {"a"}
    store.append({"key": "c", "status": "done"})
    assert set(store.records()) == {"a", "c"}
    assert all(json.loads(line) for line in store.results.read_text().splitlines())


def test_a_file_of_one_torn_line(store: ExperimentFolder) -> None:
    store.results.write_text('{"key"')
    assert store.records() == {}
    store.append({"key": "a", "status": "done"})
    assert set(store.records()) == {"a"}


def test_a_damaged_line_is_named(store: ExperimentFolder) -> None:
    store.append({"key": "a", "status": "done"})
    with store.results.open("a") as file:
        file.write("no json\n")
    store.append({"key": "c", "status": "done"})
    with pytest.raises(FileFormatError, match="line 2, is damaged"):
        store.records()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        ExperimentFolder(tmp_path / "file").create({})
    with pytest.raises(FileExistsError, match="holds no experiment"):
        ExperimentFolder(tmp_path).create({})
    with pytest.raises(FileNotFoundError, match="h2q experiment run"):
        ExperimentFolder(tmp_path / "nothing").plan()


def _append_many(path: Path, name: str, n: int) -> None:
    folder = ExperimentFolder(path)
    for number in range(n):
        folder.append({"key": f"{name}-{number}", "status": "done", "padding": name * 500})


def test_processes_append_side_by_side(store: ExperimentFolder) -> None:
    processes = [CONTEXT.Process(target=_append_many, args=(store.path, name, 50)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert set(store.records()) == {f"{name}-{number}" for name in "abc" for number in range(50)}


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
    store.append({"key": "last", "status": "done"})
    records = store.records()
    assert "last" in records
    for round_number in range(6):
        mine = sorted(int(key.split("-")[1]) for key in records if key.startswith(f"r{round_number}-"))
        assert len(mine) >= 3
        assert mine == list(range(len(mine)))  # what was appended before the kill is all there


def _claim_and_wait(path: Path, ready: Path) -> None:
    with ExperimentFolder(path).claim("network") as mine:
        ready.write_text(str(mine))
        time.sleep(60)


def test_a_claim_is_free_once_its_process_is_killed(store: ExperimentFolder, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = CONTEXT.Process(target=_claim_and_wait, args=(store.path, ready))
    process.start()
    while not ready.exists() or not ready.read_text():
        time.sleep(0.01)
    assert ready.read_text() == "True"
    with store.claim("network") as mine:
        assert not mine
    with store.claim("another") as mine:
        assert mine
    process.kill()
    process.join()
    with store.claim("network") as mine:
        assert mine
