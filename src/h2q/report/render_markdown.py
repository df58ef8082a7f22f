"""A report as Markdown; figures stand beside it as PNG files."""

from h2q.report.document import Block, Bullets, Document, Figure, Table, Value

__all__ = ["render_markdown"]


def render_markdown(document: Document, figure_folder: str) -> str:
    """Return the report as Markdown that shows figures from ``figure_folder/NAME.png``.

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
    parts = [f"# {document.title}", document.subtitle]
    if document.facts:
        parts.append("\n".join(f"- **{number}** {what}" for number, what in document.facts))
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts += [_block(block, figure_folder) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, figure_folder: str) -> str:
    if isinstance(block, Table):
        heads = "| " + " | ".join(_escape(column) for column in block.columns) + " |"
        numbers = len(block.columns) - block.text_columns
        line = "|" + ":---|" * block.text_columns + "---:|" * numbers
        rows = ["| " + " | ".join(_value(value) for value in row) + " |" for row in block.rows]
        return "\n".join([f"**{block.caption}** {_protocol(block.note)}", "", heads, line, *rows])
    if isinstance(block, Figure):
        return f"![{block.caption}]({figure_folder}/{block.name}.png)\n\n**{block.caption}** {_protocol(block.note)}"
    if isinstance(block, Bullets):
        return "\n".join(f"- {text}" for text in block.texts)
    return block.text


def _protocol(note: str) -> str:
    return f"<sub>{note}</sub>" if note else ""


def _value(value: Value) -> str:
    text = _escape(value.text)
    return f"**{text}**" if value.mark == "best" and text else text


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
