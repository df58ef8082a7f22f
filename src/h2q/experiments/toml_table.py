"""Read a TOML document key by key with the expected types, so that errors name the key."""

import difflib
from collections.abc import Collection
from typing import Any

from h2q.errors import describe

__all__ = ["PlanError", "Table", "unknown"]

_REQUIRED = object()


class PlanError(ValueError):
    """A plan is wrong; the message names the file and the key.

    Examples
    --------
    >>> from h2q.experiments import parse_plan
    >>> parse_plan("name = ")
    Traceback (most recent call last):
    ...
    h2q.experiments.toml_table.PlanError: this is not TOML: Invalid value (at end of document)
    """


def unknown(name: str, known: Collection[str]) -> str:
    """Return a message that a name is not known, with the closest known name.

    >>> unknown("sing", ["sign", "itq"])
    "'sing' is not known; did you mean 'sign'?"
    """
    close = difflib.get_close_matches(name, known, 1)
    return f"{name!r} is not known; " + (
        f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
    )


class Table:
    """A table of a TOML document, read key by key with the expected types."""

    def __init__(self, name: str, values: Any, keys: Collection[str]) -> None:
        self.where = f"[{name}] " if name else ""
        if not isinstance(values, dict):
            raise PlanError(f"[{name}] must be a table; got {describe(values)}")
        self.values: dict[str, Any] = values
        for key in values:
            if key not in keys:
                raise PlanError(f"{self.where or 'the plan '}has an unknown key: {unknown(key, keys)}")

    def table(self, name: str, keys: Collection[str]) -> "Table":
        """Return the table of that name, empty if it is missing."""
        return Table(name, self.values.get(name, {}), keys)

    def _get(self, key: str, kind: type, what: str, default: Any) -> Any:
        if key not in self.values:
            if default is _REQUIRED:
                raise PlanError(f"{self.where}{key} is missing; expected {what}")
            return default
        value = self.values[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise PlanError(f"{self.where}{key} must be {what}; got {describe(value)}")
        return value

    def _list(self, key: str, kind: tuple[type, ...], what: str, default: Any) -> tuple[Any, ...]:
        values = self._get(key, list, f"a list of {what}", default)
        for value in values:
            if not isinstance(value, kind) or isinstance(value, bool):
                raise PlanError(f"{self.where}{key} must hold {what} only; got {describe(value)}")
        if not values:
            raise PlanError(f"{self.where}{key} is empty; expected at least one of {what}")
        if len(set(values)) < len(values):
            raise PlanError(f"{self.where}{key} holds a value twice: {list(values)}")
        return tuple(values)

    def text(self, key: str) -> str:
        """Return a required string."""
        return str(self._get(key, str, "a string", _REQUIRED))

    def boolean(self, key: str, default: bool) -> bool:
        """Return true or false."""
        return bool(self._get(key, bool, "true or false", default))

    def integer(self, key: str, default: int | None) -> int | None:
        """Return a whole number."""
        value: int | None = self._get(key, int, "a whole number", default)
        return value

    def choice(self, key: str, known: Collection[str], default: str) -> str:
        """Return one of the known names."""
        value = str(self._get(key, str, f"one of {', '.join(known)}", default))
        if value not in known:
            raise PlanError(f"{self.where}{key}: {unknown(value, known)}")
        return value

    def texts(self, key: str, default: Any = None) -> tuple[str, ...]:
        """Return distinct names, at least one."""
        return self._list(key, (str,), "names", default or _REQUIRED)

    def integers(self, key: str, default: Any = None) -> tuple[int, ...]:
        """Return distinct whole numbers, at least one."""
        return self._list(key, (int,), "whole numbers", default or _REQUIRED)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return distinct numbers, at least one."""
        return tuple(float(value) for value in self._list(key, (int, float), "numbers", _REQUIRED))

    def text_by_text(self, key: str) -> dict[str, str]:
        """Return a table of strings."""
        values: dict[str, Any] = self._get(key, dict, "a table from loss to penalty", {})
        for name, value in values.items():
            if not isinstance(value, str):
                raise PlanError(f"{self.where}{key}.{name} must be a string; got {describe(value)}")
        return dict(values)
