"""The loop of ADSH: the codes of the training images are learned themselves, in turns with the network.

Jiang and Li, "Asymmetric Deep Supervised Hashing", AAAI 2018, algorithm 1; the loss and the update of the codes are in
`h2q.similarity.losses.adsh`. Here every training image is in the sample of each turn, as in the paper's comparison on
CIFAR-10 (5,000 of 5,000).
"""

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from h2q.checks import as_embeddings, as_labels, check_integer, check_n_bits
from h2q.similarity.batches import BatchOrder, TensorBatches
from h2q.similarity.frozen import ONE_CORE, HeadValidation, TrainedHead, as_validation, check_classes
from h2q.similarity.heads import HashHead
from h2q.similarity.losses.adsh import ADSH
from h2q.similarity.presets import HEAD, TrainingSettings
from h2q.similarity.training import Hardware, fit_network
from h2q.similarity.validation import Validation

__all__ = ["AsymmetricTurns", "train_asymmetric_head"]


class AsymmetricTurns(ADSH):
    """`ADSH` as a loss of a batch's embeddings and *positions*; between epochs it takes its turn and updates the codes.

    Without the tanh, because stage one has none.

    Parameters
    ----------
    labels : Tensor of shape (n,) or (n, c)
        Class ids or multi-hot rows of all training items.
    n_bits : int
        Bits k.
    gamma : float
        Weight of the distance between codes and embeddings.
    epochs_per_turn : int
        Epochs of the network between two updates of the codes.
    """

    embeddings: Tensor

    def __init__(self, labels: Tensor, n_bits: int, *, gamma: float = 200.0, epochs_per_turn: int = 3) -> None:
        super().__init__(labels=labels, n_bits=n_bits, gamma=gamma, squash=False)
        self.epochs_per_turn = epochs_per_turn
        # A buffer, so that a checkpoint holds it and a resumed run goes on with the same codes.
        self.register_buffer("embeddings", torch.zeros(len(labels), n_bits))

    def step_epoch(self, epoch: int, n_epochs: int) -> None:
        """Update the codes at the end of each turn of the network."""
        if epoch and epoch % self.epochs_per_turn == 0:
            self.step_codes(self.embeddings, torch.arange(len(self.embeddings), device=self.embeddings.device))

    def forward(self, embeddings: Tensor, positions: Tensor) -> Tensor:  # type: ignore[override]
        """Return J of these rows over the number of their pairs."""
        self.embeddings[positions] = embeddings.detach()
        return super().forward(embeddings, self.labels[positions], positions)


def train_asymmetric_head(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    n_bits: int,
    gamma: float = 200.0,
    epochs_per_turn: int = 3,
    validation: Validation | tuple[ArrayLike, ArrayLike] | None = None,
    settings: TrainingSettings | None = None,
    random_state: int = 0,
    folder: str | PathLike[str] | None = None,
    resume: bool = False,
    log: Literal["csv", "tensorboard"] | None = None,
    hardware: Hardware = ONE_CORE,
    progress: bool = True,
) -> TrainedHead:
    """Train a head on frozen features with ADSH.

    Parameters
    ----------
    features : array-like of shape (n, d)
        Features of the training images.
    labels : array-like of shape (n,) or (n, c)
        Class ids or multi-hot rows.
    n_bits : int
        Bits k.
    gamma : float
        Weight of the distance between codes and embeddings; 200 is the authors'.
    epochs_per_turn : int
        Epochs of the network between two updates of the codes; 3 is the authors'.
    validation, settings, random_state, folder, resume, log, hardware, progress
        As in `train_head`; the default settings are those of heads with 60 epochs, 20 turns.

    Returns
    -------
    TrainedHead
        With ``.embed(features)``.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.arange(60) % 3
    >>> features = np.eye(3)[labels].repeat(4, axis=1) + 0.1 * np.random.default_rng(0).normal(size=(60, 12))
    >>> trained = train_asymmetric_head(features, labels, n_bits=8, validation=(features[:30], labels[:30]))
    >>> trained.validation_map > 0.9
    True
    """
    check_n_bits(n_bits)
    check_integer(epochs_per_turn, "epochs_per_turn", low=1)
    rows = as_embeddings(features, "features", allow_zero_rows=True)
    class_labels = as_labels(labels, len(rows))
    check_classes(class_labels)
    settings = (settings or replace(HEAD, epochs=60)).for_items(len(rows))
    judge = as_validation(validation, rows.shape[1], class_labels.ndim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        head = HashHead(rows.shape[1], n_bits, **settings.head_options())
    head.standardize_like(rows)
    order = BatchOrder(len(rows), settings.batch_size, random_state)
    identity: dict[str, Any] = {
        "loss": "ADSH", "n_bits": n_bits, "gamma": gamma, "epochs_per_turn": epochs_per_turn,
        "data": [list(rows.shape), crc32(rows.tobytes()), crc32(class_labels.tobytes())],
    }  # fmt: skip
    run = fit_network(
        head,
        TensorBatches(torch.from_numpy(rows)[None], torch.arange(len(rows)), order),
        AsymmetricTurns(torch.from_numpy(class_labels), n_bits, gamma=gamma, epochs_per_turn=epochs_per_turn),
        settings,
        validate=None if judge is None else HeadValidation(judge),
        random_state=random_state,
        folder=None if folder is None else Path(folder),
        resume=resume,
        identity=identity,
        log=log,
        hardware=hardware,
        progress=progress,
    )
    return TrainedHead(head, run.history, run.best_epoch, run.validation_map, run.seconds)
