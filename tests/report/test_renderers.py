"""One document in every format."""

import pytest

from h2q.report.document import Bullets, Document, Figure, Paragraph, Section, Table, Value, as_rows
from h2q.report.render_html import render_html
from h2q.report.render_latex import render_latex
from h2q.report.render_markdown import render_markdown
from h2q.report.render_terminal import render_terminal

TABLE = Table(
    columns=("quantizer", "mAP\nexpected"), rows=as_rows([["a|b", Value("50.0", "best")], ["[c]", None]]), rules=(1,),
    caption="Scores.", note="A note.", name="scores",
)  # fmt: skip
PLAIN = Table(columns=("x",), rows=as_rows([["1"]]))
LONG = "word " * 60


def test_a_row_needs_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match=r"row 1 has 1 cells; expected one for each of \('a', 'b'\)"):
        Table(columns=("a", "b"), rows=as_rows([[1, 2], [3]]))


def test_terminal() -> None:
    text = render_terminal(TABLE, Bullets(("one", "two")), Paragraph("end"))
    assert text.startswith("Scores.\n")
    assert "\n\n- one\n- two\n\nend\n" in text
    assert " [c]" in text  # brackets are no markup
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[lines.index("  a|b             50.0") + 1] == ""  # the rule


def test_the_terminal_wraps_text_and_never_numbers() -> None:
    assert render_terminal(Paragraph(LONG)).count("\n") == 1
    assert max(map(len, render_terminal(Paragraph(LONG), width=40).splitlines())) <= 40
    assert max(map(len, render_terminal(Paragraph(LONG), width=400).splitlines())) <= 100
    wide = Table(columns=("text", "number"), rows=as_rows([[LONG, "123,456,789"]]))
    narrow = render_terminal(wide, width=40)
    assert "123,456,789" in narrow
    assert max(map(len, narrow.splitlines())) <= 40
    assert LONG.strip() in render_terminal(wide)


def test_the_terminal_styles_marked_values() -> None:
    text = render_terminal(TABLE, width=80, styled=True)
    assert "50.0\x1b[0m" in text  # bold
    assert "a|b\x1b[0m" not in text


def test_tables_without_a_caption_have_no_empty_line_for_it() -> None:
    document = Document("t", "", (), (Section("s", (PLAIN,)),))
    assert render_markdown(document, "") == "# t\n\n## s\n\n| x |\n|:---|\n| 1 |\n"
    assert "figcaption" not in render_html(document).split("</style>")[1]


def test_every_format_escapes_its_own_marks() -> None:
    document = Document("t", "", (), (Section("s", (TABLE, Paragraph("a < b"))),))
    assert "| a\\|b | **50.0** |" in render_markdown(document, "")
    assert "mAP expected" in render_markdown(document, "")
    assert "<p>a &lt; b</p>" in render_html(document)
    assert r"\textbf{50.0}" in render_latex(document, "")


def test_a_figure_is_a_caption_on_a_terminal() -> None:
    figure = Figure(name="f", caption="What it shows.", note="", svg=b"<svg/>", png=b"")
    assert render_terminal(figure) == "What it shows.\n"
