"""``h2q tune``: what it prints, that its commands run, and what it refuses."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(autouse=True)
def in_folder(x_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(x_file.parent)
    np.save("queries.npy", np.load("x.npy")[:3])
    np.save("labels.npy", load_digits().target)
    np.save("few.npy", np.arange(5))
    np.save("pairs.npy", np.array([[0, 10], [1, 11]]))


def test_a_row_as_each_is_done_then_the_choice_and_commands_that_run(run: Any) -> None:
    result = run("tune", "x.npy", "--bytes", 6, "--queries", 150, "--methods", "sign,random,refined")
    assert result.exit_code == 0, result.stderr
    rows, verdict, protocol, commands, heading, code = result.stdout.split("\n\n")
    assert max(map(len, rows.splitlines())) <= 80
    assert rows.splitlines()[0].split() == ["quantizer", "bytes", "Hamming", "asymmetric", "re-ranked", "fit"]
    assert [line.split("  ")[0] for line in rows.splitlines()[1:3]] == ["sign", "random rotation"]
    assert verdict.startswith("Use refined H²Q, scored asymmetrically: recall@10 ")
    assert "re-ranking the first 50" in verdict
    assert "150 queries held out, 1,647 items" in protocol
    assert heading == "In Python:"
    assert "h2q.RefinedQuantizer(n_bytes=6, random_state=0).fit(X)" in code
    for command in commands.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "h2q"
        assert run(*arguments).exit_code == 0, command


def test_the_document_has_all_and_a_choice_by_labels(document: Any, run: Any) -> None:
    np.save("narrow.npy", np.load("x.npy")[:, :40])
    result = document(
        "tune",
        "narrow.npy",
        "--bytes",
        5,
        "--labels",
        "labels.npy",
        "--queries",
        200,
        "--seed",
        1,
        "--methods",
        "sign,h2q",
    )
    assert (result["truth"], result["measure"], result["queries"]) == ("labels", "mAP", 200)
    best = max(trial[scoring]["value"] for trial in result["trials"] for scoring in ("hamming", "asymmetric"))
    (chosen,) = [trial for trial in result["trials"] if trial["name"] == result["choice"]]
    assert chosen[result["scoring"]]["value"] == best
    assert run(*shlex.split(result["commands"][0])[1:]).exit_code == 0


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ["missing.npy"], "there is no file missing.npy"),
        (1, ["x.npy", "--labels", "few.npy"], "labels must have 1797 rows, one an item; got 5"),
        (2, ["x.npy", "--labels", "few.npy", "--pairs", "pairs.npy"], "--pairs: --labels and --pairs are two ways"),
        (1, ["x.npy", "--pairs", "labels.npy"], "labels.npy"),
        (2, ["x.npy", "--scoring", "fast"], "--scoring: expected auto, asymmetric or hamming; got 'fast'"),
        (2, ["x.npy", "--bytes", "0"], "--bytes"),
        (1, ["nan.npy"], "nan.npy: X contains NaN"),
    ],
)
def test_tune_refuses(exit_code: int, arguments: list[str], message: str, run: Any) -> None:
    rows = np.load("x.npy")
    rows[3, 3] = np.nan
    np.save("nan.npy", rows)
    result = run("tune", *arguments)
    assert result.exit_code == exit_code
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
