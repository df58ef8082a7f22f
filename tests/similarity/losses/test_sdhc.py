"""The orthogonality of the hash layer's weights in SDH-C."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from h2q.similarity import train_head
from h2q.similarity.losses import SDHC
from h2q.similarity.presets import settings_for


def test_the_term_is_the_distance_of_the_gram_matrix_from_the_identity(make_batch: Any) -> None:
    z, labels, _ = make_batch(9)
    loss = SDHC(n_bits=z.shape[1], n_classes=5, orthogonality=0.5).to(z.dtype)
    layer = nn.Linear(3, z.shape[1]).to(z.dtype)
    without = loss(z, labels).item()
    loss.watch_hash_layer(layer)
    rows = layer.weight.tolist()
    squares = [
        (sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) - (i == j)) ** 2
        for i in range(len(rows))
        for j in range(len(rows))
    ]
    value = loss(z, labels)
    assert value.item() - without == pytest.approx(0.5 * sum(squares) / len(squares), rel=1e-5)
    value.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.any()


def test_the_layer_is_neither_parameter_nor_state_of_the_loss() -> None:
    loss = SDHC(n_bits=4, n_classes=3)
    loss.watch_hash_layer(nn.Linear(6, 4))
    assert {name for name, _ in loss.named_parameters()} == {"weight", "bias"}
    assert set(loss.state_dict()) == {"weight", "bias"}


def test_training_makes_the_hash_layer_more_orthogonal() -> None:
    labels = np.arange(120) % 3
    features = np.eye(3)[labels].repeat(4, axis=1) + 0.1 * np.random.default_rng(0).normal(size=(120, 12))
    settings = replace(settings_for("SDHC", "head"), epochs=10, hidden=(32,), hash_learning_rate=0.02)
    distances = []
    for weight in (0.0, 10.0):
        trained = train_head(
            features, labels, loss="SDHC", n_bits=8, loss_options={"orthogonality": weight}, settings=settings
        )
        layer = trained.head.hash_layer.weight.detach()
        distances.append((layer @ layer.T - torch.eye(8)).square().mean().item())
    assert distances[1] < distances[0] / 2
