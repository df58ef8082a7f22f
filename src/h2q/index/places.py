"""Addresses of servers: the place and the options that an address names."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

__all__ = ["split_options"]


def split_options(place: str, defaults: Mapping[str, Any], engine: str) -> tuple[str, dict[str, Any], str]:
    """Split the options of h2q from an address.

    Parameters
    ----------
    place : str
        Address without the name of its engine, such as ``//host:5432/database?table=items``.
    defaults : mapping
        Options and their defaults, whose types are those of the options; None: text.
    engine : str
        Name of the engine, for errors.

    Returns
    -------
    place : str
        The address up to the options.
    options : dict
        All of `defaults`, some of them replaced.
    others : str
        Options that are not among `defaults`, joined by ``&``.

    Raises
    ------
    ValueError
        If an option is not of its type.

    Examples
    --------
    >>> split_options("//host/database?table=items&sslmode=require", {"table": "h2q", "retries": 3}, "postgresql")
    ('//host/database', {'table': 'items', 'retries': 3}, 'sslmode=require')
    """
    path, _, query = place.partition("?")
    options, others = dict(defaults), []
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in defaults:
            others.append((name, text))
            continue
        kind = type(defaults[name]) if defaults[name] is not None else str
        try:
            options[name] = kind(text)
        except ValueError as error:
            raise ValueError(
                f"{name} in the address must be {'a number' if kind is float else 'a whole number'}; got {text!r}"
            ) from error
    return path, options, urlencode(others)
