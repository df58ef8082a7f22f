"""A report's tables and figures as LaTeX floats for a paper; needs the packages booktabs and graphicx."""

from h2q.report.document import Document, Figure, Table, Value

__all__ = ["escape_latex", "render_latex"]

_MAX_COLUMNS = 7  # a table of more columns is scaled to the width of the text
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "²": r"\textsuperscript{2}", "±": r"$\pm$",
    "−": r"$-$", "Δ": r"$\Delta$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "–": "--", "“": "``", "”": "''",
    "<": r"\textless{}", ">": r"\textgreater{}", '"': "''", "→": r"$\to$", "√": r"$\surd$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    r"""Return LaTeX source that typesets the text literally.

    >>> escape_latex("H²Q min_entry & 5 %")
    'H\\textsuperscript{2}Q min\\_entry \\& 5 \\%'
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def render_latex(document: Document, figure_folder: str) -> str:
    """Return the tables and figures as LaTeX floats; LaTeX reads the figures from ``figure_folder/NAME.png``."""
    parts = [
        f"% {document.title}: {document.subtitle}".replace("\n", " "),
        "% \\usepackage[T1]{fontenc}, \\usepackage{booktabs} and \\usepackage{graphicx}, then \\input this file.",
    ]
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Table):
                parts.append(_table(block))
            elif isinstance(block, Figure):
                parts.append(_figure(block, figure_folder))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    layout = "l" * table.text_columns + "r" * (len(table.columns) - table.text_columns)
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule"]
    lines.append(" & ".join(escape_latex(column) for column in table.columns) + r" \\")
    lines.append(r"\midrule")
    for number, row in enumerate(table.rows):
        if number and number in table.rules:
            lines.append(r"\midrule")
        lines.append(" & ".join(_value(value) for value in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if len(table.columns) > _MAX_COLUMNS:
        lines = [r"\resizebox{\textwidth}{!}{%", *lines[:-1], lines[-1] + "}"]
    return "\n".join([*_open("table", table), *lines, r"\end{table}"])


def _figure(figure: Figure, figure_folder: str) -> str:
    picture = rf"\includegraphics[width=\textwidth]{{{figure_folder}/{figure.name}.png}}"
    return "\n".join([*_open("figure", figure), picture, r"\end{figure}"])


def _open(kind: str, block: Table | Figure) -> list[str]:
    note = rf" {{\footnotesize {escape_latex(block.note)}}}" if block.note else ""
    label = ("tab:" if kind == "table" else "fig:") + block.name
    return [
        rf"\begin{{{kind}}}[tbp]",
        r"\centering",
        rf"\caption{{{escape_latex(block.caption)}{note}}}",
        rf"\label{{{label}}}",
    ]


def _value(value: Value) -> str:
    text = escape_latex(value.text)
    return rf"\textbf{{{text}}}" if value.mark == "best" and text else text
