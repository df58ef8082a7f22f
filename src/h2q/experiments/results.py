"""The results of an experiment, and the authors' results."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2q.experiments.cells import Cell, Setting
from h2q.experiments.plan import Plan
from h2q.experiments.records import CellScores, CellSeconds, NetworkSummary, Record
from h2q.experiments.store import ExperimentFolder

__all__ = ["Results", "Row", "Status", "load_results", "reference_rows", "status_of"]

_REFERENCE_NAMES = {
    "cel": "CosineEmbedding", "dch": "DCH", "dhn": "DHN", "dpsh": "DPSH", "hyp2": "HyP2", "wglhh": "WGLHH",
    "hashnet": "HashNet", "adsh": "ADSH", "ms-coco": "coco", "imagenet100": "imagenet-100",
    "h2q-min-entry": "h2q-min_entry", "h2q-bit-variance": "h2q-bit_variance",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A finished cell.

    Attributes
    ----------
    record : Record
        Its line of results.
    network : NetworkSummary
        Training of its network.
    scores : CellScores
        Its scores.
    seconds : CellSeconds
        Time taken.
    """

    record: Record
    network: NetworkSummary
    scores: CellScores
    seconds: CellSeconds

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.record.cell

    @property
    def setting(self) -> Setting:
        """Its position in the grid without quantizer and seed."""
        return self.record.cell.network.setting

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.record.cell.network.seed

    @property
    def quantizer(self) -> str:
        """Its quantizer, as the plan names it."""
        return self.record.cell.quantizer


@dataclass(frozen=True)
class Results:
    """The finished cells of the plan that was run last.

    Attributes
    ----------
    plan : Plan
        The plan.
    rows : tuple of Row
        Finished cells.
    failed : tuple of Record
        Cells that failed.
    cells : tuple of Cell
        All cells of the plan.
    folder : Path or None
        The folder that they come from, which holds the scores of single queries.
    """

    plan: Plan
    rows: tuple[Row, ...]
    failed: tuple[Record, ...]
    cells: tuple[Cell, ...]
    folder: Path | None = None

    @property
    def quantizers(self) -> tuple[str, ...]:
        """The plan's quantizers, in its order."""
        return self.plan.quantizers

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings that have results, losses in the plan's order."""
        order = {loss: number for number, loss in enumerate(self.plan.losses)}
        settings = {row.setting for row in self.rows}
        return tuple(
            sorted(settings, key=lambda each: (each.dataset, each.backbone, order.get(each.loss, 0), each.n_bits))
        )

    def by_cell(self, quantizer: str, metric: str) -> dict[tuple[Setting, int], float]:
        """Return a score of a quantizer for each setting and seed that has it.

        Parameters
        ----------
        quantizer : str
            Of the plan. "real" gives `map_real` for every metric: a ranking by embeddings has no ties to speak of.
        metric : {"map_embeddings", "map_expected"}
            Field of `CellScores`.
        """
        field = "map_real" if quantizer == "real" else metric
        return {(row.setting, row.seed): getattr(row.scores, field) for row in self.rows if row.quantizer == quantizer}

    def queries_by_cell(self, quantizer: str, metric: str) -> dict[tuple[Setting, int], NDArray[np.float64]]:
        """Return the average precision of each query for each setting and seed; arguments as for `by_cell`.

        Cells of a version that did not keep them are left out.
        """
        if self.folder is None:
            return {}
        store, name = ExperimentFolder(self.folder), "map_expected" if quantizer == "real" else metric
        scores = {
            (row.setting, row.seed): store.query_scores(row.cell.key) for row in self.rows if row.quantizer == quantizer
        }
        return {key: each[name].astype(np.float64) for key, each in scores.items() if name in each}


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
    stored, records = store.plan(), store.records()
    reached = [records[cell.key] for cell in stored.cells if cell.key in records]
    rows, failed = [], []
    for record in reached:
        if record.network is None or record.scores is None or record.seconds is None or not record.is_done:
            failed.append(record)
        else:
            rows.append(Row(record, record.network, record.scores, record.seconds))
    return Results(stored.plan, tuple(rows), tuple(failed), stored.cells, store.path)


@dataclass(frozen=True)
class Status:
    """The progress of an experiment.

    Attributes
    ----------
    name : str
        Name of the plan.
    n_cells, n_done : int
        Cells of the plan, and those that are done.
    by_quantizer : tuple of (str, int, int)
        For each quantizer: its name, its finished cells, its cells.
    failed : tuple of (Cell, str)
        Cells whose last try failed, each with the error.

    Examples
    --------
    >>> status = Status("cifar10", n_cells=4, n_done=3, by_quantizer=(("sign", 2, 2), ("itq", 1, 2)), failed=())
    >>> [name for name, done, cells in status.by_quantizer if done < cells]
    ['itq']
    """

    name: str
    n_cells: int
    n_done: int
    by_quantizer: tuple[tuple[str, int, int], ...]
    failed: tuple[tuple[Cell, str], ...]

    @property
    def n_failed(self) -> int:
        """Cells whose last try failed."""
        return len(self.failed)


def status_of(folder: str | Path) -> Status:
    """Return the progress of the experiment in a folder; arguments and errors are those of `load_results`."""
    results = load_results(folder)
    wanted = Counter(cell.quantizer for cell in results.cells)
    done = Counter(row.quantizer for row in results.rows)
    by_quantizer = tuple((name, done[name], wanted[name]) for name in results.quantizers)
    failed = tuple((record.cell, record.error or "") for record in results.failed)
    return Status(results.plan.name, len(results.cells), len(results.rows), by_quantizer, failed)


@dataclass(frozen=True)
class ReferenceRow:
    """A number of the paper's authors: mAP in percent, with its standard deviation over four seeds."""

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
