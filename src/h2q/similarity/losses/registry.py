"""The losses by name."""

import inspect
from typing import Any

from h2q.similarity.losses.adsh import ADSH
from h2q.similarity.losses.base import SimilarityLoss
from h2q.similarity.losses.cosine_embedding import CosineEmbedding
from h2q.similarity.losses.csq import CSQ
from h2q.similarity.losses.dch import DCH
from h2q.similarity.losses.dhn import DHN
from h2q.similarity.losses.dpsh import DPSH
from h2q.similarity.losses.hashnet import HashNet
from h2q.similarity.losses.hyp2 import HyP2
from h2q.similarity.losses.orthohash import OrthoHash
from h2q.similarity.losses.wglhh import WGLHH

__all__ = ["LOSSES", "loss_name", "make_loss"]

LOSSES: dict[str, type[SimilarityLoss]] = {
    loss.__name__: loss for loss in (CosineEmbedding, DCH, DHN, DPSH, WGLHH, HashNet, HyP2, ADSH, CSQ, OrthoHash)
}


_ALIASES = {"cel": "CosineEmbedding"}


def loss_name(name: str) -> str:
    """Return the key of `LOSSES` that a name means: case does not matter, and "CEL" is CosineEmbedding.

    Raises
    ------
    ValueError
        If there is no such loss.

    Examples
    --------
    >>> loss_name("cel"), loss_name("hyp2")
    ('CosineEmbedding', 'HyP2')
    """
    known = {key.lower(): key for key in LOSSES} | _ALIASES
    if not isinstance(name, str) or name.lower() not in known:
        names = ", ".join("CosineEmbedding (CEL)" if key == "CosineEmbedding" else key for key in LOSSES)
        raise ValueError(f"loss must be one of {names}; got {name!r}")
    return known[name.lower()]


def make_loss(name: str, *, n_bits: int, n_classes: int, **options: Any) -> SimilarityLoss:
    """Return the loss of that name.

    Parameters
    ----------
    name : str
        A loss's name: see `loss_name`.
    n_bits : int
        Bits k.
    n_classes : int
        Classes of the training set.
    **options
        Those of the loss.

    Returns
    -------
    SimilarityLoss
        A module ``loss(embeddings, labels)``.

    Raises
    ------
    ValueError
        If there is no such loss, or an option is out of range.
    TypeError
        If the loss has no such option.

    Examples
    --------
    >>> make_loss("DCH", n_bits=16, n_classes=10, gamma=10.0)
    DCH(gamma=10, similar_fraction=None)
    >>> make_loss("cel", n_bits=16, n_classes=10)
    CosineEmbedding(margin=0)
    >>> make_loss("DCHH", n_bits=16, n_classes=10)
    Traceback (most recent call last):
    ...
    ValueError: loss must be one of CosineEmbedding (CEL), DCH, DHN, DPSH, WGLHH, HashNet, HyP2, ADSH, CSQ, OrthoHash; \
got 'DCHH'
    """
    loss = LOSSES[loss_name(name)]
    takes = [parameter for parameter in inspect.signature(loss.__init__).parameters if parameter != "self"]
    if loss is ADSH and "labels" not in options:
        raise ValueError(
            "ADSH learns codes of the training set in turns with the network, so it needs labels= of the whole "
            "training set and a loop of its own: use h2q.similarity.train_asymmetric_head"
        )
    unknown = [option for option in options if option not in takes]
    if unknown:
        own = [option for option in takes if option not in ("n_bits", "n_classes")]
        raise TypeError(f"{loss.__name__} has no option {', '.join(unknown)}; it has {', '.join(own)}")
    shared = {"n_bits": n_bits, "n_classes": n_classes}
    return loss(**{key: value for key, value in shared.items() if key in takes}, **options)
