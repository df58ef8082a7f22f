"""A Ctrl-C during a training is raised, whoever swallows it."""

import contextlib
import os
import signal

import numpy as np
import pytest
import torch

from h2q.similarity.frozen import train_head
from h2q.similarity.interrupts import interrupts_kept
from h2q.similarity.losses import DPSH


class Interrupting(DPSH):
    """A loss that is interrupted while it is computed."""

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        return super().forward(embeddings, labels)


class Finalized:
    """Swallows an interrupt in its finalizer, as Python does."""

    def __del__(self) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_training_that_is_interrupted_raises_it_and_gives_the_handler_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    features = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    with pytest.raises(KeyboardInterrupt):
        train_head(features, np.arange(60) % 3, loss=Interrupting(), n_bits=8)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_in_a_finalizer_is_raised_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        Finalized()


def test_another_exit_is_left_alone() -> None:
    with pytest.raises(SystemExit), interrupts_kept():
        raise SystemExit(3)
