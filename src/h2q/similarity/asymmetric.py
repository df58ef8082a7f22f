"""ADSH in the training loop: the codes of the training images are learned themselves, in turns with the network.

Jiang and Li, "Asymmetric Deep Supervised Hashing", AAAI 2018, algorithm 1; the loss and the update of the codes are in
`h2q.similarity.losses.adsh`. Here every training image is in the sample of each turn, as in the paper's comparison on
CIFAR-10 (5,000 of 5,000).
"""

from typing import Literal

import torch
from torch import Tensor

from h2q.checks import check_integer
from h2q.similarity.losses.adsh import ADSH

__all__ = ["AsymmetricTurns"]


class AsymmetricTurns(ADSH):
    """`ADSH` as a loss of a batch's embeddings and *positions*; between epochs it takes its turn and updates the codes.

    ``train_head(..., loss="ADSH")`` and ``fine_tune(..., loss="ADSH")`` build it from the labels of the training set.
    Without the tanh, because stage one has none.

    Parameters
    ----------
    labels : Tensor of shape (n,) or (n, c)
        Class ids or multi-hot rows of all training items.
    n_bits : int
        Bits k.
    gamma : float
        Weight of the distance between codes and embeddings; 200 is the authors'.
    dissimilar : "balanced" or float
        As in `ADSH`.
    epochs_per_turn : int
        Epochs of the network between two updates of the codes; 3 is the authors'.
    """

    embeddings: Tensor

    def __init__(
        self,
        labels: Tensor,
        n_bits: int,
        *,
        gamma: float = 200.0,
        dissimilar: float | Literal["balanced"] = "balanced",
        epochs_per_turn: int = 3,
    ) -> None:
        super().__init__(labels=labels, n_bits=n_bits, gamma=gamma, dissimilar=dissimilar, squash=False)
        self.epochs_per_turn = check_integer(epochs_per_turn, "epochs_per_turn", low=1)
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
