"""Collections of people's own files, indexed and kept up to date. Names resolve when they are first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
