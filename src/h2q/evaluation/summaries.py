"""How results show themselves: the values and the options in one line, or in an HTML table; never the arrays."""

from collections.abc import Sequence
from dataclasses import fields
from html import escape
from typing import Any

import numpy as np

__all__ = ["Summarized", "format_value", "html_table", "text_table"]


class Summarized:
    """A dataclass of results whose representation leaves out arrays, and options that are not set.

    Subclasses override `summary` to put computed values first.
    """

    def summary(self) -> dict[str, Any]:
        """Return the fields that are shown, in order."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}

    def _shown(self) -> dict[str, str]:
        return {name: format_value(value) for name, value in self.summary().items() if value is not None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in self._shown().items())})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        shown = self._shown()
        return html_table(type(self).__name__, list(shown), [list(shown.values())])


def format_value(value: Any) -> str:
    """Return a value in a few characters.

    >>> format_value(0.123456), format_value(12000), format_value("zero")
    ('0.1235', '12000', "'zero'")
    """
    return f"{value:.4f}" if isinstance(value, float) else repr(value)


def html_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table; the texts are escaped.

    >>> html_table("a", ["k"], [["<1>"]])
    '<table><caption>a</caption><tr><th>k</th></tr><tr><td>&lt;1&gt;</td></tr></table>'
    """

    def row(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table><caption>{escape(caption)}</caption>{row(header, 'th')}{body}</table>"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in plain text, columns aligned to the right.

    >>> print(text_table(["k", "mAP"], [["10", "0.5"]]))
     k  mAP
    10  0.5
    """
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows))
    return "\n".join(lines)
