"""HashNet: weighted likelihood of similarity, and a tanh that grows into the sign."""

import torch
from torch import Tensor

from h2q.checks import check_integer, check_number
from h2q.similarity.losses.base import PairLoss
from h2q.similarity.losses.pairs import balanced_weights, check_fraction, likelihood_losses, mean_where

__all__ = ["HashNet"]


class HashNet(PairLoss):
    """HashNet: weighted maximum likelihood of the pairwise labels, by continuation.

    Mean over pairs of::

        w_ij (log(1 + exp(x_ij)) - s_ij x_ij),    x_ij = alpha h_i . h_j,    h = tanh(beta z)

    with w_ij = c_ij N / N1 for the N1 similar of the N pairs and N / N0 for the others; c_ij is the share of
    labels in common, #(y_i and y_j) / #(y_i or y_j) (1 with class ids). Between epochs beta grows, so that tanh
    goes to the sign::

        beta = (1 + growth epoch)^(1/2)

    Parameters
    ----------
    alpha : float, optional
        Scale of the logistic function, above 0. Default: 10 / k, that of the authors' code.
    growth : float
        Growth of beta per epoch, not negative. Default 1. The authors' code has 0.005 per step, which is 1 where an
        epoch has 200 steps.
    period : int, optional
        Number of training steps after which beta grows, in place of `growth`: beta = (1 + steps // period)^(1/2), as in
        the code of the authors of Householder quantization (200). Default: beta grows by epochs.
    overlap_weights : bool
        Whether c_ij is as published (default); False: 1, as in the authors' code and that of Householder quantization.
    similar_fraction : float, optional
        N1 / N of the whole training set, above 0 and below 1. Default: that of each batch.

    Notes
    -----
    Domain: any embeddings (before the tanh); their norms matter. No learned parameters, and no published penalty:
    the continuation takes its place. Call ``step_epoch(epoch, n_epochs)`` before each epoch.

    Source: Cao, Long, Wang and Yu, "HashNet: Deep Learning to Hash by Continuation", ICCV 2017, equations 2 to 5, and
    the authors' code (thuml/HashNet).

    Examples
    --------
    >>> loss = HashNet()
    >>> loss.step_epoch(3, 10)
    >>> loss.beta
    2.0
    >>> loss(torch.zeros(2, 8), torch.tensor([0, 0]))
    tensor(0.6931)
    """

    def __init__(
        self,
        *,
        alpha: float | None = None,
        growth: float = 1.0,
        period: int | None = None,
        overlap_weights: bool = True,
        similar_fraction: float | None = None,
    ) -> None:
        super().__init__()
        self.alpha = None if alpha is None else check_number(alpha, "alpha", above=0)
        self.growth = check_number(growth, "growth", low=0)
        self.period = None if period is None else check_integer(period, "period", low=1)
        self.overlap_weights = bool(overlap_weights)
        self.similar_fraction = check_fraction(similar_fraction)
        self.beta, self.steps = 1.0, 0

    def step_epoch(self, epoch: int, n_epochs: int) -> None:
        """Set beta for an epoch, counted from 0; with `period` it depends on the steps alone."""
        check_integer(epoch, "epoch", low=0)
        if self.period is None:
            self.beta = float((1 + self.growth * epoch) ** 0.5)

    def get_extra_state(self) -> dict[str, float]:
        """Return beta and the number of steps, which `state_dict` holds."""
        return {"beta": self.beta, "steps": self.steps}

    def set_extra_state(self, state: dict[str, float]) -> None:
        """Take beta and the number of steps from a `state_dict`."""
        self.beta, self.steps = float(state["beta"]), int(state["steps"])

    def pair_loss(self, embeddings: Tensor, similar: Tensor, pairs: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted mean over pairs."""
        if self.period is not None:
            self.beta = float((1 + self.steps // self.period) ** 0.5)
            self.steps += self.training
        codes = torch.tanh(self.beta * embeddings)
        alpha = 10 / embeddings.shape[1] if self.alpha is None else self.alpha
        values = likelihood_losses(alpha * (codes @ codes.T), similar)
        weights = balanced_weights(similar, pairs, self.similar_fraction, values.dtype)
        if self.overlap_weights and labels.ndim == 2:
            weights = weights * _overlaps(labels.to(values.dtype)).where(similar, 1)
        return mean_where(weights * values, pairs)

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return (
            f"alpha={self.alpha}, growth={self.growth:g}, period={self.period}, "
            f"overlap_weights={self.overlap_weights}, similar_fraction={self.similar_fraction}"
        )


def _overlaps(labels: Tensor) -> Tensor:
    """Return the labels that two items have in common over the labels that either has."""
    common = labels @ labels.T
    counts = labels.sum(dim=1)
    return common / (counts[:, None] + counts[None, :] - common).clamp_min(1)
