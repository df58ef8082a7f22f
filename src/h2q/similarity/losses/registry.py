"""The losses by name: a new one is a new module of this package with a class derived from `SimilarityLoss`."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any, TypeVar

from h2q.similarity.losses.adsh import ADSH
from h2q.similarity.losses.base import PairLoss, SimilarityLoss
from h2q.similarity.losses.classifiers import ClassifierLoss
from h2q.similarity.losses.unsupervised import UnsupervisedLoss

__all__ = ["LOSSES", "UNSUPERVISED_LOSSES", "loss_name", "make_loss"]

Kind = TypeVar("Kind")

_BASES = (SimilarityLoss, PairLoss, ClassifierLoss)
# The losses of the paper and of its tables come first, the others by name.
_FIRST = ("CosineEmbedding", "DCH", "DHN", "DPSH", "WGLHH", "HashNet", "HyP2", "ADSH", "CSQ", "OrthoHash")
_ALIASES = {"cel": "CosineEmbedding"}


def _modules() -> list[ModuleType]:
    """Import every module of the package but this one."""
    import h2q.similarity.losses as package

    names = (info.name for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."))
    return [importlib.import_module(name) for name in names if name != __name__]


def find_classes(base: type[Kind], bases: tuple[type[Any], ...]) -> dict[str, type[Kind]]:
    """Return the classes of the package that derive from `base`, by name; not those in `bases` nor private ones."""
    classes = {
        name: kind
        for module in _modules()
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, base) and kind.__module__ == module.__name__
        if kind not in bases and not name.startswith("_")
    }
    return dict(sorted(classes.items(), key=lambda item: item[0].lower()))


def _by_position(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


_FOUND = find_classes(SimilarityLoss, _BASES)
LOSSES: dict[str, type[SimilarityLoss]] = {name: _FOUND[name] for name in sorted(_FOUND, key=_by_position)}
"""The losses for labeled images, by the names of their classes."""

UNSUPERVISED_LOSSES: dict[str, type[UnsupervisedLoss]] = find_classes(UnsupervisedLoss, (UnsupervisedLoss,))
"""The losses for images without labels, by the names of their classes."""


def loss_name(name: str) -> str:
    """Return the key of `LOSSES` that a name means: case does not matter, and "CEL" is CosineEmbedding.

    Raises
    ------
    ValueError
        If there is no such loss.

    Examples
    --------
    >>> loss_name("cel"), loss_name("hyp2")
    ('CosineEmbedding', 'HyP2')
    """
    known = {key.lower(): key for key in LOSSES} | _ALIASES
    if not isinstance(name, str) or name.lower() not in known:
        names = ", ".join("CosineEmbedding (CEL)" if key == "CosineEmbedding" else key for key in LOSSES)
        raise ValueError(f"loss must be one of {names}; got {name!r}")
    return known[name.lower()]


def make_loss(name: str, *, n_bits: int, n_classes: int, **options: Any) -> SimilarityLoss:
    """Return the loss of that name.

    Parameters
    ----------
    name : str
        A loss's name: see `loss_name`.
    n_bits : int
        Bits k.
    n_classes : int
        Classes of the training set.
    **options
        Those of the loss.

    Returns
    -------
    SimilarityLoss
        A module ``loss(embeddings, labels)``.

    Raises
    ------
    ValueError
        If there is no such loss, or an option is out of range.
    TypeError
        If the loss has no such option.

    Examples
    --------
    >>> make_loss("DTSH", n_bits=16, n_classes=10, margin=8.0)
    DTSH(margin=8, scale=0.5)
    >>> make_loss("cel", n_bits=16, n_classes=10)
    CosineEmbedding(margin=0)
    >>> make_loss("DCHH", n_bits=16, n_classes=10)
    Traceback (most recent call last):
    ...
    ValueError: loss must be one of CosineEmbedding (CEL), DCH, DHN, ...; got 'DCHH'
    """
    loss = LOSSES[loss_name(name)]
    takes = [parameter for parameter in inspect.signature(loss.__init__).parameters if parameter != "self"]
    if loss is ADSH and "labels" not in options:
        raise ValueError(
            "ADSH learns codes of the training set in turns with the network, so it needs labels= of the whole "
            'training set and a loop of its own: use train_head(..., loss="ADSH") or fine_tune(..., loss="ADSH")'
        )
    unknown = [option for option in options if option not in takes]
    if unknown:
        own = [option for option in takes if option not in ("n_bits", "n_classes")]
        raise TypeError(f"{loss.__name__} has no option {', '.join(unknown)}; it has {', '.join(own) or 'none'}")
    shared = {"n_bits": n_bits, "n_classes": n_classes}
    return loss(**{key: value for key, value in shared.items() if key in takes}, **options)
