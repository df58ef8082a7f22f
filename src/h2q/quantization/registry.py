"""The quantizers by name: a new one is a new module of this package under ``@register``.

It can then be saved, loaded, compared, used in experiments and named on the command line.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from h2q.checks import bytes_per_code
from h2q.errors import describe

__all__ = ["QuantizerInfo", "info_of_class", "make_quantizer", "quantizer_info", "quantizer_names", "register"]

Kind = TypeVar("Kind", bound=type[Any])

_QUANTIZERS: dict[str, "QuantizerInfo"] = {}


@dataclass(frozen=True)
class QuantizerInfo:
    """A registered quantizer.

    Attributes
    ----------
    name : str
        Name in code, files and on the command line, for instance ``"itq"``.
    label : str
        Name in tables and figures, for instance ``"ITQ"``.
    kind : type
        The class.
    position : int
        Place in tables: lower comes first.
    options : tuple of str
        Parameters of the class other than its size, `n_bits` or `n_bytes`.

    Examples
    --------
    >>> quantizer_info("h2q").label, quantizer_info("refined").in_bytes
    ('H²Q', True)
    """

    name: str
    label: str
    kind: type[Any]
    position: int = 1000
    options: tuple[str, ...] = field(init=False)

    @property
    def in_bytes(self) -> bool:
        """Whether its size is given in whole bytes, scalars included, instead of in bits."""
        return "n_bytes" in inspect.signature(self.kind.__init__).parameters

    def __post_init__(self) -> None:
        parameters = [name for name in inspect.signature(self.kind.__init__).parameters if name != "self"]
        object.__setattr__(self, "options", tuple(name for name in parameters if name not in ("n_bits", "n_bytes")))


def register(name: str, *, label: str, position: int = 1000) -> Callable[[Kind], Kind]:
    """Register a class derived from `BaseQuantizer` as the quantizer `name`.

    Parameters
    ----------
    name : str
        Name in code, files and on the command line.
    label : str
        Name in tables and figures.
    position : int
        Place in tables: lower comes first; equal positions are ordered by name.

    Raises
    ------
    ValueError
        If another class has this name.

    Examples
    --------
    >>> from h2q.quantization import SignQuantizer
    >>> try:
    ...     @register("example", label="example")
    ...     class ExampleQuantizer(SignQuantizer):
    ...         '''The signs, under another name.'''
    ...
    ...     kind = quantizer_info("example").kind
    ... finally:
    ...     _ = _QUANTIZERS.pop("example")
    >>> kind.__name__
    'ExampleQuantizer'
    """

    def decorate(kind: Kind) -> Kind:
        known = _QUANTIZERS.get(name)
        if known is not None and known.kind.__qualname__ != kind.__qualname__:
            raise ValueError(f"name must be unused; {name!r} is {known.kind.__name__}")
        _QUANTIZERS[name] = QuantizerInfo(name, label, kind, position)
        return kind

    return decorate


@cache
def _import_all() -> None:
    """Import every module of the package, so that each class registers itself."""
    import h2q.quantization

    for module in pkgutil.iter_modules(h2q.quantization.__path__, "h2q.quantization."):
        importlib.import_module(module.name)


def quantizer_names(*, rotations_only: bool = True) -> tuple[str, ...]:
    """Return the names of the quantizers, baselines first.

    Parameters
    ----------
    rotations_only : bool
        Only those derived from `RotationQuantizer`: they take `n_bits`, `center` and `whitening`, so that tables of
        code lengths compare like with like. False: all.

    Examples
    --------
    >>> quantizer_names()
    ('sign', 'random', 'itq', 'h2q')
    >>> "refined" in quantizer_names(rotations_only=False)
    True
    """
    from h2q.quantization.rotation import RotationQuantizer

    _import_all()
    names = sorted(_QUANTIZERS, key=lambda name: (_QUANTIZERS[name].position, name))
    return tuple(name for name in names if not rotations_only or issubclass(_QUANTIZERS[name].kind, RotationQuantizer))


def quantizer_info(name: str) -> QuantizerInfo:
    """Return label, class and options of a quantizer.

    Raises
    ------
    ValueError
        If there is no quantizer of this name.

    Examples
    --------
    >>> info = quantizer_info("itq")
    >>> info.label, info.kind.__name__, "max_iter" in info.options
    ('ITQ', 'ITQQuantizer', True)
    """
    names = quantizer_names(rotations_only=False)
    if name not in names:
        raise ValueError(f"the name of a quantizer must be one of {', '.join(names)}; got {describe(name)}")
    return _QUANTIZERS[name]


def info_of_class(kind: type[Any] | str) -> QuantizerInfo | None:
    """Return the entry of a registered class, given itself or its name; None if it is not registered.

    >>> info_of_class("ITQQuantizer").name
    'itq'
    """
    for name in quantizer_names(rotations_only=False):
        info = _QUANTIZERS[name]
        if info.kind is kind or info.kind.__name__ == kind:
            return info
    return None


def make_quantizer(name: str, n_bits: int | None = None, **options: Any) -> Any:
    """Return an unfitted quantizer.

    Parameters
    ----------
    name : str
        One of ``quantizer_names(rotations_only=False)``.
    n_bits : int, optional
        Bits that an item takes in all; None: as many as the dimensions allow. Quantizers of whole bytes round up.
    **options
        Parameters of the class.

    Returns
    -------
    BaseQuantizer
        Unfitted.

    Raises
    ------
    ValueError
        If there is no quantizer of this name.
    TypeError
        If the quantizer has no such option.

    Examples
    --------
    >>> make_quantizer("itq", 32, n_init=5)
    ITQQuantizer(n_bits=32, n_init=5)
    >>> make_quantizer("refined", 128)
    RefinedQuantizer(n_bytes=16)
    >>> make_quantizer("sign", n_init=5)
    Traceback (most recent call last):
    ...
    TypeError: quantizer 'sign' has no option n_init; it has center, whitening, max_samples, random_state
    """
    info = quantizer_info(name)
    unknown = [option for option in options if option not in info.options]
    if unknown:
        raise TypeError(f"quantizer {name!r} has no option {', '.join(unknown)}; it has {', '.join(info.options)}")
    if info.in_bytes:
        return info.kind(None if n_bits is None else bytes_per_code(n_bits), **options)
    return info.kind(n_bits, **options)
