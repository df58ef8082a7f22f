"""DPSH: likelihood of pairwise similarity under the logistic function of half the inner products."""

from h2q.similarity.losses.dhn import DHN

__all__ = ["DPSH"]


class DPSH(DHN):
    """Deep pairwise-supervised hashing: the negative log-likelihood of the pairwise labels.

    Mean over pairs of::

        log(1 + exp(t_ij)) - s_ij t_ij,    t_ij = scale z_i . z_j

    Parameters
    ----------
    scale : float
        Above 0; default 1/2, as published. The authors of Householder quantization take 1.

    Notes
    -----
    Domain: any embeddings; their norms matter. No learned parameters. Its quantization term, the squared distance
    to the sign, is the penalty "l2" (`h2q.similarity.penalties`); the paper's weight for it is 10 on CIFAR-10 and 100
    on NUS-WIDE, beside a *sum* over pairs.

    Source: Li, Wang and Kang, "Feature Learning based Deep Supervised Hashing with Pairwise Labels", IJCAI 2016,
    equations 1 and 4. There the sum over all pairs is taken; the mean does not depend on the batch size.

    Examples
    --------
    >>> import torch
    >>> DPSH()(torch.ones(2, 8), torch.tensor([0, 0]))  # log(1 + exp(-8 / 2))
    tensor(0.0181)
    """

    penalty = "l2"

    def __init__(self, *, scale: float = 0.5) -> None:
        super().__init__(scale=scale)
