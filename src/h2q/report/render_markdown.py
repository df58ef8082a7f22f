"""A report as Markdown, with its figures as PNG files beside it."""

from h2q.report.document import Block, Bullets, Document, Figure, Table, Value

__all__ = ["render_markdown"]


def render_markdown(document: Document, figure_folder: str) -> str:
    """Return the report as Markdown that takes its figures from ``figure_folder/NAME.png``.

    Examples
    --------
    >>> from h2q.report.document import Document
    >>> print(render_markdown(Document("Title", "of what", (("90 %", "given back"),), ()), "figures"))
    # Title
    <BLANKLINE>
    of what
    <BLANKLINE>
    - **90 %** given back
    <BLANKLINE>
    """
    parts = [f"# {document.title}", *([document.subtitle] if document.subtitle else [])]
    if document.facts:
        parts.append("\n".join(f"- **{number}** {what}" for number, what in document.facts))
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts += [_block(block, figure_folder) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, figure_folder: str) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return f"![{block.caption}]({figure_folder}/{block.name}.png)\n\n{_caption(block)}"
    if isinstance(block, Bullets):
        return "\n".join(f"- {text}" for text in block.texts)
    return block.text


def _table(table: Table) -> str:
    heads = "| " + " | ".join(_escape(column) for column in table.columns) + " |"
    n_number_columns = len(table.columns) - table.text_columns
    line = "|" + ":---|" * table.text_columns + "---:|" * n_number_columns
    rows = ["| " + " | ".join(_value(value) for value in row) + " |" for row in table.rows]
    return "\n".join([*([_caption(table), ""] if table.caption else []), heads, line, *rows])


def _caption(block: Table | Figure) -> str:
    return f"**{block.caption}**" + (f" <sub>{block.note}</sub>" if block.note else "")


def _value(value: Value) -> str:
    text = _escape(value.text)
    return f"**{text}**" if value.mark == "best" and text else text


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
