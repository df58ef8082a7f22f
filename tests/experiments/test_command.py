"""``h2q experiment``: what it prints, and how it fails."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from h2q.cli import build_app
from h2q.experiments import PLANS, RunSummary, parse_plan
from h2q.files import decode_json, encode_checked_json


def invoke(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(build_app(), ["experiment", *map(str, arguments)], prog_name="h2q")
    return done.exit_code, done.stdout, done.stderr


def test_status_and_report(experiment: tuple[Path, RunSummary], tmp_path: Path) -> None:
    code, out, _ = invoke("status", experiment[0])
    assert code == 0
    assert "40 of 40 cells done, 0 failed" in out
    document = json.loads(invoke("status", experiment[0], "--json")[1])
    assert document["quantizers"][0] == {"quantizer": "real", "done": 8, "cells": 8}
    code, out, _ = invoke("report", experiment[0], "-o", tmp_path / "report", "--json")
    assert code == 0
    assert all(Path(path).is_file() for path in json.loads(out).values())


def test_compare_two_experiments(experiment: tuple[Path, RunSummary], tmp_path: Path) -> None:
    other = shutil.copytree(experiment[0], tmp_path / "other")
    lines = []
    for line in (other / "results.jsonl").read_text().splitlines():
        record = decode_json((line + "\n").encode(), "a record", checked=True)
        if record["cell"]["quantizer"] == "itq":
            record["scores"]["map_expected"] -= 0.01
        if record["cell"]["quantizer"] != "sign":
            lines.append(encode_checked_json(record, "a record"))
    (other / "results.jsonl").write_bytes(b"".join(lines))
    code, out, _ = invoke("compare", experiment[0], other, "--json")
    assert code == 0
    differences = {(each["quantizer"], each["ties"]): each for each in json.loads(out)["differences"]}
    assert not any(quantizer == "sign" for quantizer, _ in differences)
    assert differences["itq", "expected"]["mean"] == pytest.approx(0.01)
    assert (differences["itq", "expected"]["n_cells"], differences["itq", "expected"]["n_better"]) == (8, 8)
    assert differences["itq", "embeddings"]["mean"] == differences["h2q-l2", "expected"]["mean"] == 0
    code, out, _ = invoke("compare", experiment[0], other)
    row = next(line.split() for line in out.splitlines() if "ITQ" in line and "expected" in line)
    assert row == ["ITQ", "expected", "8", "+1.00", "+1.00", "to", "+1.00", "100", "%", "0.008"]


def test_experiments_without_a_shared_cell_are_not_compared(
    experiment: tuple[Path, RunSummary], tmp_path: Path
) -> None:
    other = shutil.copytree(experiment[0], tmp_path / "other")
    (other / "results.jsonl").unlink()
    code, out, error = invoke("compare", experiment[0], other)
    assert (code, out) == (1, "")
    assert "share no finished cell" in error


@pytest.mark.parametrize("name", PLANS)
def test_show_prints_plans_that_can_be_run(name: str) -> None:
    code, out, _ = invoke("show", name)
    assert code == 0
    assert parse_plan(out).name
    assert json.loads(invoke("show", name, "--json")[1])["cells"] >= 400


def test_mistakes_end_in_a_line(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('name = "x"\n[grid]\nloses = []\n')
    (tmp_path / "file").write_text("")
    for arguments, message in (
        (("run", "nosuch", "--output", tmp_path / "x"), "nosuch is neither a plan file nor a plan that comes with h2q"),
        (("run", plan, "--output", tmp_path / "x"), "did you mean 'losses'?"),
        (("run", "cifar10", "--output", tmp_path / "file"), "is a file"),
        (("run", "cifar10", "--output", tmp_path), "holds no experiment"),
        (("status", tmp_path), "h2q experiment run PLAN"),
        (("report", tmp_path / "nothing"), "holds no experiment"),
    ):
        code, out, error = invoke(*arguments)
        assert (code, out) == (1, ""), arguments
        assert message in " ".join(error.split())
    assert not (tmp_path / "x").exists()
    assert invoke("run", "cifar10")[0] == 2
    assert invoke("run", "cifar10", "--output", tmp_path / "x", "--processes", 0)[0] == 2
