"""The loop of ADSH: the codes of the training images are learned themselves, in turns with the network.

Jiang and Li, "Asymmetric Deep Supervised Hashing", AAAI 2018, algorithm 1; the loss and the update of the codes are in
`h2q.similarity.losses.adsh`. Here every training image is in the sample of each turn, as in the paper's comparison on
CIFAR-10 (5,000 of 5,000).
"""

from dataclasses import replace

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from h2q.checks import as_embeddings, check_integer, check_n_bits
from h2q.similarity.batches import TensorBatches
from h2q.similarity.frozen import HeadValidation, TrainedHead, as_validation, describe_run, on_one_core
from h2q.similarity.heads import HashHead
from h2q.similarity.labels import ClassLabels, as_class_labels
from h2q.similarity.losses.adsh import ADSH
from h2q.similarity.presets import HEAD, TrainingSettings
from h2q.similarity.runs import RunOptions
from h2q.similarity.training import Objective, fit_network
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
        # A buffer, so that a checkpoint holds it and a resumed run continues with the same codes.
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
    labels: ArrayLike | ClassLabels,
    *,
    n_bits: int,
    gamma: float = 200.0,
    epochs_per_turn: int = 3,
    validation: Validation | tuple[ArrayLike, ArrayLike] | None = None,
    settings: TrainingSettings | None = None,
    random_state: int = 0,
    run: RunOptions = RunOptions(),  # noqa: B008, frozen
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
    validation, settings, random_state, run
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
    >>> trained.history.validation_map > 0.9
    True
    """
    check_n_bits(n_bits)
    check_integer(epochs_per_turn, "epochs_per_turn", low=1)
    rows = as_embeddings(features, "features", allow_zero_rows=True)
    classes = as_class_labels(labels, len(rows))
    settings = (settings or replace(HEAD, epochs=60)).for_items(len(rows))
    held_out = as_validation(validation, rows.shape[1], classes.values.ndim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        head = HashHead(rows.shape[1], n_bits, **settings.head_options())
    if settings.standardize:
        head.standardize_like(rows)
    turns = AsymmetricTurns(torch.from_numpy(classes.values), n_bits, gamma=gamma, epochs_per_turn=epochs_per_turn)
    history = fit_network(
        head,
        TensorBatches(
            torch.from_numpy(rows)[None],
            torch.arange(len(rows)),
            settings.batch_order(classes.values, random_state),
        ),
        Objective(turns),
        settings,
        validate=None if held_out is None else HeadValidation(held_out),
        random_state=random_state,
        identity=describe_run(
            run, n_bits=n_bits, loss=turns, settings=settings, features=rows, labels=classes.values,
            validation=held_out,
        ),
        run=on_one_core(run),
    )  # fmt: skip
    head.fold_batch_norm()
    return TrainedHead(head, turns, history)
