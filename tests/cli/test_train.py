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
    (tmp_path / "notes.txt").touch()
    taken = CliRunner().invoke(app, [*QUICK, "-o", str(tmp_path)])
    assert (taken.exit_code, "holds no hasher" in taken.output) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_options_of_loss_penalty_and_settings_arrive(tmp_path: Path) -> None:
    arguments = [
        *QUICK, "-o", str(tmp_path / "h"), "--loss", "DCH", "--loss-option", "gamma=10", "--penalty", "own",
        "--penalty-weight", "0.1", "--penalty-option", "gamma=10", "--penalty-tanh", "--setting", "optimizer=rmsprop",
        "--setting", "schedule=step", "--setting", "step_epochs=1", "--setting", "hidden=[32]",
    ]  # fmt: skip
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    run = json.loads((tmp_path / "h.run" / "head" / "training.json").read_text())
    settings = run["settings"]
    assert (settings["optimizer"], settings["schedule"], settings["hidden"]) == ("rmsprop", "step", [32])
    assert settings["epochs"] == 3
    assert ImageHasher.load(tmp_path / "h").head_.hidden_widths == (32,)
    for option, changed in (("--loss-option", "gamma=20"), ("--penalty-option", "gamma=20")):
        refused = CliRunner().invoke(app, [*arguments, "--resume", option, changed])
        part = "loss" if option == "--loss-option" else "penalty"
        assert f"another {part};" in " ".join(refused.output.split())
    again = CliRunner().invoke(app, [*arguments, "--resume", "--json"])
    assert json.loads(again.stdout)["validation_map"] == json.loads(done.stdout)["validation_map"]


def test_the_preset_paper_trains_the_authors_network(tmp_path: Path) -> None:
    arguments = [*QUICK[:-1], "1", "-o", str(tmp_path / "h"), "--preset", "paper", "--loss", "HyP2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "h.run").iterdir()] == ["network"], "no head is trained first"
    settings = json.loads((tmp_path / "h.run" / "network" / "training.json").read_text())["settings"]
    assert (settings["hidden"], settings["dropout"], settings["augmentation"]) == ([], 0.0, "none")
    assert (settings["epochs"], settings["batch_size"], settings["learning_rate"]) == (1, 100, 1e-5)
    assert ImageHasher.load(tmp_path / "h").head_.hidden_widths == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--loss", "DCHH"], "loss must be one of CosineEmbedding (CEL), DCH"),
        (["--loss", "ADSH", "--loss-option", "epochs_per_turn=0"], "epochs_per_turn must be at least 1"),
        (["--loss", "DCH", "--loss-option", "gama=10"], "DCH has no option gama; it has gamma"),
        (["--loss", "DCH", "--loss-option", "gamma=-1"], "gamma must be a finite number above 0; got -1"),
        (["--resize-mode", "pad"], "expected stretch or crop"),
        (["--loss-option", "gamma"], "expected NAME=VALUE; got 'gamma'"),
        (["--setting", "speed=3"], "there is no speed; expected one of optimizer"),
        (["--setting", "dropout=2"], "dropout must be at least 0 and below 1; got 2"),
        (["--setting", "optimizer=lion"], "optimizer must be one of"),
        (["--penalty-weight", "1"], "needs --penalty"),
        (["--penalty", "l2"], "give the weight"),
        (["--penalty", "l3", "--penalty-weight", "1"], "penalty must be one of l2, l1"),
        (["--penalty", "l2", "--penalty-weight", "1", "--penalty-option", "gamma=1"], "has no option gamma"),
        (["--loss", "HashNet", "--penalty", "own", "--penalty-weight", "1"], "no penalty of its own"),
        (["--loss", "OrthoHash", "--preset", "paper"], "the paper trains no OrthoHash"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, change: list[str], message: str) -> None:
    done = CliRunner().invoke(app, [*QUICK, "-o", str(tmp_path / "h"), *change])
    assert done.exit_code != 0
    assert message in " ".join(f"{done.output} {done.exception}".replace("│", "").split())
    assert not (tmp_path / "h").exists()
