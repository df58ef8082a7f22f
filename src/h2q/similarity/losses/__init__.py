"""Similarity losses of deep hashing, each ``loss(embeddings, labels)``: what an embedding network is trained with.

Labels are class ids (n,) or multi-hot rows (n, c); two items are similar if they have at least one label in common.
Names resolve when they are first used.
"""

import lazy_loader

from h2q.errors import name_extra

_find, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = name_extra(_find, "learn")
