"""The networks, what of them trains, and the order in which they see their data."""

import numpy as np
import pytest
import torch
from torch import nn

from h2q.datasets import load_dataset
from h2q.similarity.backbones import load_backbone
from h2q.similarity.batches import BatchOrder, ImageTensors, TensorBatches, image_batches
from h2q.similarity.export import fold_linear
from h2q.similarity.fine_tuning import fine_tune, mirror_and_crop
from h2q.similarity.frozen import TrainedHead
from h2q.similarity.heads import HashHead, HashNetwork, freeze_all_but_last
from h2q.similarity.presets import FINE_TUNE
from h2q.similarity.runs import TrainingHistory
from h2q.similarity.training import parameter_groups


def test_features_are_standardised_and_constant_ones_ignored() -> None:
    features = np.random.default_rng(0).normal(3, 5, (200, 4)).astype(np.float32)
    features[:, 2] = 7.0
    head = HashHead(4, 3, hidden=()).eval()
    head.standardize_like(features)
    seen: list[torch.Tensor] = []
    head.hash_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    head(torch.from_numpy(features))
    np.testing.assert_allclose(seen[0].mean(0), [0, 0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(seen[0].std(0, correction=0), [1, 1, 0, 1], atol=1e-4)
    other = features.copy()
    other[:, 2] = -100.0
    assert torch.equal(head(torch.from_numpy(other)), head(torch.from_numpy(features)))


def test_only_the_last_blocks_train_and_statistics_stay() -> None:
    backbone = load_backbone("efficientnet-lite0", image_size=32)
    every = sum(parameter.numel() for parameter in backbone.module.parameters())
    assert freeze_all_but_last(backbone.module, None) == every
    assert freeze_all_but_last(backbone.module, 0) == 0
    few = freeze_all_but_last(backbone.module, 1)
    assert 0 < few < every
    with pytest.raises(ValueError, match="n_blocks must be from 0 to"):
        freeze_all_but_last(backbone.module, 1000)
    network = HashNetwork(backbone.module, HashHead(1280, 8)).train()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert network.head.training
    groups = parameter_groups(network, nn.Module(), FINE_TUNE)
    assert [group["lr"] for group in groups] == [FINE_TUNE.hash_learning_rate, FINE_TUNE.learning_rate]
    assert sum(parameter.numel() for parameter in groups[1]["params"]) == few


def test_folding_takes_layers_without_bias_and_refuses_strangers() -> None:
    rng = np.random.default_rng(0)
    layer, matrix, mean = nn.Linear(5, 4, bias=False), rng.normal(size=(4, 3)), rng.normal(size=4)
    inputs = torch.randn(7, 5)
    expected = (layer(inputs).detach().double().numpy() - mean) @ matrix
    np.testing.assert_allclose(fold_linear(layer, matrix, mean)(inputs), expected, atol=1e-5)
    with pytest.raises(ValueError, match="takes embeddings of 6 dimensions, but the layer gives 4"):
        fold_linear(layer, np.zeros((6, 3)), np.zeros(6))


def test_an_epoch_sees_each_item_once_in_an_order_of_its_own() -> None:
    order = BatchOrder(10, 3, random_state=0)
    views = torch.stack([torch.arange(10.0), torch.arange(10.0) + 100])[:, :, None]
    epochs = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        batches = list(TensorBatches(views, torch.arange(10), order))
        assert [len(labels) for _, labels in batches] == [3, 3, 3]
        rows, labels = torch.cat([rows for rows, _ in batches])[:, 0], torch.cat([labels for _, labels in batches])
        assert len(set(labels.tolist())) == 9
        assert set((rows - labels).tolist()) == {0.0, 100.0}, "both versions are seen"
        epochs.append(rows.tolist())
    assert epochs[0] == epochs[2] != epochs[1]
    assert len(order) == 3


def test_images_do_not_depend_on_the_workers() -> None:
    digits = load_dataset("digits")
    backbone = load_backbone("efficientnet-lite0", image_size=32)
    dataset = ImageTensors(
        digits.images[:12], torch.arange(12), backbone.preprocess, augment=mirror_and_crop, random_state=3
    )
    order = BatchOrder(12, 6, random_state=0)
    alone, helped = (list(image_batches(dataset, order, n_workers)) for n_workers in (0, 1))
    for (images, labels), (other_images, other_labels) in zip(alone, helped, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)
    order.set_epoch(1)
    assert not torch.equal(next(iter(image_batches(dataset, order, 0)))[0], alone[0][0])


def test_a_head_of_another_width_is_refused() -> None:
    digits = load_dataset("digits")
    start = TrainedHead(HashHead(1280, 8), nn.MSELoss(), TrainingHistory((), -1, None, 0.0))
    with pytest.raises(ValueError, match="n_bits is 16"):
        fine_tune(digits.images[:20], digits.labels[:20], loss=nn.MSELoss(), n_bits=16, start=start)


def test_folding_the_batch_normalization_changes_no_embedding():
    head = HashHead(6, 4, hidden=(5,), batch_norm=True)
    features = 3 + torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        head(features)
    training = head(features)
    assert training.mean(dim=0).abs().max() < 1e-5
    head.eval()
    before = head(features)
    head.fold_batch_norm()
    assert head.batch_norm is None
    torch.testing.assert_close(head(features), before, rtol=1e-5, atol=1e-5)
    head.fold_batch_norm()
    torch.testing.assert_close(head(features), before, rtol=1e-5, atol=1e-5)
