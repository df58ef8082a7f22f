"""Reports of a real experiment: their numbers against the records, and the formats they are written in."""

import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from h2q.datasets import load_dataset
from h2q.evaluation import mean_average_precision
from h2q.experiments import RunSummary, build_report, load_results, reference_rows, write_report
from h2q.experiments.results import Results
from h2q.experiments.tables import reference_table
from h2q.files import encode_checked_json, read_tensors
from h2q.quantization import HouseholderQuantizer, SignQuantizer
from h2q.report.document import Document, Table
from h2q.report.render_latex import escape_latex


@pytest.fixture(scope="module")
def results(experiment: tuple[Path, RunSummary]) -> Results:
    return load_results(experiment[0])


@pytest.fixture(scope="module")
def document(results: Results) -> Document:
    return build_report(results)


@pytest.fixture(scope="module")
def written(experiment: tuple[Path, RunSummary], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    paths = write_report(experiment[0], folder)
    assert [path.name for path in paths] == ["report.md", "report.tex", "report.html"]
    return folder


def find(document: Document, name: str) -> Table:
    tables = [block for section in document.sections for block in section.blocks if isinstance(block, Table)]
    return next(table for table in tables if table.name == name)


def column(table: Table, head: str) -> dict[str, str]:
    place = table.columns.index(head)
    return {row[0].text: row[place].text for row in table.rows}


@pytest.mark.parametrize(("ties", "metric"), [("embeddings", "map_embeddings"), ("expected", "map_expected")])
def test_gains_are_those_of_the_records(
    experiment: tuple[Path, RunSummary], document: Document, ties: str, metric: str
) -> None:
    records = [json.loads(line) for line in (experiment[0] / "results.jsonl").read_text().splitlines()]

    def scores(quantizer: str) -> np.ndarray:
        mine = [record for record in records if record["cell"]["quantizer"] == quantizer]
        mine.sort(key=lambda record: json.dumps([record["cell"]["network"][key] for key in ("loss", "n_bits", "seed")]))
        name = "map_real" if quantizer == "real" else metric
        return np.array([record["scores"][name] for record in mine])

    gains = scores("h2q-l2") - scores("sign")
    assert len(gains) == 8
    table = find(document, f"comparison-{ties}")
    assert float(column(table, "mAP")["H²Q l2"]) == pytest.approx(100 * scores("h2q-l2").mean(), abs=0.005)
    shown = column(table, "− sign")["H²Q l2"].replace("−", "-")
    assert float(shown) == pytest.approx(100 * gains.mean(), abs=0.0051)
    p_value = binomtest(int((gains > 0).sum()), int((gains != 0).sum())).pvalue
    assert float(column(table, "p")["H²Q l2"]) == pytest.approx(p_value, abs=0.0005)
    assert column(table, "improved")["H²Q l2"] == f"{100 * (gains > 0).mean():.0f} %"
    low, high = column(table, "min to max")["H²Q l2"].replace("−", "-").split(" to ")
    assert float(low) == pytest.approx(100 * gains.min(), abs=0.0051)
    assert float(high) == pytest.approx(100 * gains.max(), abs=0.0051)
    lost = scores("real").mean() - scores("sign").mean()
    back = column(table, "given back")["H²Q l2"].replace("−", "-").removesuffix(" %")
    assert float(back) == pytest.approx(100 * gains.mean() / lost, abs=0.51)
    assert sum(float(wins) for wins in column(table, "wins").values() if wins != "–") == 4


@pytest.mark.parametrize(("ties", "metric"), [("embeddings", "map_embeddings"), ("expected", "map_expected")])
def test_differences_are_paired_by_query(
    experiment: tuple[Path, RunSummary], results: Results, document: Document, ties: str, metric: str
) -> None:
    dataset = {seed: load_dataset("digits", random_state=seed) for seed in (0, 1)}
    by_seed: dict[int, list[np.ndarray]] = {0: [], 1: []}
    for row in results.rows:
        if row.quantizer == "h2q-l2" and row.setting.loss == "DPSH":
            folder = experiment[0] / "networks" / f"{row.network.key}.safetensors"
            parts, data = read_tensors(folder).tensors, dataset[row.seed]
            queries, database = (data.labels[data.folds[fold]] for fold in ("query", "database"))
            scores = []
            for quantizer in (HouseholderQuantizer(center=False, random_state=row.seed), SignQuantizer(center=False)):
                quantizer.fit(parts["train"])
                codes = [quantizer.encode(parts[fold]) for fold in ("query", "database")]
                embeddings = {f"{fold}_embeddings": parts[fold] for fold in ("query", "database")}
                scores.append(
                    mean_average_precision(
                        *codes, queries, database, n_bits=row.setting.n_bits, k=100, ties=ties,
                        **(embeddings if ties == "embeddings" else {}),
                    ).per_query
                )  # fmt: skip
            by_seed[row.seed].append(scores[0] - scores[1])
    differences = [np.mean(cells, axis=0) for cells in by_seed.values()]
    generator = np.random.default_rng(7)
    resampled = [np.mean([generator.choice(each, len(each)).mean() for each in differences]) for _ in range(2000)]
    shown = column(find(document, f"paired-{ties}"), "− sign")["DPSH"].replace("−", "-")
    mean, low, high = (float(number) for number in re.findall(r"[-+]?[0-9.]+", shown))
    assert mean == pytest.approx(100 * np.mean(differences), abs=0.006)
    assert [low, high] == pytest.approx(100 * np.quantile(resampled, [0.025, 0.975]), abs=0.3)  # of two bootstraps


def test_both_forms_of_penalties_are_shown(results: Results, document: Document) -> None:
    table = find(document, "tanh")
    rows = [row for row in results.rows if row.quantizer == "penalty" and row.setting.loss == "DPSH"]
    best = [max(trial.validation_map for trial in row.network.tried if trial.tanh) for row in rows]
    assert column(table, "with")["DPSH"] == f"{100 * np.mean(best):.2f}"
    assert column(table, "cells that chose it")["DPSH"] == str(sum(row.network.tanh for row in rows))


def test_settings_show_mean_and_deviation_over_seeds(results: Results, document: Document) -> None:
    table = find(document, "scores-expected")
    values = results.by_cell("itq", "map_expected")
    row = next(row for row in table.rows if (row[0].text, row[1].text) == ("DPSH", "24"))
    mine = [100 * value for (each, _), value in values.items() if (each.loss, each.n_bits) == ("DPSH", 24)]
    assert len(mine) == 2
    shown = row[table.columns.index("ITQ")].text
    assert shown == f"{np.mean(mine):.1f} ± {np.std(mine, ddof=1):.1f}"
    best = [value for value in row if value.mark == "best"]
    codes = [
        value for head, value in zip(table.columns, row, strict=True) if head not in ("loss", "bits", "real-valued")
    ]
    assert best
    assert {value.text.split()[0] for value in best} == {max(value.text.split()[0] for value in codes)}


def test_every_table_of_scores_says_how_they_were_found(document: Document, results: Results) -> None:
    fingerprint = results.rows[0].record.data.fingerprint
    for name in ("comparison-embeddings", "comparison-expected", "scores-embeddings", "scores-expected"):
        note = find(document, name).note
        ties = name.split("-")[1]
        for part in (f'ties "{ties}"', "mAP@100", 'divisor "retrieved"', '"zero"', "query 100", fingerprint, "h2q 0."):
            assert part in note


def test_authors_numbers_stand_beside_and_apart(results: Results) -> None:
    assert reference_table(results) is None  # the authors have no digits
    renamed = []
    for row in results.rows:
        cell = dataclasses.replace(row.cell, network=dataclasses.replace(row.cell.network, dataset="cifar10"))
        renamed.append(dataclasses.replace(row, record=dataclasses.replace(row.record, cell=cell)))
    table = reference_table(dataclasses.replace(results, rows=tuple(renamed)))
    assert table is not None
    assert [head for head in table.columns if "(" in head] == [
        "efficientnet-lite0 (here)", "alexnet (authors)", "vgg16 (authors)",
    ]  # fmt: skip
    shown = next(row for row in table.rows if (row[0].text, row[1].text) == ("CosineEmbedding", "H²Q l2"))
    theirs = [
        row.map_percent for row in reference_rows(["cifar10"])
        if (row.setting.backbone, row.setting.loss, row.quantizer) == ("alexnet", "CosineEmbedding", "h2q-l2")
    ]  # fmt: skip
    assert theirs == [82.2, 82.4, 82.7, 82.4]
    assert shown[table.columns.index("alexnet (authors)")].text == f"{np.mean(theirs):.1f}"


class Page(HTMLParser):
    """Counts tags, and checks that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        values = dict(attrs)
        self.ids.add(values.get("id") or "")
        self.links += [values[name] or "" for name in ("href", "src", "xlink:href") if name in values]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(written: Path, document: Document) -> None:
    text = (written / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    n_tables = sum(isinstance(block, Table) for section in document.sections for block in section.blocks)
    assert (page.counts["table"], page.counts["svg"]) == (n_tables, 2)
    assert all(link.startswith("#") for link in page.links)  # no other host, no other file
    navigation = [link for link in page.links if link.removeprefix("#") in page.ids]
    assert len(navigation) >= len(document.sections)
    assert set(re.findall(r"https?://[^\"' <]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "<!--" not in text.replace("<!-- ", "")


def test_markdown_has_whole_tables_and_its_figures(written: Path) -> None:
    text = (written / "report.md").read_text()
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(widths) > 40
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert all(len({line.count("|") for line in block.splitlines()}) == 1 for block in blocks)
    figures = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert len(figures) == 2
    for figure in figures:
        assert (written / figure).read_bytes().startswith(b"\x89PNG")


def test_latex_is_balanced_and_escaped(written: Path) -> None:
    text = (written / "report.tex").read_text()
    opened, closed = re.findall(r"\\begin\{(\w+)\}", text), re.findall(r"\\end\{(\w+)\}", text)
    assert sorted(opened) == sorted(closed)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == opened.count("tabular") > 5
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not set(body) & set("²±−–≥Δ“”√")
    assert not re.search(r"(?<!\\)%(?!$)", body, flags=re.MULTILINE)
    for table in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL):
        rows = [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert rows
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table[0]) - 1}
    assert escape_latex("a_b & 5 %") == r"a\_b \& 5 \%"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(written: Path) -> None:
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage{graphicx}"
    (written / "main.tex").write_text(
        rf"\documentclass{{article}}{packages}\begin{{document}}\input{{report}}\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"],
        cwd=written,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_an_unfinished_experiment_says_so(experiment: tuple[Path, RunSummary], tmp_path: Path) -> None:
    folder = shutil.copytree(experiment[0], tmp_path / "copy")
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["cell"]["network"]["loss"] == "DPSH"]
    failed = {**json.loads(lines[0]), "error": "ValueError: no luck", "network": None, "scores": None, "seconds": None}
    failed["cell"] = json.loads(kept[0])["cell"]
    failed["key"] = json.loads(kept[0])["key"]
    del failed["h2q_checksum"]
    (folder / "results.jsonl").write_bytes("".join(kept).encode() + encode_checked_json(failed, "a record"))
    text = write_report(folder)[0].read_text()
    assert "20 of 40 cells are not done yet" in text
    assert "ValueError: no luck" in text
    (folder / "results.jsonl").unlink()
    with pytest.raises(ValueError, match="no cell is done yet"):
        write_report(folder)
