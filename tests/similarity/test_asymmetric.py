"""ADSH: its turns against naive loops, and what it learns on real images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from h2q.similarity.asymmetric import AsymmetricTurns
from h2q.similarity.fine_tuning import fine_tune
from h2q.similarity.frozen import train_head
from h2q.similarity.presets import FINE_TUNE, HEAD, settings_for
from h2q.similarity.runs import RunOptions
from h2q.similarity.validation import cosine_mean_average_precision


def _problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (30, 4), generator=generator).double()
    embeddings = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    codes = torch.where(torch.randn(30, 6, generator=generator) > 0, 1.0, -1.0).double()
    return labels, embeddings, codes


def _naive(codes: torch.Tensor, embeddings: torch.Tensor, labels: torch.Tensor, gamma: float) -> float:
    n, k = embeddings.shape
    similar = [[bool((labels[i] * labels[j]).sum() > 0) for j in range(n)] for i in range(n)]
    count = sum(map(sum, similar))
    total = 0.0
    for i in range(n):
        for j in range(n):
            target = k * (1.0 if similar[i][j] else -count / (n * n - count))
            total += (float(embeddings[i] @ codes[j]) - target) ** 2
        total += gamma * float((codes[i] - embeddings[i]).square().sum())
    return total


def test_the_loss_is_the_naive_loops() -> None:
    labels, embeddings, codes = _problem()
    turns = AsymmetricTurns(labels, 6, gamma=3.0).double()
    turns.codes = codes
    value = turns(embeddings, torch.arange(30)).item()
    assert value == pytest.approx(_naive(codes, embeddings, labels, 3.0) / 900, rel=1e-6)


def test_gradients_are_right() -> None:
    labels, embeddings, codes = _problem()
    turns = AsymmetricTurns(labels, 6, gamma=3.0).double()
    turns.codes = codes
    positions = torch.tensor([3, 8, 21])
    assert torch.autograd.gradcheck(lambda rows: turns(rows, positions), embeddings[positions].requires_grad_())


def test_it_learns_real_images() -> None:
    data = load_digits()
    features, labels = data.data.astype(np.float32) + 0.01, data.target
    trained = train_head(
        features[:600], labels[:600], loss="adsh", n_bits=16, validation=(features[600:900], labels[600:900]),
        settings=replace(HEAD, hidden=(64,), epochs=30, batch_size=60, min_steps=0),
    )  # fmt: skip
    raw = cosine_mean_average_precision(features[600:900], None, labels[600:900], None)
    assert trained.history.validation_map is not None
    assert trained.history.validation_map > raw + 0.05
    assert isinstance(trained.loss, AsymmetricTurns)
    assert set(trained.loss.codes.unique().tolist()) == {-1.0, 1.0}, "the codes took their turns"
    assert settings_for("ADSH").epochs == 60


def test_a_backbone_is_trained_with_it_too() -> None:
    from PIL import Image

    data = load_digits()
    images = [Image.fromarray((15 * image).astype(np.uint8)) for image in data.images[:60]]
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()
    )
    tuned = fine_tune(
        images, data.target[:60], loss="ADSH", n_bits=8, backbone=backbone, loss_options={"epochs_per_turn": 1},
        settings=replace(FINE_TUNE, epochs=3, hidden=(), batch_size=20), run=RunOptions(progress=False),
    )  # fmt: skip
    assert set(tuned.loss.codes.unique().tolist()) == {-1.0, 1.0}
    assert tuned.loss.embeddings.abs().sum(dim=1).all(), "every image was in a batch"
    assert tuned.embed(images[:2]).shape == (2, 8)
