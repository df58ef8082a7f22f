"""Write the table of docs/reproduce.md from the report of our run and the authors' numbers."""

import re
from collections import defaultdict
from pathlib import Path
from statistics import mean

from h2q.experiments import reference_rows

ROOT = Path(__file__).resolve().parent.parent
PAGE, REPORT = ROOT / "docs" / "reproduce.md", ROOT / "docs" / "results" / "report.md"
MARKED = re.compile(r"(<!-- paper: summary -->\n).*?(<!-- end of paper -->)", re.DOTALL)
NAMES = {
    "sign": "sign", "penalty": "penalty", "hswd": "HSWD", "itq": "ITQ", "h2q-l2": "H²Q l2", "h2q-l1": "H²Q l1",
    "h2q-min_entry": "H²Q min_entry", "h2q-bit_variance": "H²Q bit_variance",
}  # fmt: skip


def report_table(report: str, first_column: str) -> list[dict[str, str]]:
    """Return the rows of the first table of the report whose header begins with a column."""
    lines = report.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    header, rows = _cells(lines[start]), []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(header, _cells(line), strict=True)))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def summary(report: str) -> str:
    """Return the table: mean mAP of each quantizer and its difference from sign, ours and the authors'."""
    ours = {row["quantizer"]: row for row in report_table(report, "quantizer")}
    losses = {row["loss"] for row in report_table(report, "loss | quantizer")}
    bits = {int(row["bits"]) for row in report_table(report, "loss | bits")}
    authors: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in reference_rows(["cifar10"]):
        if row.setting.loss in losses and row.setting.n_bits in bits:
            authors[row.setting.backbone][row.quantizer].append(row.map_percent)
    lines = [
        "| quantizer | EfficientNet-Lite0, heads (here) | − sign | AlexNet, whole (authors) | − sign "
        "| VGG-16, whole (authors) | − sign |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for key, label in NAMES.items():
        cells = [ours[label]["mAP"], "" if key == "sign" else ours[label]["− sign"]]
        for backbone in ("alexnet", "vgg16"):
            value, sign = mean(authors[backbone][key]), mean(authors[backbone]["sign"])
            cells += [f"{value:.2f}", "" if key == "sign" else f"{value - sign:+.2f}".replace("-", "−")]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def filled(page: str, report: str) -> str:
    """Return the page with the table between its markers."""
    return MARKED.sub(lambda match: match[1] + summary(report) + match[2], page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(), REPORT.read_text()))
