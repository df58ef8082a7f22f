"""Fine-tuning continues the head's training, and never ends below it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from h2q.datasets import load_dataset
from h2q.similarity.backbones import Backbone, load_backbone
from h2q.similarity.features import extract_features
from h2q.similarity.fine_tuning import embed_images, fine_tune
from h2q.similarity.frozen import TrainedHead, train_head
from h2q.similarity.losses import HyP2
from h2q.similarity.presets import FINE_TUNE, HEAD
from h2q.similarity.runs import RunOptions
from h2q.similarity.validation import Validation, cosine_mean_average_precision

HEAD_SETTINGS = replace(HEAD, hidden=(32,), epochs=12, batch_size=50)
QUIET = RunOptions(progress=False)


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """100 CIFAR-10 images of four classes to train on, 60 held out, with a backbone and its features."""
    cifar = load_dataset("cifar10")
    backbone = load_backbone("efficientnet-lite0", image_size=32)
    folds = {}
    for fold, n in (("train", 25), ("validation", 15)):
        positions = cifar.folds[fold]
        chosen = np.concatenate([positions[cifar.labels[positions] == label][:n] for label in range(4)])
        images = [cifar.images[int(i)] for i in chosen]
        folds[fold] = (images, cifar.labels[chosen], extract_features(images, backbone, progress=False))
    return {"backbone": backbone, **folds}


def _train_head(parts: dict[str, Any], loss: Any, **options: Any) -> TrainedHead:
    (_, labels, features), (_, held_labels, held_features) = parts["train"], parts["validation"]
    return train_head(
        features, labels, loss=loss, n_bits=16, settings=HEAD_SETTINGS, run=QUIET,
        validation=(held_features, held_labels), **options,
    )  # fmt: skip


def _fine_tune(parts: dict[str, Any], loss: Any, start: TrainedHead | None, **options: Any) -> Any:
    images, labels, _ = parts["train"]
    return fine_tune(
        images, labels, loss=loss, n_bits=16, backbone=parts["backbone"], train_blocks=1, start=start, run=QUIET,
        **{"settings": replace(FINE_TUNE, epochs=1, batch_size=50), **options},
    )  # fmt: skip


def test_proxies_are_carried_on(parts: dict[str, Any]) -> None:
    start = _train_head(parts, "HyP2")
    before = start.loss.proxies.detach().clone()
    still = replace(FINE_TUNE, epochs=1, batch_size=50, loss_learning_rate=1e-12, schedule="constant")
    tuned = _fine_tune(parts, "HyP2", start, settings=still)
    torch.testing.assert_close(tuned.loss.proxies.detach(), before, atol=1e-6, rtol=0)
    assert torch.equal(start.loss.proxies, before), "the head's own loss is not changed"
    fresh = _fine_tune(parts, "HyP2", None, settings=still)
    assert (fresh.loss.proxies.detach() - before).abs().max() > 0.1


def test_the_continuation_of_hashnet_goes_on(parts: dict[str, Any]) -> None:
    start = _train_head(parts, "HashNet", loss_options={"growth": 10.0})
    reached = start.history.best_epoch
    assert start.loss.beta == pytest.approx((1 + 10 * reached) ** 0.5), "beta of the epoch that was kept"
    tuned = _fine_tune(parts, "HashNet", start)
    assert tuned.loss.beta == pytest.approx((1 + 10 * (reached + 1)) ** 0.5)


@pytest.mark.parametrize("falls", [True, False])
def test_the_head_before_fine_tuning_is_a_candidate(parts: dict[str, Any], falls: bool) -> None:
    start = _train_head(parts, "CosineEmbedding")
    images, labels, features = parts["validation"]
    scores = iter([0.5, 0.4, 0.3] if falls else [0.5, 0.4, 0.6])
    validation = Validation(images, labels, score=lambda *_: next(scores))
    two = replace(FINE_TUNE, epochs=2, batch_size=50, learning_rate=0.01)
    tuned = _fine_tune(parts, "CosineEmbedding", start, settings=two, validation=validation)
    assert tuned.history.initial_map == 0.5
    assert len(tuned.history.epochs) == 2
    assert (tuned.history.best_epoch, tuned.history.validation_map) == ((-1, 0.5) if falls else (1, 0.6))
    same = np.allclose(tuned.embed(images), start.embed(features), atol=1e-5)
    assert same == falls


def test_it_never_validates_below_its_head(parts: dict[str, Any]) -> None:
    start = _train_head(parts, "HyP2")
    images, labels, _ = parts["validation"]
    wild = replace(FINE_TUNE, epochs=1, batch_size=50, learning_rate=0.3, hash_learning_rate=0.3)
    tuned = _fine_tune(parts, "HyP2", start, settings=wild, validation=(images, labels))
    assert start.history.validation_map is not None
    assert tuned.history.validation_map >= start.history.validation_map - 1e-6
    embeddings = tuned.embed(images)
    score = cosine_mean_average_precision(embeddings, None, labels, None)
    assert score == pytest.approx(tuned.history.validation_map, abs=1e-6)


def test_the_backbone_that_is_passed_is_not_changed(parts: dict[str, Any]) -> None:
    backbone: Backbone = parts["backbone"]
    before = {key: value.clone() for key, value in backbone.module.state_dict().items()}
    tuned = _fine_tune(parts, "DPSH", None)
    for key, value in backbone.module.state_dict().items():
        assert torch.equal(value, before[key])
    changed = {key.split(".")[0] for key, value in tuned.backbone.module.state_dict().items()
               if not torch.equal(value, before[key])}  # fmt: skip
    assert changed == {str(max(int(key.split(".")[0]) for key in before))}
    images = parts["validation"][0]
    np.testing.assert_array_equal(tuned.embed(images), embed_images(tuned.backbone, tuned.head, images))


def test_one_loss_object_gives_the_same_result_twice(parts: dict[str, Any]) -> None:
    torch.manual_seed(0)
    loss = HyP2(n_bits=16, n_classes=4)
    before = loss.proxies.detach().clone()
    features = parts["validation"][2]
    first, second = (_train_head(parts, loss).embed(features) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(loss.proxies, before)
    once, again = (_fine_tune(parts, loss, None).embed(parts["validation"][0]) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert torch.equal(loss.proxies, before)


def test_options_are_for_losses_by_name(parts: dict[str, Any]) -> None:
    trained = _train_head(parts, "DCH", loss_options={"gamma": 10, "similar_fraction": "training set"})
    assert trained.loss.gamma == 10
    assert trained.loss.similar_fraction == pytest.approx(4 * 25 * 24 / (100 * 99))
    with pytest.raises(ValueError, match="loss_options are for a loss given by name; set beta on the HyP2"):
        _train_head(parts, HyP2(n_bits=16, n_classes=4), loss_options={"beta": 1.0})
    with pytest.raises(TypeError, match="DCH has no option beta; it has gamma"):
        _train_head(parts, "DCH", loss_options={"beta": 1.0})
