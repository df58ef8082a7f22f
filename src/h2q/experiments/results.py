"""The results of an experiment as rows, and the authors' as rows beside them."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from h2q.experiments.store import ExperimentFolder

__all__ = ["METRICS", "Results", "Row", "Setting", "Status", "load_results", "reference_rows", "status_of"]

METRICS = ("map_embeddings", "map_expected")

_REFERENCE_NAMES = {
    "cel": "CosineEmbedding", "dch": "DCH", "dhn": "DHN", "dpsh": "DPSH", "hyp2": "HyP2", "wglhh": "WGLHH",
    "hashnet": "HashNet", "adsh": "ADSH", "ms-coco": "coco", "imagenet100": "imagenet-100",
    "h2q-min-entry": "h2q-min_entry", "h2q-bit-variance": "h2q-bit_variance",
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Setting:
    """Where a quantizer is compared with others: everything but the quantizer and the seed."""

    dataset: str
    backbone: str
    loss: str
    n_bits: int


@dataclass(frozen=True)
class Row:
    """A finished cell.

    Attributes
    ----------
    setting : Setting
        Where it stands.
    seed : int
        Its seed.
    quantizer : str
        Its quantizer.
    scores : mapping
        "map_real", "map_embeddings", "map_expected", ...
    record : mapping
        All that was written about it.
    """

    setting: Setting
    seed: int
    quantizer: str
    scores: Mapping[str, float]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """What the cells of the plan that was run last have given so far.

    Attributes
    ----------
    name : str
        Of the plan.
    plan : mapping
        The plan.
    quantizers : tuple of str
        Those of the plan, in its order.
    rows : tuple of Row
        Finished cells.
    failed : tuple of (Mapping, str)
        Cells that failed, and why.
    n_cells : int
        Cells of the plan.
    """

    name: str
    plan: Mapping[str, Any]
    quantizers: tuple[str, ...]
    rows: tuple[Row, ...]
    failed: tuple[tuple[Mapping[str, Any], str], ...]
    n_cells: int

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings that have results, in the plan's order of losses."""
        order = {loss: number for number, loss in enumerate(self.plan["losses"])}
        found = {row.setting for row in self.rows}
        return tuple(
            sorted(found, key=lambda each: (each.dataset, each.backbone, order.get(each.loss, 0), each.n_bits))
        )

    def by_cell(self, quantizer: str, metric: str) -> dict[tuple[Setting, int], float]:
        """Return a score of a quantizer for each setting and seed that has it.

        The quantizer "real" gives "map_real" whatever the metric: a ranking by embeddings has no ties to speak of.
        """
        name = "map_real" if quantizer == "real" else metric
        return {(row.setting, row.seed): row.scores[name] for row in self.rows if row.quantizer == quantizer}


def load_results(folder: str | Path) -> Results:
    """Read the folder of an experiment.

    Raises
    ------
    FileNotFoundError
        If it holds none.
    FileFormatError
        If a file in it is damaged.
    """
    store = ExperimentFolder(folder)
    noted, records = store.plan(), store.records()
    rows, failed = [], []
    for entry in noted["cells"]:
        record = records.get(entry["key"])
        if record is None:
            continue
        cell = record["cell"]
        if record["status"] == "failed":
            failed.append((cell, record["error"]))
            continue
        setting = Setting(cell["dataset"], cell["backbone"], cell["loss"], cell["n_bits"])
        rows.append(Row(setting, cell["seed"], cell["quantizer"], record["scores"], record))
    quantizers = tuple(dict.fromkeys(entry["cell"]["quantizer"] for entry in noted["cells"]))
    order = [name for name in noted["plan"]["quantizers"] if name in quantizers]
    return Results(noted["name"], noted["plan"], tuple(order), tuple(rows), tuple(failed), len(noted["cells"]))


@dataclass(frozen=True)
class Status:
    """How far an experiment is.

    Attributes
    ----------
    name : str
        Of the plan.
    n_cells, n_done, n_failed : int
        Cells of the plan, those that are done, and those whose last try failed.
    by_quantizer : tuple of (str, int, int)
        For each quantizer: its name, its finished cells, its cells.
    failed : tuple of (Mapping, str)
        Cells that failed, and why.
    """

    name: str
    n_cells: int
    n_done: int
    n_failed: int
    by_quantizer: tuple[tuple[str, int, int], ...]
    failed: tuple[tuple[Mapping[str, Any], str], ...]


def status_of(folder: str | Path) -> Status:
    """Say how far the experiment in a folder is; arguments and errors are those of `load_results`."""
    results = load_results(folder)
    wanted = Counter(entry["cell"]["quantizer"] for entry in ExperimentFolder(folder).plan()["cells"])
    done = Counter(row.quantizer for row in results.rows)
    by_quantizer = tuple((name, done[name], wanted[name]) for name in results.quantizers)
    return Status(results.name, results.n_cells, len(results.rows), len(results.failed), by_quantizer, results.failed)


@dataclass(frozen=True)
class ReferenceRow:
    """A number of the paper's authors: mAP in percent with its standard deviation over four seeds."""

    setting: Setting
    quantizer: str
    map_percent: float
    map_std: float


def reference_rows(datasets: Sequence[str] | None = None) -> tuple[ReferenceRow, ...]:
    """Return the authors' numbers under the names that h2q uses (their 2025 run, ITQ computed correctly).

    Examples
    --------
    >>> rows = reference_rows(["cifar10"])
    >>> len(rows), rows[0].setting.backbone
    (400, 'alexnet')
    """
    text = (resources.files("h2q.experiments") / "reference_map.csv").read_text(encoding="utf-8")
    rows = []
    for line in csv.DictReader(text.splitlines()):
        names = {name: _REFERENCE_NAMES.get(value, value) for name, value in line.items()}
        if datasets is None or names["dataset"] in datasets:
            setting = Setting(names["dataset"], line["backbone"], names["similarity_loss"], int(line["bits"]))
            rows.append(
                ReferenceRow(setting, names["quantization"], float(line["map_percent"]), float(line["map_std"]))
            )
    return tuple(rows)
