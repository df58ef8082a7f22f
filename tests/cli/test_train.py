"""``h2q train`` on real digits, from arguments to a hasher that loads."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from h2q import ImageHasher
from h2q.cli import build_app
from h2q.datasets import load_dataset

app = build_app()
QUICK = ["train", "digits", "--image-size", "32", "--bits", "16", "--epochs", "3"]


def test_training_says_what_it_reached_and_saves(tmp_path: Path) -> None:
    output = tmp_path / "hasher"
    done = CliRunner().invoke(app, [*QUICK, "-o", str(output), "--log", "csv"])
    assert done.exit_code == 0, done.output
    assert "500 images of digits" in done.stdout
    assert "100 held-out images" in done.stdout
    hasher = ImageHasher.load(output)
    assert hasher.encode(load_dataset("digits").images[:5]).shape == (5, 2)
    again = CliRunner().invoke(app, [*QUICK, "-o", str(output), "--resume", "--json"])
    result = json.loads(again.stdout)
    assert result["validation_map"] == pytest.approx(hasher.validation_map_)
    assert (result["loss"], result["bits"], result["images"]) == ("CosineEmbedding", 16, 500)


def test_fine_tuning_from_the_command_line(tmp_path: Path) -> None:
    arguments = [*QUICK[:-1], "1", "-o", str(tmp_path / "h"), "--fine-tune", "1", "--loss", "DPSH", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["loss"] == "DPSH"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--preset", "best"], "expected one of head, paper, fine-tune"),
        (["--log", "xml"], "expected csv or tensorboard"),
        (["--loss", "nosuch"], "nosuch"),
        (["--backbone", "nosuch"], "backbone must be"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: list[str], message: str) -> None:
    done = CliRunner().invoke(app, [*QUICK, "-o", str(tmp_path / "h"), *change])
    assert done.exit_code != 0
    assert message in f"{done.output} {done.exception}"
    assert not (tmp_path / "h").exists()


def test_what_cannot_be_saved_is_refused_before_training(tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, [*QUICK, "-o", str(tmp_path / "no" / "h")])
    assert (missing.exit_code, "does not exist" in missing.output) == (2, True)
    taken = CliRunner().invoke(app, [*QUICK, "-o", str(tmp_path)])
    assert (taken.exit_code, "holds no hasher" in taken.output) == (2, True)
    assert list(tmp_path.iterdir()) == []
