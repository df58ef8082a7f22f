"""Heads for images without labels: the losses of `UNSUPERVISED_LOSSES` on frozen features."""

from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from h2q.checks import check_n_bits
from h2q.errors import describe
from h2q.similarity.batches import BatchOrder, TensorBatches
from h2q.similarity.frozen import TrainedHead, as_views, describe_run, on_one_core
from h2q.similarity.heads import HashHead
from h2q.similarity.losses import UNSUPERVISED_LOSSES, UnsupervisedLoss
from h2q.similarity.presets import HEAD, TrainingSettings
from h2q.similarity.runs import RunOptions
from h2q.similarity.training import Objective, fit_network

__all__ = ["train_unsupervised_head"]


class _WithContext(nn.Module):
    """A loss of embeddings and *positions*, which looks up the features there, or embeds another view of them."""

    def __init__(self, loss: UnsupervisedLoss, views: Tensor, head: HashHead) -> None:
        super().__init__()
        self.loss = loss
        # In a tuple, so that neither is a part of this module: the head's weights are not the loss's own parameters.
        self._shared = (views, head)

    def forward(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """Return the loss of these embeddings and of the features at these positions."""
        views, head = self._shared
        version = torch.randint(len(views), (len(positions),), device=views.device)
        features = views[version, positions]
        context = head(features) if self.loss.context == "view" else features
        value: Tensor = self.loss(embeddings, context)
        return value


def train_unsupervised_head(
    features: ArrayLike,
    *,
    n_bits: int,
    loss: str | UnsupervisedLoss = "CIBHash",
    loss_options: dict[str, Any] | None = None,
    settings: TrainingSettings | None = None,
    random_state: int = 0,
    run: RunOptions = RunOptions(),  # noqa: B008, frozen
) -> TrainedHead:
    """Train a small network from frozen features to embeddings, without labels.

    Parameters
    ----------
    features : array-like of shape (n, d) or (v, n, d)
        Features of the training images; with three dimensions, of v versions of them (for instance as they are and
        mirrored). A view of an image is one of its versions, with the head's noise and dropout.
    n_bits : int
        Width k of the embeddings, and bits of the codes to come.
    loss : str or UnsupervisedLoss
        A name in `h2q.similarity.losses.UNSUPERVISED_LOSSES`, or such a loss.
    loss_options : mapping, optional
        Options of a loss that is given by its name.
    settings : TrainingSettings, optional
        Default: those of heads that are trained with labels.
    random_state : int
        Same seed, same weights (on the same machine and number of threads).
    run : RunOptions
        Folder, resume, log, hardware, progress.

    Returns
    -------
    TrainedHead
        With ``.embed(features)``. Without labels there is no validation: the last epoch is kept.

    Raises
    ------
    ValueError
        If there is no such loss, or shapes do not fit.
    LossDivergedError
        If the loss becomes NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = np.eye(3)[np.arange(60) % 3].repeat(4, axis=1) + 0.1 * rng.normal(size=(60, 12))
    >>> train_unsupervised_head(features, n_bits=8).embed(features).shape
    (60, 8)
    """
    check_n_bits(n_bits)
    views = as_views(features)
    settings = (settings or HEAD).for_items(views.shape[1])
    if settings.items_per_class is not None:
        raise ValueError("items_per_class needs labels, and there are none")
    if isinstance(loss, str):
        if loss not in UNSUPERVISED_LOSSES:
            raise ValueError(f"loss must be one of {', '.join(UNSUPERVISED_LOSSES)} without labels; got {loss!r}")
        loss = UNSUPERVISED_LOSSES[loss](**(loss_options or {}))
    elif not isinstance(loss, UnsupervisedLoss):
        raise TypeError(f"loss must be a name or an UnsupervisedLoss; got {describe(loss)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        head = HashHead(views.shape[2], n_bits, **settings.head_options())
    if settings.standardize:
        head.standardize_like(views[0])
    tensors = torch.from_numpy(views)
    history = fit_network(
        head,
        TensorBatches(
            tensors, torch.arange(views.shape[1]), BatchOrder(views.shape[1], settings.batch_size, random_state)
        ),
        Objective(_WithContext(loss, tensors, head)),
        settings,
        random_state=random_state,
        identity=describe_run(run, n_bits=n_bits, loss=loss, settings=settings, features=views),
        run=on_one_core(run),
    )
    head.fold_batch_norm()
    return TrainedHead(head, loss, history)
