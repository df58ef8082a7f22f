"""Miners, cross-batch memory and class-balanced batches of pytorch-metric-learning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

pytest.importorskip("lightning")
pml = pytest.importorskip("pytorch_metric_learning")

from pytorch_metric_learning.losses import ContrastiveLoss, CrossBatchMemory, TripletMarginLoss  # noqa: E402
from pytorch_metric_learning.miners import BatchHardMiner, PairMarginMiner  # noqa: E402

from h2q.similarity import train_head  # noqa: E402
from h2q.similarity.metric_learning import BalancedOrder, MinedLoss  # noqa: E402
from h2q.similarity.presets import settings_for  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return images.astype(np.float32), labels


SETTINGS = replace(
    settings_for("DPSH", "head"), hidden=(64,), epochs=20, min_steps=0, batch_size=80,
    learning_rate=5e-3, hash_learning_rate=5e-3, dropout=0.0,
)  # fmt: skip


def train(digits, loss, **options):
    images, labels = digits
    return train_head(
        images[:600], labels[:600], loss=loss, n_bits=16, validation=(images[600:900], labels[600:900]),
        settings=replace(SETTINGS, **options),
    )  # fmt: skip


def test_a_mined_loss_is_the_loss_of_what_the_miner_chooses(digits):
    images, labels = (torch.from_numpy(array[:40]) for array in digits)
    loss, miner = TripletMarginLoss(), BatchHardMiner()
    assert MinedLoss(loss, miner)(images, labels) == loss(images, labels, miner(images, labels))
    with pytest.raises(ValueError, match="labels must be class ids"):
        MinedLoss(loss, miner)(images, torch.nn.functional.one_hot(labels))
    with pytest.raises(TypeError, match="miner must be a module of pytorch-metric-learning; got 'hard'"):
        MinedLoss(loss, "hard")


@pytest.mark.parametrize(
    "loss",
    [
        MinedLoss(TripletMarginLoss(), BatchHardMiner()),
        CrossBatchMemory(ContrastiveLoss(), 16, memory_size=200, miner=PairMarginMiner()),
    ],
    ids=["miner", "memory"],
)
def test_heads_learn_with_miners_and_memory(loss, digits):
    assert train(digits, loss, items_per_class=8).history.validation_map > 0.6


def test_batches_have_the_same_number_of_each_of_some_classes():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(6), (90, 40, 40, 20, 8, 2)))
    order = BalancedOrder(labels, batch_size=18, items_per_class=4, random_state=3)
    batches = list(order.batches())
    assert len(batches) == len(order) == 200 // 16
    for batch in batches:
        counts = np.bincount(labels[batch], minlength=6)
        assert sorted(counts.tolist()) == [0, 0, 4, 4, 4, 4]
    seen = np.bincount(labels[np.concatenate(batches)], minlength=6)
    assert seen.max() < 2 * seen.min()


def test_the_order_follows_seed_and_epoch_and_leaves_the_global_generator_alone():
    labels = np.arange(100) % 5

    def positions(random_state, epoch):
        order = BalancedOrder(labels, 20, 4, random_state)
        order.set_epoch(epoch)
        return order.order().tolist()

    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    assert positions(1, 2) == positions(1, 2)
    assert positions(1, 2) != positions(1, 3)
    assert positions(1, 2) != positions(2, 2)
    assert np.array_equal(np.random.get_state()[1], before)


def test_wrong_orders_say_what_is_wrong():
    with pytest.raises(ValueError, match="items_per_class needs class ids"):
        BalancedOrder(np.eye(4, dtype=bool), 4, 2, 0)
    with pytest.raises(ValueError, match="batch_size 4 must be at least items_per_class 8"):
        BalancedOrder(np.arange(40) % 2, 4, 8, 0)
    with pytest.raises(ValueError, match="items_per_class must be at least 1"):
        BalancedOrder(np.arange(40) % 2, 4, 0, 0)


def test_batch_normalization_is_folded_into_the_trained_head(digits):
    images, _ = digits
    trained = train(digits, "OrthoHash", batch_norm=True)
    assert trained.head.batch_norm is None
    assert trained.history.validation_map > 0.6
    embeddings = trained.embed(images[:600])
    balance = (embeddings > 0).mean(axis=0)
    assert np.abs(embeddings.mean(axis=0)).max() < 1
    assert ((balance > 0.2) & (balance < 0.8)).all()
