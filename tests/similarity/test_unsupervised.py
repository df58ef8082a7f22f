"""Heads for images without labels."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

pytest.importorskip("lightning")

from h2q.similarity import TrainingSettings, train_unsupervised_head
from h2q.similarity.losses import UNSUPERVISED_LOSSES, BiHalfUnsupervised
from h2q.similarity.presets import HEAD
from h2q.similarity.validation import cosine_mean_average_precision

SETTINGS: TrainingSettings = replace(
    HEAD, hidden=(64,), epochs=15, min_steps=0, batch_size=80, dropout=0.0, learning_rate=5e-3, hash_learning_rate=5e-3
)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    return images.astype(np.float32), labels


def score_of_codes(trained, digits) -> float:
    codes = np.sign(trained.embed(digits[0][1200:1500]))
    return cosine_mean_average_precision(codes, None, digits[1][1200:1500], None)


@pytest.mark.parametrize("name", list(UNSUPERVISED_LOSSES))
def test_codes_become_better_without_labels(name: str, digits) -> None:
    untrained, trained = (
        train_unsupervised_head(
            digits[0][:1200], n_bits=16, loss=name, settings=replace(SETTINGS, epochs=epochs, hash_learning_rate=rate,
                                                                     learning_rate=rate)
        )
        for epochs, rate in ((1, 1e-12), (15, 5e-3))
    )  # fmt: skip
    assert score_of_codes(trained, digits) > score_of_codes(untrained, digits) + 0.05
    losses = [epoch["loss"] for epoch in trained.history.epochs]
    assert losses[-1] < 0.9 * losses[0]


def test_the_same_seed_gives_the_same_head(digits) -> None:
    settings = replace(SETTINGS, epochs=2)
    versions = np.stack([digits[0][:300], digits[0][:300, ::-1]])
    embeddings = [
        train_unsupervised_head(versions, n_bits=8, settings=settings, random_state=seed).embed(digits[0][:20])
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(embeddings[0], embeddings[1])
    assert not np.array_equal(embeddings[0], embeddings[2])


def test_wrong_arguments_say_what_is_wrong(digits) -> None:
    images, labels = digits
    with pytest.raises(ValueError, match="loss must be one of BiHalfUnsupervised, CIBHash without labels; got 'DPSH'"):
        train_unsupervised_head(images, n_bits=8, loss="DPSH")
    with pytest.raises(TypeError, match="loss must be a name or an UnsupervisedLoss; got 3"):
        train_unsupervised_head(images, n_bits=8, loss=3)
    with pytest.raises(ValueError, match="items_per_class needs labels"):
        train_unsupervised_head(images, n_bits=8, settings=replace(SETTINGS, items_per_class=4))
    with pytest.raises(ValueError, match="gamma must be"):
        train_unsupervised_head(images, n_bits=8, loss="BiHalfUnsupervised", loss_options={"gamma": -1.0})
    with pytest.raises(ValueError, match="features"):
        train_unsupervised_head(labels, n_bits=8, loss=BiHalfUnsupervised())
