"""Binary codes from embeddings by learned rotations, and search over them.

Names resolve when they are first used, so that ``import h2q`` is fast and PyTorch is imported for stage one only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
