"""A report before it is written in Markdown, LaTeX or HTML: sections of paragraphs, tables and figures."""

from dataclasses import dataclass

__all__ = ["Block", "Bullets", "Document", "Figure", "Paragraph", "Section", "Table", "Value"]


@dataclass(frozen=True)
class Value:
    """A cell of a table.

    Attributes
    ----------
    text : str
        What it says.
    mark : {"", "best", "up", "down"}
        Whether it stands out: the best of its row, a gain, a loss.
    """

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table; columns after the first `text_columns` hold numbers.

    Attributes
    ----------
    name : str
        For labels and links: letters and dashes.
    caption : str
        What it shows.
    note : str
        The protocol that its numbers were found with.
    columns : tuple of str
        The heads.
    rows : tuple of tuple of Value
        The cells.
    text_columns : int
        So many columns from the left hold text.
    rules : tuple of int
        Rows, from 0, before which a thin line is drawn.
    """

    name: str
    caption: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    text_columns: int = 1
    rules: tuple[int, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A figure as SVG (for pages) and PNG (for all else).

    Attributes
    ----------
    name : str
        Of its file: letters and dashes.
    caption, note : str
        As of a `Table`.
    svg, png : bytes
        The figure.
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
    """Sentences that each stand alone."""

    texts: tuple[str, ...]


Block = Table | Figure | Paragraph | Bullets


@dataclass(frozen=True)
class Section:
    """A title and what stands below it; a page shows a `folded` one when asked to."""

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
        A few numbers with what they are, to be seen first.
    sections : tuple of Section
        The rest.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
