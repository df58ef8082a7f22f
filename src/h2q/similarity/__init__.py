"""Stage one: a network from images to real-valued embeddings, trained with a similarity loss."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
