"""Similarity losses of deep hashing, each ``loss(embeddings, labels)``: what an embedding network is trained with.

Labels are class ids (n,) or multi-hot rows (n, c); two items are similar if they have at least one label in common.
The losses for images without labels are ``loss(embeddings, context)``, see `UnsupervisedLoss`. Names resolve when they
are first used.
"""

from typing import Any

import lazy_loader

from h2q.errors import name_extra

_find_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _find(name: str) -> Any:
    """Return a name of the stub, or a loss that registered itself."""
    try:
        return _find_name(name)
    except AttributeError:
        if name.startswith("_"):
            raise
        from h2q.similarity.losses.registry import LOSSES, UNSUPERVISED_LOSSES

        if name not in LOSSES and name not in UNSUPERVISED_LOSSES:
            raise
        return LOSSES.get(name) or UNSUPERVISED_LOSSES[name]


__getattr__ = name_extra(_find, "learn")
