"""Frozen mode: features are computed once, and heads on them are trained in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from h2q.checks import as_embeddings, as_labels, check_n_bits
from h2q.similarity.batches import BatchOrder, TensorBatches
from h2q.similarity.heads import HashHead
from h2q.similarity.presets import TrainingSettings, settings_for
from h2q.similarity.training import Hardware, Penalty, fit_network
from h2q.similarity.validation import Validation

__all__ = ["TrainedHead", "build_loss", "check_classes", "embed_features", "train_head"]

# A head's matrices are too small for threads: they gain nothing on an idle machine and lose a factor on a busy one.
ONE_CORE = Hardware(accelerator="cpu", threads=1)

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class TrainedHead:
    """A head on frozen features, and how it came about.

    Attributes
    ----------
    head : HashHead
        The network, in evaluation mode.
    history : tuple of dict
        For each epoch: "epoch", "loss" and, with validation, "validation_map".
    best_epoch : int
        The epoch whose weights these are.
    validation_map : float or None
        Its validation score, from 0 to 1.
    seconds : float
        Wall-clock time of the training.
    """

    head: HashHead
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    validation_map: float | None
    seconds: float

    def embed(self, features: ArrayLike) -> NDArray[np.float32]:
        """Map features (n, d) to real-valued embeddings: float32 (n, k), what stage two takes."""
        return embed_features(self.head, as_embeddings(features, "features", n_features=self.head.n_features))


def train_head(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    loss: str | nn.Module,
    n_bits: int,
    validation: Validation | tuple[ArrayLike, ArrayLike] | None = None,
    penalty: Penalty | None = None,
    penalty_weight: float = 0.0,
    settings: TrainingSettings | None = None,
    random_state: int = 0,
    folder: str | PathLike[str] | None = None,
    resume: bool = False,
    log: Literal["csv", "tensorboard"] | None = None,
    hardware: Hardware = ONE_CORE,
    progress: bool = True,
) -> TrainedHead:
    """Train a small network from frozen features to embeddings in which items with a label in common are close.

    Parameters
    ----------
    features : array-like of shape (n, d) or (v, n, d)
        Features of the training images; with three dimensions, of v versions of them (for instance as they are and
        mirrored), of which each step takes one at random.
    labels : array-like of shape (n,) or (n, c)
        Class ids or multi-hot rows.
    loss : str or Module
        A name in `h2q.similarity.losses.LOSSES`, or any module ``loss(embeddings, labels)``, for instance one of
        pytorch-metric-learning.
    n_bits : int
        Width k of the embeddings, and bits of the codes to come.
    validation : Validation or (features, labels), optional
        Held-out items; the weights of the epoch that scores best are kept.
    penalty : callable, optional
        A quantization penalty ``penalty(embeddings)``, for baselines: the method needs none.
    penalty_weight : float
        Its weight.
    settings : TrainingSettings, optional
        Defaults to the preset ``settings_for(loss, "head")``.
    random_state : int
        Same seed, same weights (on the same machine and number of threads).
    folder : path, optional
        Where checkpoints and logs go.
    resume : bool
        Go on with the run in `folder`, if there is one.
    log : {"csv", "tensorboard"}, optional
        Logs in ``folder / "logs"``.
    hardware : Hardware
        Accelerator, processes, precision. One core is fast enough for a head.
    progress : bool
        Whether to show a bar on a terminal.

    Returns
    -------
    TrainedHead
        With ``.embed(features)``.

    Raises
    ------
    ValueError
        If there is only one class, there are fewer items than classes, or shapes do not fit.
    LossDivergedError
        If the loss becomes NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 3
    >>> features = np.eye(3)[labels].repeat(4, axis=1) + 0.1 * rng.normal(size=(60, 12))
    >>> trained = train_head(features, labels, loss="DPSH", n_bits=8, validation=(features[:30], labels[:30]))
    >>> trained.embed(features).shape
    (60, 8)
    >>> trained.validation_map > 0.9
    True
    """
    check_n_bits(n_bits)
    views = _as_views(features)
    class_labels = as_labels(labels, views.shape[1])
    n_classes = check_classes(class_labels)
    settings = (settings or settings_for(loss, "head")).for_items(len(class_labels))
    judge = as_validation(validation, views.shape[2], class_labels.ndim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        head = HashHead(views.shape[2], n_bits, **settings.head_options())
        criterion = build_loss(loss, n_bits, n_classes)
    head.standardize_like(views[0])
    order = BatchOrder(views.shape[1], settings.batch_size, random_state)
    run = fit_network(
        head,
        TensorBatches(torch.from_numpy(views), torch.from_numpy(class_labels), order),
        criterion,
        settings,
        validate=None if judge is None else HeadValidation(judge),
        penalty=penalty,
        penalty_weight=penalty_weight,
        random_state=random_state,
        folder=None if folder is None else Path(folder),
        resume=resume,
        identity={
            "loss": type(criterion).__name__, "n_bits": n_bits, "penalty_weight": penalty_weight,
            "data": [list(views.shape), crc32(views.tobytes()), crc32(class_labels.tobytes())],
        },
        log=log,
        hardware=hardware,
        progress=progress,
    )  # fmt: skip
    return TrainedHead(head, run.history, run.best_epoch, run.validation_map, run.seconds)


@dataclass(frozen=True)
class HeadValidation:
    """The score of a head; a class, and no closure, so that other processes can be sent it."""

    validation: Validation

    def __call__(self, head: nn.Module) -> float:
        return self.validation.evaluate(lambda features: embed_features(head, features))


def embed_features(head: nn.Module, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map features to embeddings, in evaluation mode and without gradients, on the device where the head is."""
    head.eval()
    device = next(head.parameters()).device
    rows = torch.from_numpy(features) if features.flags.writeable else torch.from_numpy(features.copy())
    with torch.inference_mode():
        parts: list[Tensor] = [head(part.to(device)).float().cpu() for part in torch.split(rows, _ROWS_AT_ONCE)]
    return torch.cat(parts).numpy()


