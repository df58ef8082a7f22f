"""ADSH: the codes of the training images are learnt themselves, in turns with the network.

Jiang and Li, "Asymmetric Deep Supervised Hashing", AAAI 2018, algorithm 1. With U (n, k) the embeddings of the training
images, V (n, k) in {-1, 1} their codes and S (n, n) their similarity,

    J = sum_ij (u_i . v_j - k S_ij)^2 + gamma sum_i |v_i - u_i|^2

is descended in turns: by gradient steps on the network with V fixed, then by one exact update of V, a bit at a time.
Here every training image is in the sample of each turn, as in the paper's comparison on CIFAR-10 (5,000 of 5,000).
"""

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from h2q.checks import as_embeddings, as_labels, check_integer, check_n_bits
from h2q.similarity.batches import BatchOrder, TensorBatches
from h2q.similarity.frozen import ONE_CORE, HeadValidation, TrainedHead, as_validation, check_classes
from h2q.similarity.heads import HashHead
from h2q.similarity.presets import HEAD, TrainingSettings
from h2q.similarity.training import Hardware, fit_network
from h2q.similarity.validation import Validation

__all__ = ["AsymmetricTurns", "train_asymmetric_head", "update_codes"]

_ROWS_AT_ONCE = 1024


def dissimilarity(labels: Tensor) -> float:
    """Return what S holds for pairs without a label in common, so that both kinds of pairs weigh the same: -r.

    r is the number of similar pairs over that of the others, as in the code of the method's authors.
    """
    parts = torch.split(labels, _ROWS_AT_ONCE)
    similar = int(torch.stack([(part @ labels.T > 0).sum() for part in parts]).sum())
    return -similar / max(len(labels) ** 2 - similar, 1)


def similarity_rows(rows: Tensor, labels: Tensor, dissimilar: float) -> Tensor:
    """Return S between multi-hot rows (b, c) and (n, c): 1 with a label in common, else `dissimilar`."""
    return torch.where(rows @ labels.T > 0, 1.0, dissimilar).to(rows.dtype)


def update_codes(codes: Tensor, embeddings: Tensor, labels: Tensor, *, gamma: float, dissimilar: float) -> Tensor:
    """Return codes in {-1, 1} that minimise J bit by bit for fixed embeddings (the paper's equation 9).

    Parameters
    ----------
    codes : Tensor of shape (n, k)
        The codes so far.
    embeddings : Tensor of shape (n, k)
        U.
    labels : Tensor of shape (n, c)
        Multi-hot rows.
    gamma : float
        Weight of the distance between codes and embeddings.
    dissimilar : float
        What S holds for pairs without a label in common.

    Examples
    --------
    >>> labels = torch.eye(2).repeat_interleave(3, dim=0)
    >>> embeddings = torch.tensor([[0.9, 0.8]] * 3 + [[-0.7, -0.9]] * 3)
    >>> update_codes(torch.zeros(6, 2), embeddings, labels, gamma=1.0, dissimilar=-1.0)[[0, 5]]
    tensor([[ 1.,  1.],
            [-1., -1.]])
    """
    n_bits = embeddings.shape[1]
    # -Q of the paper, halved: k S^T U + gamma U, in chunks so that S is never whole.
    target = torch.cat(
        [
            n_bits * similarity_rows(labels[start : start + _ROWS_AT_ONCE], labels, dissimilar) @ embeddings
            for start in range(0, len(labels), _ROWS_AT_ONCE)
        ]
    )
    target += gamma * embeddings
    gram = embeddings.T @ embeddings
    codes = codes.clone()
    for bit in range(n_bits):
        others = gram[:, bit].clone()
        others[bit] = 0
        best = target[:, bit] - codes @ others
        codes[:, bit] = torch.where(best >= 0, 1.0, -1.0)
    return codes


class AsymmetricTurns(nn.Module):
    """J as a loss of a batch's embeddings and *positions*; between epochs it takes its turn and updates the codes.

    Parameters
    ----------
    labels : Tensor of shape (n, c)
        Multi-hot rows of all training items.
    n_bits : int
        Bits k.
    gamma : float
        Weight of the distance between codes and embeddings.
    epochs_per_turn : int
        Epochs of the network between two updates of the codes.
    """

    unit_norm, needs_n_classes = False, False
    labels: Tensor
    codes: Tensor
    embeddings: Tensor

    def __init__(self, labels: Tensor, n_bits: int, *, gamma: float = 200.0, epochs_per_turn: int = 3) -> None:
        super().__init__()
        self.gamma, self.epochs_per_turn = gamma, epochs_per_turn
        self.register_buffer("labels", labels.float())
        self.dissimilar = dissimilarity(self.labels)
        # Buffers, so that a checkpoint holds them and a resumed run goes on with the same codes.
        self.register_buffer("codes", torch.zeros(len(labels), n_bits))
        self.register_buffer("embeddings", torch.zeros(len(labels), n_bits))

    def step_epoch(self, epoch: int, n_epochs: int) -> None:
        """Update the codes at the end of each turn of the network."""
        if epoch and epoch % self.epochs_per_turn == 0:
            self.codes = update_codes(
                self.codes, self.embeddings, self.labels, gamma=self.gamma, dissimilar=self.dissimilar
            )

    def forward(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """Return J of these rows over the number of their pairs."""
        self.embeddings[positions] = embeddings.detach()
        similarity = similarity_rows(self.labels[positions], self.labels, self.dissimilar)
        pairs = (embeddings @ self.codes.T - embeddings.shape[1] * similarity).square().sum()
        own = (self.codes[positions] - embeddings).square().sum()
        return (pairs + self.gamma * own) / (len(embeddings) * len(self.labels))


def train_asymmetric_head(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    n_bits: int,
    gamma: float = 200.0,
    epochs_per_turn: int = 3,
    validation: Validation | tuple[ArrayLike, ArrayLike] | None = None,
    settings: TrainingSettings | None = None,
    seed: int = 0,
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
    validation, settings, seed, folder, resume, log, hardware, progress
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
    n_classes = check_classes(class_labels)
    settings = (settings or replace(HEAD, epochs=60)).for_items(len(rows))
    judge = as_validation(validation, rows.shape[1], class_labels.ndim)
    classes = torch.from_numpy(class_labels)
    multi_hot = nn.functional.one_hot(classes, n_classes) if class_labels.ndim == 1 else classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = HashHead(rows.shape[1], n_bits, **settings.head_options())
    head.standardize_like(rows)
    order = BatchOrder(len(rows), settings.batch_size, seed)
    identity: dict[str, Any] = {
        "loss": "ADSH", "n_bits": n_bits, "gamma": gamma, "epochs_per_turn": epochs_per_turn,
        "data": [list(rows.shape), crc32(rows.tobytes()), crc32(class_labels.tobytes())],
    }  # fmt: skip
    run = fit_network(
        head,
        TensorBatches(torch.from_numpy(rows)[None], torch.arange(len(rows)), order),
        AsymmetricTurns(multi_hot, n_bits, gamma=gamma, epochs_per_turn=epochs_per_turn),
        settings,
        validate=None if judge is None else HeadValidation(judge),
        seed=seed,
        folder=None if folder is None else Path(folder),
        resume=resume,
        identity=identity,
        log=log,
        hardware=hardware,
        progress=progress,
    )
    return TrainedHead(head, run.history, run.best_epoch, run.validation_map, run.seconds)
