"""What pytorch-metric-learning brings to training: miners, cross-batch memory, class-balanced batches.

Its losses, and `CrossBatchMemory` around one of them, are modules ``loss(embeddings, labels)`` and take the place of a
loss as they are. This module has what does not: a miner, which chooses pairs or triplets for a loss, and the order of
batches with several images of each class.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from h2q.checks import check_integer
from h2q.errors import describe, require
from h2q.similarity.batches import BatchOrder

__all__ = ["BalancedOrder", "MinedLoss"]


class MinedLoss(nn.Module):
    """A loss of pytorch-metric-learning on the pairs or triplets that one of its miners chooses.

    Parameters
    ----------
    loss : Module
        ``loss(embeddings, labels, chosen)``.
    miner : Module
        ``miner(embeddings, labels)`` gives the indices of pairs or triplets.

    Examples
    --------
    >>> import torch
    >>> from pytorch_metric_learning.losses import TripletMarginLoss
    >>> from pytorch_metric_learning.miners import BatchHardMiner
    >>> loss = MinedLoss(TripletMarginLoss(margin=0.2), BatchHardMiner())
    >>> loss(torch.eye(4), torch.tensor([0, 0, 1, 1])).item() > 0
    True
    """

    def __init__(self, loss: nn.Module, miner: nn.Module) -> None:
        super().__init__()
        for name, value in (("loss", loss), ("miner", miner)):
            if not isinstance(value, nn.Module):
                raise TypeError(f"{name} must be a module of pytorch-metric-learning; got {describe(value)}")
        self.loss, self.miner = loss, miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of what the miner chooses.

        Parameters
        ----------
        embeddings : Tensor of shape (n, k)
            Real-valued.
        labels : Tensor of shape (n,)
            Class ids; pytorch-metric-learning knows no multi-hot rows.
        """
        if labels.ndim != 1:
            raise ValueError(f"labels must be class ids (n,), as miners know no multi-hot rows; got {describe(labels)}")
        value: Tensor = self.loss(embeddings, labels, self.miner(embeddings, labels))
        return value


class BalancedOrder(BatchOrder):
    """Batches with the same number of images of each of some classes, by pytorch-metric-learning's `MPerClassSampler`.

    An epoch has as many batches as with `BatchOrder`, but not every image is in one. Classes with fewer images than
    `items_per_class` repeat them.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        Class ids.
    batch_size : int
        Number of images in a batch; rounded down to a multiple of `items_per_class`, at most that of all classes.
    items_per_class : int
        Images of each class in a batch, at least 1.
    random_state : int
        Seed of the order; with the epoch it gives the batches, also after a resumed run.

    Examples
    --------
    >>> labels = np.array([0] * 50 + [1] * 5 + [2] * 45)
    >>> order = BalancedOrder(labels, batch_size=8, items_per_class=4, random_state=0)
    >>> sorted(np.bincount(labels[next(order.batches())], minlength=3).tolist())
    [0, 4, 4]
    """

    def __init__(self, labels: NDArray[Any], batch_size: int, items_per_class: int, random_state: int) -> None:
        samplers = require("pytorch_metric_learning.samplers", "metric")
        each = check_integer(items_per_class, "items_per_class", low=1)
        labels = np.asarray(labels)
        if labels.ndim != 1:
            raise ValueError(f"items_per_class needs class ids (n,), not multi-hot rows; got {describe(labels)}")
        size = min(batch_size // each, len(np.unique(labels))) * each
        if size == 0:
            raise ValueError(f"batch_size {batch_size} must be at least items_per_class {each}")
        super().__init__(len(labels), size, random_state)
        # A class with few images must not make a batch larger than the data.
        self.batch_size = size
        self._sampler = samplers.MPerClassSampler(labels, each, size, max(len(labels), size))

    def order(self) -> NDArray[np.int64]:
        """Return the positions of the epoch's batches, one after the other."""
        with _seeded((self.random_state, self.epoch)):
            return np.array(list(self._sampler), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._sampler) // self.batch_size


@contextmanager
def _seeded(seed: tuple[int, ...]) -> Iterator[None]:
    """Give pytorch-metric-learning, which draws from NumPy's global generator, a generator of its own."""
    common: Any = require("pytorch_metric_learning.utils.common_functions", "metric")
    before = common.NUMPY_RANDOM
    common.NUMPY_RANDOM = np.random.RandomState(np.random.SeedSequence(seed).generate_state(4))
    try:
        yield
    finally:
        common.NUMPY_RANDOM = before
