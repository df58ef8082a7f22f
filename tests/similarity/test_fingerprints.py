"""The identity of a run: everything that changes the result changes it, and resuming another run is refused."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from h2q.datasets.images import PixelImages
from h2q.similarity.backbones import load_backbone
from h2q.similarity.fine_tuning import fine_tune
from h2q.similarity.fingerprints import fingerprint
from h2q.similarity.frozen import train_head
from h2q.similarity.images import SelectedImages
from h2q.similarity.losses import DCH, HashNet
from h2q.similarity.penalties import WeightedPenalty
from h2q.similarity.presets import FINE_TUNE, HEAD
from h2q.similarity.runs import RunOptions
from h2q.similarity.validation import Validation, cosine_mean_average_precision

SETTINGS = replace(HEAD, hidden=(8,), epochs=1, batch_size=20)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits(n_class=4)
    return data.data[:60].astype(np.float32) + 0.01, data.target[:60].astype(np.int64)


def test_equal_values_have_equal_fingerprints_and_others_do_not() -> None:
    def scaled(factor: float) -> Callable[[float], float]:
        return lambda value: factor * value

    values: list[Any] = [
        None, 0, 0.0, False, "0", b"0", [], (), {}, {"a": 1}, {"a": 2}, {"b": 1}, [1, 2], [2, 1], [[1], 2],
        np.zeros(2), np.zeros(3), np.zeros(2, np.float32), np.array(["a"], dtype=object), torch.zeros(2),
        torch.zeros(2, dtype=torch.bfloat16), torch.tensor(0.0), DCH(), DCH(gamma=10.0), DCH(similar_fraction=0.1),
        HashNet(), nn.Linear(1, 1), nn.Dropout(0.1), nn.Dropout(0.2), scaled(1.0), scaled(2.0),
        functools.partial(scaled, 1.0), functools.partial(scaled, 2.0), DCH().forward, WeightedPenalty("l2", 0.1),
        WeightedPenalty("l2", 0.2), WeightedPenalty("l1", 0.1), WeightedPenalty("l2", 0.1, tanh=True),
        WeightedPenalty("dch", 0.1), WeightedPenalty("dch", 0.1, {"gamma": 10.0}),
    ]  # fmt: skip
    prints = [fingerprint(value) for value in values]
    assert len(set(prints)) == len(values)
    assert prints == [fingerprint(value) for value in values]
    assert fingerprint(scaled(1.0)) == fingerprint(scaled(1.0))
    grown = HashNet()
    grown.step_epoch(5, 10)
    assert fingerprint(grown) != fingerprint(HashNet()), "the state of a loss counts"


def test_images_count_by_content_and_order(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    changed = pixels.copy()
    changed[2, 7, 7, 2] ^= 1
    for wrap in (lambda x: PixelImages(x, "images"), lambda x: [Image.fromarray(each) for each in x], OwnSequence):
        prints = {fingerprint(wrap(each)) for each in (pixels, changed, pixels[::-1], pixels[:2])}
        assert len(prints) == 4
        assert fingerprint(wrap(pixels)) == fingerprint(wrap(pixels.copy()))
    images = PixelImages(pixels, "images")
    chosen = {fingerprint(SelectedImages(images, np.array(positions))) for positions in ([0, 1], [1, 0], [0])}
    assert len(chosen) == 3


class OwnSequence:
    """Images that are decoded one by one, as a user's own class may do it."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, position: int) -> Image.Image:
        return Image.fromarray(self.pixels[position])


def _half(*arguments: Any) -> float:
    return 0.5 * cosine_mean_average_precision(*arguments)


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "settings": lambda o: {"settings": replace(SETTINGS, dropout=0.1)},
    "n_bits and loss": lambda o: {"loss": "HyP2", "n_bits": 6},
    "loss": lambda o: {"loss_options": {"gamma": 10.0}},
    "penalty": lambda o: {"penalty": WeightedPenalty("l2", 0.2)},
    "features": lambda o: {"features": np.roll(o["features"], 1, axis=1)},
    "labels": lambda o: {"labels": np.roll(o["labels"], 1)},
    "validation": lambda o: {"validation": (o["features"][:20], o["labels"][1:21])},
    "random_state": lambda o: {"random_state": 1},
}


