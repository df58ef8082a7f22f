"""Presets: the paper's is compared, value by value, with a table of the authors' published configuration."""

from dataclasses import asdict, fields

import pytest

from h2q.similarity.losses import LOSSES, make_loss
from h2q.similarity.penalties import PENALTIES, WeightedPenalty
from h2q.similarity.presets import HEAD, PAPER, TrainingSettings, preset_for, settings_for

# From the authors' scripts (batch, weight decay), losses and network; nothing here is read from presets.py.
SHARED = {
    "optimizer": "adam", "learning_rate": 1e-5, "hash_learning_rate": 1e-4, "loss_learning_rate": 1e-3,
    "schedule": "constant", "epochs": 100, "min_steps": 0, "patience": 20, "min_delta": 0.05, "hidden": (),
    "dropout": 0.0, "input_dropout": 0.0, "input_noise": 0.0, "standardize": False, "hash_layer_std": 0.01,
    "augmentation": "none", "items_per_class": None, "batch_norm": False,
}  # fmt: skip
BY_LOSS = {
    # batch, weight decay, loss options, penalty, its options, its weights
    "CosineEmbedding": (128, 5e-4, {}, "l2", {}, (0.01,)),
    "DCH": (256, 5e-4, {"gamma": 10, "similar_fraction": "training set"}, "dch", {"gamma": 10}, (1e-5, 1e-3, 0.1)),
    "DHN": (64, 5e-4, {"scale": 1}, "dhn_implementation", {}, (1e-5, 1e-3, 0.1)),
    "DPSH": (128, 5e-4, {"scale": 1}, "l2", {}, (1.0, 0.1, 0.01)),
    "HashNet": (
        256, 5e-4, {"overlap_weights": False, "period": 200, "similar_fraction": "training set"}, None, {}, (),
    ),
    "HyP2": (100, 5e-4, {"pairs": "all", "beta": 1.25, "squash_proxies": True}, "l2", {}, (0.01,)),
    "WGLHH": (
        64, 1e-4,
        {"form": "h2q_implementation", "similar_weight": "balanced", "similar_fraction": "training set"},
        "l2", {}, (1e-3,),
    ),
}  # fmt: skip
UNUSED = {"momentum", "step_epochs", "step_factor"}  # of other optimizers and schedules


@pytest.mark.parametrize("loss", BY_LOSS)
def test_the_preset_paper_is_the_authors_configuration(loss: str) -> None:
    batch_size, decay, loss_options, penalty, penalty_options, weights = BY_LOSS[loss]
    preset = preset_for(loss, "paper")
    resolved = asdict(preset.settings.for_items(5000))
    expected = {**SHARED, "batch_size": batch_size, "weight_decay": decay, "loss_weight_decay": decay}
    assert {name: value for name, value in resolved.items() if name not in UNUSED} == expected
    assert dict(preset.loss_options) == loss_options
    assert (preset.penalty, dict(preset.penalty_options), preset.penalty_weights) == (penalty, penalty_options, weights)
    assert preset.penalty_tanh == (penalty is not None)
    assert preset.resize_mode == "crop"


def test_the_tables_name_all_of_it() -> None:
    assert set(BY_LOSS) == set(PAPER)
    assert {field.name for field in fields(TrainingSettings)} == {
        *SHARED, *UNUSED, "batch_size", "weight_decay", "loss_weight_decay",
    }  # fmt: skip


@pytest.mark.parametrize("loss", BY_LOSS)
def test_options_of_the_preset_are_options(loss: str) -> None:
    preset = preset_for(loss, "paper")
    options = {name: 0.1 if value == "training set" else value for name, value in preset.loss_options.items()}
    make_loss(loss, n_bits=16, n_classes=10, **options)
    if preset.penalty is not None:
        WeightedPenalty(preset.penalty, preset.penalty_weights[0], preset.penalty_options, preset.penalty_tanh)


def test_presets_by_name() -> None:
    assert settings_for("cel", "paper") == settings_for("CosineEmbedding", "paper") == settings_for("CEL", "paper")
    assert settings_for(make_loss("DCH", n_bits=8, n_classes=2), "paper").batch_size == 256
    assert settings_for("DCH") == HEAD
    for name in LOSSES:
        penalty = preset_for(name).penalty
        assert penalty is None or penalty in PENALTIES
    with pytest.raises(ValueError, match="the paper trains no OrthoHash"):
        settings_for("OrthoHash", "paper")
    with pytest.raises(ValueError, match="preset must be one of"):
        settings_for("DCH", "best")  # type: ignore[arg-type]
