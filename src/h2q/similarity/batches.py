"""Batches: tensors in memory for heads, images from disk for backbones; the same order for the same seed and epoch.

The order, and everything else that is random about an item, depends on the seed and the epoch only. So a resumed run
sees the same batches as an uninterrupted one, and the batches of many processes together are the batch of one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from h2q.similarity.distributed import process_count, process_rank

__all__ = ["ImageTensors", "TensorBatches", "image_batches"]


class BatchOrder:
    """The positions of each batch of an epoch: a seeded permutation in batches, of which each process takes its share.

    A remainder smaller than a batch is dropped (other items each epoch): a pairwise loss on a few rows is noise.

    Parameters
    ----------
    n_items : int
        Number of items.
    batch_size : int
        Number of items in a batch, at most all.
    random_state : int
        Seed of the permutations.
    """

    def __init__(self, n_items: int, batch_size: int, random_state: int) -> None:
        self.n_items, self.random_state = n_items, random_state
        self.batch_size = min(batch_size, n_items)
        self.epoch = 0
        self.sampler = self  # Lightning calls set_epoch on the sampler of the loader.

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches are yielded next."""
        self.epoch = epoch

    def order(self) -> NDArray[np.int64]:
        """Return the positions of the epoch's batches, one after the other."""
        return np.random.default_rng((self.random_state, self.epoch)).permutation(self.n_items)

    def batches(self) -> Iterator[NDArray[np.int64]]:
        """Yield the positions of each batch of the epoch, as far as they are this process's."""
        order = self.order()
        share = self.batch_size // process_count()
        for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
            first = start + process_rank() * share
            yield order[first : first + share]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield batches of (epoch, position) pairs, the keys of an `ImageTensors`."""
        for batch in self.batches():
            yield [(self.epoch, int(position)) for position in batch]

    def __len__(self) -> int:
        return self.n_items // self.batch_size


class TensorBatches:
    """Batches of features in memory, without workers and without copies other than the batch.

    Parameters
    ----------
    views : Tensor of shape (v, n, d)
        Features of v versions of the images (as they are, mirrored, cropped ...); each batch takes one at random for
        each item.
    labels : Tensor of shape (n,) or (n, c)
        Labels of the images.
    order : BatchOrder
        Order of the items.
    """

    def __init__(self, views: Tensor, labels: Tensor, order: BatchOrder) -> None:
        self.views, self.labels, self.sampler = views, labels, order

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = np.random.default_rng((self.sampler.random_state, self.sampler.epoch, len(self.views)))
        choice = torch.from_numpy(generator.integers(len(self.views), size=self.sampler.n_items))
        for batch in self.sampler.batches():
            positions = torch.from_numpy(batch)
            yield self.views[choice[positions], positions], self.labels[positions]

    def __len__(self) -> int:
        return len(self.sampler)


class ImageTensors(Dataset[tuple[Tensor, Tensor]]):
    """Images as preprocessed tensors, with their labels; optionally mirrored and cropped at random.

    Items are keyed by (epoch, position), so that what is random about an image does not depend on which worker process
    reads it.

    Parameters
    ----------
    images : sequence of n PIL images
        May be lazy.
    labels : Tensor of shape (n,) or (n, c)
        Labels of the images.
    preprocess : callable
        Maps a PIL image to a tensor.
    augment : callable, optional
        ``augment(image, generator)`` returns a random version of a PIL image.
    random_state : int
        Seed of the random versions.
    """

    def __init__(
        self,
        images: Sequence[Any],
        labels: Tensor,
        preprocess: Callable[[Any], Tensor],
        *,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
        random_state: int = 0,
    ) -> None:
        self.images, self.labels, self.preprocess = images, labels, preprocess
        self.augment, self.random_state = augment, random_state

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, position = item
        image = self.images[position]
        if self.augment is not None:
            image = self.augment(image, np.random.default_rng((self.random_state, epoch, position)))
        return self.preprocess(image), self.labels[position]


def image_batches(dataset: ImageTensors, order: BatchOrder, n_workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return a loader of `dataset` in `order`, read by `n_workers` processes (0: by this one)."""
    return DataLoader(dataset, batch_sampler=order, num_workers=n_workers)
