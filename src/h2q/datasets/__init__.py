"""Images with labels and the folds that the field evaluates on: one file a data set."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
