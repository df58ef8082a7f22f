"""A report's blocks as text for a terminal or a pipe."""

import io
import textwrap

from h2q.report.document import Block, Bullets, Figure, Table

__all__ = ["render_terminal"]

_WIDEST_TEXT = 100  # longer lines are hard to read
_UNLIMITED = 10_000
_STYLES = {"best": "bold", "up": "green", "down": "red", "": ""}


def render_terminal(*blocks: Block, width: int | None = None, styled: bool = False) -> str:
    """Return blocks as lines of text.

    Parameters
    ----------
    *blocks : Table, Paragraph, Bullets or Figure
        The blocks, in order. Of a figure only the caption is shown.
    width : int, optional
        Columns of the terminal. None, for pipes and files: lines are never wrapped.
    styled : bool
        Whether to mark the best values, gains and losses by bold and colored text (ANSI codes).

    Returns
    -------
    str
        The text: an empty line between blocks, a newline at the end.

    Examples
    --------
    >>> from h2q.report.document import as_rows
    >>> table = Table(columns=("quantizer", "error"), rows=as_rows([["sign", 0.4], ["itq", 0.1]]))
    >>> print(render_terminal(table), end="")
      quantizer   error
     ───────────────────
      sign          0.4
      itq           0.1
    """
    return "\n".join(f"{_block(block, width, styled)}\n" for block in blocks)


def _block(block: Block, width: int | None, styled: bool) -> str:
    if isinstance(block, Table):
        parts = (_wrap(block.caption, width), _table(block, width, styled), _wrap(block.note, width))
        return "\n".join(part for part in parts if part)
    if isinstance(block, Figure):
        return _wrap(block.caption, width)
    if isinstance(block, Bullets):
        return "\n".join(_wrap(f"- {text}", width, indent="  ") for text in block.texts)
    return _wrap(block.text, width)


def _wrap(text: str, width: int | None, indent: str = "") -> str:
    if width is None:
        return text
    return textwrap.fill(text, min(width, _WIDEST_TEXT), subsequent_indent=indent, break_long_words=False)


def _table(table: Table, width: int | None, styled: bool) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        is_text = number < table.text_columns
        # Text wraps where the table is too wide; numbers never do.
        drawn.add_column(Text(column), justify="left" if is_text else "right", no_wrap=not is_text)
    for number, row in enumerate(table.rows):
        cells = [Text(value.text, style=_STYLES[value.mark]) for value in row]
        drawn.add_row(*cells, end_section=number + 1 in table.rules)
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=width or _UNLIMITED, force_terminal=styled, no_color=None if styled else True,
        color_system="standard" if styled else None, highlight=False, markup=False,
    )  # fmt: skip
    console.print(drawn)
    lines = [line.rstrip() for line in buffer.getvalue().splitlines()]
    return "\n".join(lines).strip("\n")
