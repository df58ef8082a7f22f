"""A report before it is rendered: sections of paragraphs, lists, tables and figures."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Block", "Bullets", "Document", "Figure", "Paragraph", "Section", "Table", "Value", "as_rows"]


@dataclass(frozen=True)
class Value:
    """A cell of a table.

    Attributes
    ----------
    text : str
        The text of the cell.
    mark : {"", "best", "up", "down"}
        Emphasis: the best value of its row or group, a gain, a loss.
    """

    text: str
    mark: str = ""


def as_rows(rows: Iterable[Iterable[object]]) -> tuple[tuple[Value, ...], ...]:
    """Return rows of cells as rows of `Value`; None becomes an empty cell.

    Examples
    --------
    >>> as_rows([["sign", 16, None]])
    ((Value(text='sign', mark=''), Value(text='16', mark=''), Value(text='', mark='')),)
    """
    return tuple(
        tuple(cell if isinstance(cell, Value) else Value("" if cell is None else str(cell)) for cell in row)
        for row in rows
    )


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the columns after the first `text_columns` hold numbers.

    Attributes
    ----------
    columns : tuple of str
        Column heads.
    rows : tuple of tuple of Value
        Cells, as many in each row as there are columns.
    name : str
        Identifier for labels and links: letters and dashes.
    caption : str
        What the table shows.
    note : str
        Protocol behind the numbers.
    text_columns : int
        Number of columns, from the left, that hold text.
    rules : tuple of int
        Rows, counted from 0, above which a thin line is drawn.

    Raises
    ------
    ValueError
        If a row has more or fewer cells than there are columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    name: str = ""
    caption: str = ""
    note: str = ""
    text_columns: int = 1
    rules: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} cells; expected one for each of {self.columns}")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as SVG (for web pages) and PNG (for everything else).

    Attributes
    ----------
    name : str
        File name without its ending: letters and dashes.
    caption, note : str
        As in `Table`.
    svg, png : bytes
        The picture.
    """

    name: str
    caption: str
    note: str
    svg: bytes
    png: bytes


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    texts: tuple[str, ...]


Block = Table | Figure | Paragraph | Bullets


@dataclass(frozen=True)
class Section:
    """A title and its blocks; a web page hides the blocks of a `folded` section until asked to show them."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes
    ----------
    title, subtitle : str
        What it is about.
    facts : tuple of (str, str)
        The main numbers, each with its meaning; shown first.
    sections : tuple of Section
        The body.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
