"""Binary codes from embeddings by learned rotations, and search over them.

Names resolve when they are first used, so that ``import h2q`` is fast and PyTorch is imported for stage one only.
"""


def __getattr__(name: str) -> object:
    # Even the library that does it is imported then: the program must take care of Ctrl-C within milliseconds.
    import lazy_loader

    attached, listing, names = lazy_loader.attach_stub(__name__, __file__)
    globals().update(__getattr__=attached, __dir__=listing, __all__=names)
    return names if name == "__all__" else attached(name)


def __dir__() -> object:
    return __getattr__("__all__")
