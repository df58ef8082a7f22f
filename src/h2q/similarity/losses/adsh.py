"""ADSH: embeddings of sampled queries against learned codes of the whole database."""

from typing import Literal

import torch
from torch import Tensor

from h2q.checks import check_n_bits, check_number
from h2q.errors import describe
from h2q.similarity.losses.base import SimilarityLoss
from h2q.similarity.losses.pairs import similar_pairs

__all__ = ["ADSH", "update_codes"]

_ROWS_AT_ONCE = 1024


def update_codes(codes: Tensor, embeddings: Tensor, linear: Tensor) -> Tensor:
    """Return codes V that make |V U^T|^2 + tr(V Q^T) smaller: a column at a time, and each exactly.

    The column of a bit is set, the others fixed, to::

        v = -sgn(2 V_rest U_rest^T u + q)

    Parameters
    ----------
    codes : Tensor of shape (n, k)
        V, the database's codes so far, in {-1, 1} (or 0 at first).
    embeddings : Tensor of shape (m, k)
        U, of the sampled queries.
    linear : Tensor of shape (n, k)
        Q.

    Returns
    -------
    Tensor of shape (n, k)
        In {-1, 1}.

    Notes
    -----
    Jiang and Li, "Asymmetric Deep Supervised Hashing", AAAI 2018, equations 8 to 10 (discrete cyclic coordinate
    descent). A sum of 0 gives 1.

    Examples
    --------
    >>> update_codes(torch.ones(2, 2), torch.eye(2), torch.tensor([[-1.0, 3.0], [0.5, -0.5]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    gram = embeddings.T @ embeddings
    codes = codes.clone()
    for bit in range(codes.shape[1]):
        rest = gram[:, bit].clone()
        rest[bit] = 0
        codes[:, bit] = torch.where(2 * codes @ rest + linear[:, bit] <= 0, 1.0, -1.0)
    return codes


class ADSH(SimilarityLoss):
    """Asymmetric deep supervised hashing: a loss with a state, the codes of the training set.

    With U the embeddings of sampled queries, V in {-1, 1} the codes of the n items of the database (here the training
    set) and S their similarity, 1 or `dissimilar`::

        J = sum_ij (u_i . v_j - k S_ij)^2 + gamma sum_i |v_i - u_i|^2,    u = tanh z

    over the number of pairs. The network descends J for fixed V; then `step_codes` updates V for fixed U, and so on.

    Parameters
    ----------
    labels : Tensor of shape (n,) or (n, c)
        Class ids or multi-hot rows of the whole training set.
    n_bits : int
        Bits k.
    gamma : float
        Not negative; default 200, the paper's.
    dissimilar : "balanced" or float
        S of a pair without a label in common, at most 0. Default: minus the number of similar pairs over that of the
        others, as in the authors' code, so that both kinds weigh the same. The paper's text has -1, with which ten
        classes are learned badly: no more than two codes can be opposite to each other.
    squash : bool
        Whether embeddings go through tanh first, as published.

    Notes
    -----
    Domain: any embeddings (before the tanh); their norms matter. No parameters, but a state: ``codes`` (n, k), which
    start at 0 as in the authors' code, and are part of `state_dict`. It has its own loop: sample queries, some epochs
    of the network on them (3 in the paper, 50 times over), `step_codes`, and again; this is what
    ``train_head(..., loss="ADSH")`` and ``fine_tune(..., loss="ADSH")`` do. The quantization term is part of the loss.

    Source: Jiang and Li, "Asymmetric Deep Supervised Hashing", AAAI 2018, equations 3 to 10 and algorithm 1, and the
    authors' code (jiangqy/ADSH-AAAI2018).

    Examples
    --------
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> loss = ADSH(labels=labels, n_bits=4)
    >>> embeddings = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]]).repeat(1, 4)
    >>> loss.step_codes(embeddings, torch.arange(4))
    >>> loss.codes[:, 0]
    tensor([ 1.,  1., -1., -1.])
    >>> loss(embeddings, labels, torch.arange(4)).item() < loss(-embeddings, labels, torch.arange(4)).item()
    True
    """

    labels: Tensor
    codes: Tensor

    def __init__(
        self,
        *,
        labels: Tensor,
        n_bits: int,
        gamma: float = 200.0,
        dissimilar: float | Literal["balanced"] = "balanced",
        squash: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(labels, Tensor) or labels.ndim not in (1, 2) or not len(labels):
            raise ValueError(
                f"labels must be a tensor of the training set's class ids (n,) or multi-hot rows (n, c); got "
                f"{describe(labels)}"
            )
        self.gamma, self.squash = check_number(gamma, "gamma", low=0), bool(squash)
        self.register_buffer("labels", labels)
        self.register_buffer("codes", torch.zeros(len(labels), check_n_bits(n_bits)))
        if dissimilar == "balanced":
            parts = [int(similar_pairs(part, labels).sum()) for part in torch.split(labels, _ROWS_AT_ONCE)]
            dissimilar = -sum(parts) / max(len(labels) ** 2 - sum(parts), 1)
        self.dissimilar = check_number(dissimilar, "dissimilar", high=0)

    def _similarity(self, labels: Tensor, others: Tensor) -> Tensor:
        """Return S between items with these labels and items with those."""
        return self.dissimilar + (1 - self.dissimilar) * similar_pairs(labels, others).to(self.codes.dtype)

    def forward(self, embeddings: Tensor, labels: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return J of a batch of queries over the number of its pairs.

        Parameters
        ----------
        embeddings : Tensor of shape (m, k)
            Of the queries.
        labels : Tensor of shape (m,) or (m, c)
            Of the same kind as the database's.
        positions : Tensor of shape (m,), optional
            Where they are in the database; without, the term in gamma is left out.

        Returns
        -------
        Tensor of shape ()
        """
        if labels.ndim != self.labels.ndim or labels.shape[1:] != self.labels.shape[1:]:
            raise ValueError(
                f"labels must be of the training set's kind, {describe(self.labels)}; got {describe(labels)}"
            )
        value = super().forward(embeddings, labels)
        if positions is None:
            return value
        own = (self.codes[positions].to(value.dtype) - self._squashed(embeddings.to(value.dtype))).square().sum()
        return value + self.gamma * own / max(len(embeddings) * len(self.codes), 1)

    def batch_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over pairs of a query and an item of the database."""
        products = self._squashed(embeddings) @ self.codes.to(embeddings.dtype).T
        similarity = self._similarity(labels, self.labels)
        return (products - embeddings.shape[1] * similarity).square().sum() / max(products.numel(), 1)

    @torch.no_grad()
    def step_codes(self, embeddings: Tensor, positions: Tensor) -> None:
        """Update the database's codes for fixed embeddings of the sampled queries (see `update_codes`).

        Parameters
        ----------
        embeddings : Tensor of shape (m, k)
            Of the queries, as given to the loss (before the tanh).
        positions : Tensor of shape (m,)
            Where they are in the database.
        """
        rows, labels = self._squashed(embeddings.to(self.codes.dtype)), self.labels[positions]
        # S^T U a few items of the database at a time, so that S is never whole.
        products = [self._similarity(part, labels) @ rows for part in torch.split(self.labels, _ROWS_AT_ONCE)]
        linear = -2 * rows.shape[1] * torch.cat(products)
        linear.index_add_(0, positions, -2 * self.gamma * rows)
        self.codes = update_codes(self.codes, rows, linear)

    def _squashed(self, embeddings: Tensor) -> Tensor:
        return torch.tanh(embeddings) if self.squash else embeddings

    def extra_repr(self) -> str:
        """Return the options, for `repr`."""
        return f"gamma={self.gamma:g}, dissimilar={self.dissimilar:g}, squash={self.squash}"