def _run(options: dict[str, Any], folder: Path) -> None:
    features, labels = options["features"], options["labels"]
    rest = {key: value for key, value in options.items() if key not in ("features", "labels")}
    train_head(features, labels, run=RunOptions(folder=folder, resume=True, progress=False), **rest)


@pytest.mark.parametrize("field", CHANGES)
def test_a_head_s_run_is_not_resumed_as_another(field: str, digits: Any, tmp_path: Path) -> None:
    features, labels = digits
    options = {
        "features": features, "labels": labels, "loss": "DCH", "n_bits": 8, "settings": SETTINGS,
        "penalty": WeightedPenalty("l2", 0.1), "validation": (features[:20], labels[:20]),
    }  # fmt: skip
    _run(options, tmp_path)
    _run(options, tmp_path)
    changed = {**options, **CHANGES[field](options)}
    named = "loss and n_bits" if field == "n_bits and loss" else field
    with pytest.raises(ValueError, match=f"holds a run with another {named};"):
        _run(changed, tmp_path)


def test_every_part_of_the_validation_counts(digits: Any, tmp_path: Path) -> None:
    features, labels = digits
    options = {"features": features, "labels": labels, "loss": "DPSH", "n_bits": 8, "settings": SETTINGS}
    base = Validation(features[:20], labels[:20], features[20:40], labels[20:40])
    _run({**options, "validation": base}, tmp_path)
    for change in (
        {"inputs": features[1:21]}, {"database": features[21:41]}, {"database_labels": labels[21:41]}, {"score": _half},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="another validation;"):
            _run({**options, "validation": replace(base, **change)}, tmp_path)
    with pytest.raises(ValueError, match="another validation;"):
        _run({**options, "validation": None}, tmp_path)


def test_asymmetric_runs_have_an_identity_too(digits: Any, tmp_path: Path) -> None:
    features, labels = digits
    run = RunOptions(folder=tmp_path, resume=True, progress=False)
    options: dict[str, Any] = {"n_bits": 8, "settings": SETTINGS, "run": run, "loss": "ADSH"}
    train_head(features, labels, **options)
    with pytest.raises(ValueError, match="another loss;"):
        train_head(features, labels, loss_options={"gamma": 100.0}, **options)
    with pytest.raises(ValueError, match="another labels and loss;"):
        train_head(features, np.roll(labels, 1), **options)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda o: {"images": [image.rotate(90) for image in o["images"]]}, "images"),
        (lambda o: {"labels": np.roll(o["labels"], 1)}, "labels"),
        (lambda o: {"train_blocks": 2}, "train_blocks"),
        (lambda o: {"loss": HashNet(alpha=2.0)}, "loss"),
        (lambda o: {"backbone": load_backbone(_backbone(), image_size=16)}, "preprocessing"),
        (lambda o: {"backbone": load_backbone(_backbone(1), image_size=8)}, "network and preprocessing"),
        (lambda o: {"settings": replace(o["settings"], augmentation="none")}, "settings"),
        (lambda o: {"validation": ([image.rotate(90) for image in o["images"]], o["labels"])}, "validation"),
        (lambda o: {"penalty": WeightedPenalty("l2", 0.1)}, "penalty"),
    ],
)
def test_a_fine_tuning_is_not_resumed_as_another(change: Any, named: str, digits: Any, tmp_path: Path) -> None:
    features, labels = digits
    options: dict[str, Any] = {
        "images": [Image.fromarray((15 * row.reshape(8, 8)).astype(np.uint8)) for row in features], "labels": labels,
        "loss": "HashNet", "n_bits": 4, "backbone": load_backbone(_backbone(), image_size=8), "train_blocks": 1,
        "settings": replace(FINE_TUNE, epochs=1, hidden=(), standardize=False),
    }  # fmt: skip
    options["validation"] = (options["images"], labels)
    run = RunOptions(folder=tmp_path, resume=True, progress=False)
    fine_tune(run=run, **options)
    fine_tune(run=run, **options)
    with pytest.raises(ValueError, match=f"holds a run with another {named};"):
        fine_tune(run=run, **{**options, **change(options)})


def _backbone(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 1), nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        )
