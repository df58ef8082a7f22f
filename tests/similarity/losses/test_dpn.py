"""The updated codes of DPN."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from h2q.similarity import train_head
from h2q.similarity.losses import DPN
from h2q.similarity.presets import settings_for


def test_codes_become_the_majority_of_the_signs_of_the_epoch_before() -> None:
    loss = DPN(n_bits=4, n_classes=3, update_every=2)
    before = loss.codebook.clone()
    loss.step_epoch(0, 6)
    loss(torch.full((5, 4), -3.0), torch.tensor([0, 0, 1, 1, 2]))  # forgotten: another epoch follows
    loss.step_epoch(1, 6)
    assert torch.equal(loss.codebook, before)
    z = torch.tensor([[1.0, 9.0, -1.0, 2.0], [1.0, -1.0, -2.0, 1.0], [1.0, -2.0, -0.1, -1.0], [-5.0, -5.0, -5.0, -5.0]])
    loss(z[:2], torch.tensor([0, 0]))
    loss(z[2:], torch.tensor([0, 1]))
    loss.step_epoch(2, 6)
    assert loss.codebook[0].tolist() == [1, -1, -1, 1]
    assert loss.codebook[1].tolist() == [-1, -1, -1, -1]
    assert torch.equal(loss.codebook[2], before[2])  # no items of the class


def test_a_bit_with_as_many_signs_of_each_kind_stays() -> None:
    loss = DPN(n_bits=2, n_classes=2, update_every=1)
    before = loss.codebook.clone()
    loss(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), torch.tensor([0, 0]))
    loss.step_epoch(1, 2)
    assert loss.codebook[0].tolist() == [before[0, 0].item(), 1]


def test_an_item_of_several_classes_counts_for_each() -> None:
    loss = DPN(n_bits=4, n_classes=3, update_every=1)
    loss(torch.tensor([[1.0, -1.0, 2.0, -2.0]]), torch.tensor([[1, 0, 1]]))
    loss.step_epoch(1, 2)
    assert loss.codebook[[0, 2]].tolist() == [[1, -1, 1, -1]] * 2


def test_fixed_codes_and_validation_leave_the_codes_alone() -> None:
    for loss in (DPN(n_bits=4, n_classes=2), DPN(n_bits=4, n_classes=2, update_every=1).eval()):
        before = loss.codebook.clone()
        loss(-before, torch.tensor([0, 1]))
        loss.step_epoch(1, 3)
        assert torch.equal(loss.codebook, before)


@pytest.mark.parametrize("value", [-1, 0.5])
def test_update_every_is_a_count(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="update_every"):
        DPN(n_bits=4, n_classes=2, update_every=value)


def test_training_updates_the_codes() -> None:
    labels = np.arange(120) % 3
    features = np.eye(3)[labels].repeat(4, axis=1) + 0.1 * np.random.default_rng(0).normal(size=(120, 12))
    settings = replace(settings_for("DPN", "head"), epochs=4)
    fixed, moved = (
        train_head(
            features, labels, loss="DPN", n_bits=16, loss_options={"update_every": every}, settings=settings
        ).loss.codebook
        for every in (0, 1)
    )
    assert torch.equal(fixed, DPN(n_bits=16, n_classes=3).codebook)
    assert set(moved.unique().tolist()) == {-1, 1}
    assert not torch.equal(fixed, moved)
