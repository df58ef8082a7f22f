"""What a ranking is worth: every metric says what it does with ties, with k, and with queries that nothing answers.

Names resolve when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
