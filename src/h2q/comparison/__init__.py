"""Fit, encode, score: quantizers side by side on the same embeddings, and whether they differ."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
