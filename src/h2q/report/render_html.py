"""A report as one self-contained HTML page: styles and figures are inside, and nothing is loaded from elsewhere."""

import html
from importlib import resources

from h2q.report.document import Block, Bullets, Document, Figure, Section, Table, Value

__all__ = ["render_html"]


def render_html(document: Document) -> str:
    """Return the report as a self-contained page.

    Examples
    --------
    >>> page = render_html(Document("A & B", "of what", (), ()))
    >>> "<h1>A &amp; B</h1>" in page, "http" in page
    (True, False)
    """
    page = (resources.files("h2q.report") / "page.html").read_text(encoding="utf-8")
    facts = "".join(
        f"<div><strong>{_text(number)}</strong><span>{_text(meaning)}</span></div>"
        for number, meaning in document.facts
    )
    links = "".join(f'<a href="#{_anchor(section)}">{_text(section.title)}</a>' for section in document.sections)
    filled = {
        "title": _text(document.title),
        "subtitle": _text(document.subtitle),
        "facts": f'<div class="facts">{facts}</div>' if facts else "",
        "links": f"<nav>{links}</nav>" if links else "",
        "sections": "\n".join(_section(section) for section in document.sections),
    }
    for name, value in filled.items():
        page = page.replace(f"<!--{name}-->", value)
    return page


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _anchor(section: Section) -> str:
    return "".join(character if character.isalnum() else "-" for character in section.title.lower()).strip("-")


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    if section.folded:
        return (
            f'<section id="{_anchor(section)}"><details><summary><h2>{_text(section.title)}</h2></summary>\n'
            f"{blocks}\n</details></section>"
        )
    return f'<section id="{_anchor(section)}"><h2>{_text(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        svg = block.svg.decode()
        svg = svg[svg.index("<svg") :]  # the XML declaration and document type have no place inside HTML
        return f"<figure>{svg}{_caption(block)}</figure>"
    if isinstance(block, Bullets):
        return f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in block.texts)}</ul>"
    return f"<p>{_text(block.text)}</p>"


def _caption(block: Table | Figure) -> str:
    if not block.caption:
        return ""
    note = f"<small>{_text(block.note)}</small>" if block.note else ""
    return f"<figcaption>{_text(block.caption)}{note}</figcaption>"


def _table(table: Table) -> str:
    def classes(column: int, mark: str = "") -> str:
        names = " ".join(name for name in ("text" if column < table.text_columns else "", mark) if name)
        return f' class="{names}"' if names else ""

    def row(values: tuple[Value, ...], rule: bool) -> str:
        cells = "".join(
            f"<td{classes(number, value.mark)}>{_text(value.text)}</td>" for number, value in enumerate(values)
        )
        return f'<tr class="rule">{cells}</tr>' if rule else f"<tr>{cells}</tr>"

    heads = "".join(f"<th{classes(number)}>{_text(column)}</th>" for number, column in enumerate(table.columns))
    body = "\n".join(row(values, bool(number) and number in table.rules) for number, values in enumerate(table.rows))
    return (
        f'<figure class="table" id="{table.name}">{_caption(table)}<div class="scroll"><table>'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div></figure>"
    )
