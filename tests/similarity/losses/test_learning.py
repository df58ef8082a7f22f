"""Every loss, with a plain optimizer, sorts real images by class; so do losses of pytorch-metric-learning."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from h2q.similarity.losses import ADSH, LOSSES, UNSUPERVISED_LOSSES, make_loss
from h2q.similarity.validation import cosine_mean_average_precision

N_BITS = 16


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    images = (images - images.mean(axis=0)) / images.std()
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(labels)


def _learn(loss: nn.Module, images: Tensor, labels: Tensor) -> tuple[list[float], float]:
    """Train a small network on 1,200 images; return the losses and the score of 400 others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, N_BITS))
        optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=5e-3)
        values = []
        for step in range(200):
            rows = torch.randperm(1200)[:80]
            if isinstance(loss, ADSH):
                if step % 20 == 0:
                    loss.step_codes(network(images[:1200]).detach(), torch.arange(1200))
                value = loss(network(images[rows]), labels[rows], rows)
            else:
                value = loss(network(images[rows]), labels[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.item())
        with torch.no_grad():
            embeddings = network(images[1200:1600]).numpy()
    held_out = labels[1200:1600].numpy()
    return values, cosine_mean_average_precision(embeddings, None, held_out, None)


@pytest.fixture(scope="module")
def raw_score(digits: tuple[Tensor, Tensor]) -> float:
    images, labels = digits[0][1200:1600].numpy(), digits[1][1200:1600].numpy()
    return cosine_mean_average_precision(images, None, labels, None)


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_learns(name: str, digits: tuple[Tensor, Tensor], raw_score: float) -> None:
    images, labels = digits
    options = {"labels": labels[:1200]} if name == "ADSH" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = make_loss(name, n_bits=N_BITS, n_classes=10, **options)
    values, score = _learn(loss, images, labels)
    assert np.mean(values[-10:]) < 0.8 * np.mean(values[:3])
    assert score > raw_score + 0.05


@pytest.mark.parametrize("name", list(UNSUPERVISED_LOSSES))
def test_every_loss_without_labels_learns(name: str, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    loss = UNSUPERVISED_LOSSES[name]()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, N_BITS))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)

    def score_of_codes() -> float:
        with torch.no_grad():
            codes = network(images[1200:1600]).sign().numpy()
        held_out = labels[1200:1600].numpy()
        return cosine_mean_average_precision(codes, None, held_out, None)

    before, values = score_of_codes(), []
    for _ in range(300):
        rows = images[torch.randperm(1200)[:80]]
        first, second = (rows + 0.5 * torch.randn_like(rows) for _ in range(2))
        value = loss(network(first), network(second) if loss.context == "view" else first)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert np.mean(values[-10:]) < 0.8 * np.mean(values[:3])
    assert score_of_codes() > before + 0.05


@pytest.mark.parametrize("name", ["TripletMarginLoss", "MultiSimilarityLoss", "NormalizedSoftmaxLoss"])
def test_losses_of_pytorch_metric_learning_are_called_the_same_way(
    name: str, digits: tuple[Tensor, Tensor], raw_score: float
) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    options = {"num_classes": 10, "embedding_size": N_BITS} if name == "NormalizedSoftmaxLoss" else {}
    values, score = _learn(getattr(losses, name)(**options), *digits)
    assert np.mean(values[-10:]) < 0.8 * np.mean(values[:3])
    assert score > raw_score + 0.05
