"""The HTTP API and the page of an index. Names resolve when they are first used."""

import lazy_loader

from h2q.errors import name_extra

_find, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = name_extra(_find, "web")