def build_loss(loss: str | nn.Module, n_bits: int, n_classes: int) -> nn.Module:
    """Return the loss that a name stands for; a module is returned as it is."""
    if isinstance(loss, nn.Module):
        return loss
    from h2q.similarity.losses import make_loss

    made: nn.Module = make_loss(loss, n_bits=n_bits, n_classes=n_classes)
    return made


def check_classes(labels: NDArray[Any]) -> int:
    """Return the number of classes, or say why similarity cannot be learned from these labels.

    Raises
    ------
    ValueError
        If there is one class only, or fewer items than classes.

    Examples
    --------
    >>> check_classes(np.array([0, 1, 1, 2]))
    3
    >>> check_classes(np.array([4, 4, 4]))
    Traceback (most recent call last):
    ...
    ValueError: labels hold one class only: similarity is learned from pairs with and without a label in common; ...
    """
    used = np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))
    if len(used) < 2:
        raise ValueError(
            "labels hold one class only: similarity is learned from pairs with and without a label in common; add "
            "items "
            "of a second class"
        )
    n_classes = int(used.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    if len(labels) < n_classes:
        raise ValueError(
            f"labels name {n_classes} classes (ids from 0), but there are only {len(labels)} items; number the classes "
            "0, 1, 2 ... without gaps, and give at least one item a class"
        )
    return n_classes


def _as_views(features: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(features)
    if array.ndim != 3:
        return as_embeddings(features, "features", allow_zero_rows=True)[None]
    return as_embeddings(array.reshape(-1, array.shape[2]), "features", allow_zero_rows=True).reshape(array.shape)


def as_validation(
    validation: Validation | tuple[ArrayLike, ArrayLike] | None, n_features: int, labels_ndim: int
) -> Validation | None:
    if validation is None:
        return None
    if not isinstance(validation, Validation):
        inputs, labels = validation
        validation = Validation(inputs, np.asarray(labels))
    features = as_embeddings(validation.inputs, "validation features", n_features=n_features)
    labels = as_labels(validation.labels, len(features), "validation labels")
    if labels.ndim != labels_ndim:
        raise ValueError("validation labels must be class ids where labels are, and multi-hot rows where labels are")
    return Validation(features, labels, validation.database, validation.database_labels, validation.score)
