"""Digests of everything that changes the result of a training, so that a run is resumed only as itself."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from h2q.similarity.images import SelectedImages

__all__ = ["fingerprint"]


def fingerprint(value: Any) -> str:
    """Return 16 hex digits that change with the content of a value.

    Parameters
    ----------
    value : Any
        Numbers, strings, arrays, tensors, modules (class, options, parameters, buffers), functions (code and what they
        close over), PIL images, dataclasses, mappings and sequences of these. Lazy images of `h2q.datasets` have a
        fingerprint of their own, which decodes nothing; those of another sequence are decoded. An object of another
        class is identified by its class and its attributes.

    Returns
    -------
    str
        The same for equal values, also in another process.

    Examples
    --------
    >>> fingerprint({"gamma": 20.0}) == fingerprint({"gamma": 20.0})
    True
    >>> fingerprint(np.arange(3)) == fingerprint(np.arange(3.0))
    False
    >>> fingerprint(nn.Dropout(0.5)) == fingerprint(nn.Dropout(0.2))
    False
    """
    digest = hashlib.sha256()
    _update(digest.update, value, ())
    return digest.hexdigest()[:16]


def _update(write: Callable[[bytes], None], value: Any, parents: tuple[int, ...]) -> None:
    """Write the type and the content of a value; `parents` are the objects around it, to stop at circles."""
    if id(value) in parents:
        return
    write(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    inside = (*parents, id(value))
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | os.PathLike | np.generic):
        write(repr(value).encode())
    elif isinstance(value, np.ndarray):
        write(repr((value.dtype.str, value.shape)).encode())
        write(np.ascontiguousarray(value).tobytes() if value.dtype != object else repr(value.tolist()).encode())
    elif isinstance(value, Tensor):
        write(repr((str(value.dtype), tuple(value.shape))).encode())
        write(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, nn.Module):
        _update_module(write, value, inside)
    elif callable(getattr(value, "fingerprint", None)):
        write(value.fingerprint().encode())
    elif isinstance(value, Image.Image):
        write(repr((value.mode, value.size)).encode())
        write(value.tobytes())
    else:
        for part in _parts(value):
            _update(write, part, inside)


def _update_module(write: Callable[[bytes], None], module: nn.Module, parents: tuple[int, ...]) -> None:
    """Write the classes, options and state of a module and of the modules in it."""
    for name, part in module.named_modules():
        write(f"{name}:{type(part).__module__}.{type(part).__qualname__}".encode())
        options = {key: value for key, value in vars(part).items() if not key.startswith("_") and key != "training"}
        _update(write, options, parents)
    _update(write, dict(module.state_dict()), parents)


def _parts(value: Any) -> Iterable[Any]:
    """Return what a compound value is made of."""
    if isinstance(value, Mapping):
        return [part for key in sorted(value, key=str) for part in (key, value[key])]
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, list | tuple | range):
        return value
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, FunctionType):
        closed = [cell.cell_contents for cell in value.__closure__ or ()]
        return value.__module__, value.__qualname__, value.__code__, value.__defaults__, value.__kwdefaults__, closed
    if isinstance(value, CodeType):
        return value.co_code, value.co_consts, value.co_names
    if isinstance(value, type):
        return value.__module__, value.__qualname__
    if isinstance(value, SelectedImages):
        return value.images, value.positions
    if isinstance(value, Sequence):
        return (value[position] for position in range(len(value)))
    if dataclasses.is_dataclass(value):
        return [part for field in dataclasses.fields(value) for part in (field.name, getattr(value, field.name))]
    return [getattr(value, "__qualname__", ""), dict(getattr(value, "__dict__", {}))]
