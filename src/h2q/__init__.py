"""Embeddings to binary codes with the least loss, and their search.

Names resolve when they are first used, so that ``import h2q`` is fast and PyTorch is imported only by who needs it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
