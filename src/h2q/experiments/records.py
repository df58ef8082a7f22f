"""What the folder of an experiment holds, as typed objects: the plan, and a record for each cell."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from h2q.experiments.cells import Cell
from h2q.experiments.plan import Plan

__all__ = ["CellScores", "CellSeconds", "DataVersion", "NetworkSummary", "Record", "StoredPlan", "Trial"]


@dataclass(frozen=True)
class DataVersion:
    """Identity of the images and the folds.

    Attributes
    ----------
    fingerprint : str
        Digest of the images.
    folds : mapping of str to int
        Size of each fold.
    folds_digest : str
        Digest of the rows of each fold.

    Examples
    --------
    >>> DataVersion("1f3a", {"train": 500, "query": 100}, "77b0").folds["query"]
    100
    """

    fingerprint: str
    folds: Mapping[str, int]
    folds_digest: str


class Trial(NamedTuple):
    """A form of a penalty that was tried: its weight, the validation mAP of sign codes, and whether it has a tanh."""

    weight: float
    validation_map: float
    tanh: bool = False


@dataclass(frozen=True)
class NetworkSummary:
    """How a network was trained.

    Attributes
    ----------
    key : str
        Identifier: the embeddings are in ``networks/KEY.safetensors``.
    validation_map : float or None
        mAP on the validation fold, 0 to 1.
    best_epoch : int
        Epoch whose weights were kept.
    train_seconds, embed_seconds : float
        Wall-clock time of the training (of all weights) and of embedding the folds.
    weight : float or None
        Weight of the penalty that was best on the validation fold; None without a penalty.
    tried : tuple of Trial
        Every form of the penalty with its score; empty without a penalty.
    tanh : bool
        Whether the network that is kept ends in a tanh.

    Examples
    --------
    >>> summary = NetworkSummary("1f3a", validation_map=0.64, best_epoch=24, train_seconds=12.0, embed_seconds=0.5)
    >>> summary.weight is None
    True
    """

    key: str
    validation_map: float | None
    best_epoch: int
    train_seconds: float
    embed_seconds: float
    weight: float | None = None
    tried: tuple[Trial, ...] = ()
    tanh: bool = False

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the summary that ``dataclasses.asdict`` turned into a JSON document."""
        tried = tuple(Trial(*trial) for trial in document["tried"])
        return cls(**{**document, "tried": tried})


@dataclass(frozen=True)
class CellScores:
    """The scores of a cell; all but the first are None for the real-valued embeddings.

    Attributes
    ----------
    map_real : float
        mAP of the real-valued embeddings of the same network, 0 to 1.
    map_embeddings, map_expected : float or None
        mAP of the codes, ties broken by the embeddings or averaged over all orders.
    map_embeddings_interval : tuple of float or None
        95% bootstrap interval of `map_embeddings` over queries.
    quantization_error_l1, quantization_error_l2 : float or None
        Of the database.
    distinct_codes : int or None
        Codes in use in the database.

    Examples
    --------
    >>> CellScores(map_real=0.675, map_embeddings=0.688, map_expected=0.670).map_expected
    0.67
    """

    map_real: float
    map_embeddings: float | None = None
    map_embeddings_interval: tuple[float, float] | None = None
    map_expected: float | None = None
    quantization_error_l1: float | None = None
    quantization_error_l2: float | None = None
    distinct_codes: int | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the scores that ``dataclasses.asdict`` turned into a JSON document."""
        interval = document["map_embeddings_interval"]
        return cls(**{**document, "map_embeddings_interval": None if interval is None else tuple(interval)})


@dataclass(frozen=True)
class CellSeconds:
    """Seconds that a cell took: wall-clock time of the parts (None for the real-valued embeddings), processor time.

    Examples
    --------
    >>> CellSeconds(score=1.5, processor=2.0, fit=0.3, encode=0.1).fit
    0.3
    """

    score: float
    processor: float
    fit: float | None = None
    encode: float | None = None


@dataclass(frozen=True)
class Record:
    """A line of results: a cell that is done, or one that failed.

    Attributes
    ----------
    cell : Cell
        Everything that determines the numbers.
    data : DataVersion
        The images they come from.
    versions : mapping of str to str
        Packages.
    finished : str
        Time in UTC, ISO 8601.
    network : NetworkSummary or None
        None if the cell failed; so are `scores` and `seconds`.
    scores : CellScores or None
        The numbers.
    seconds : CellSeconds or None
        Time taken.
    error : str or None
        Why the cell failed; None if it is done.
    """

    cell: Cell
    data: DataVersion
    versions: Mapping[str, str]
    finished: str
    network: NetworkSummary | None = None
    scores: CellScores | None = None
    seconds: CellSeconds | None = None
    error: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the cell has scores."""
        return self.error is None

    def to_json(self) -> dict[str, Any]:
        """Return a document of plain values, with the key of the cell."""
        return {"key": self.cell.key, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the record of a document.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the document is no record.
        """
        network, scores, seconds = (document[name] for name in ("network", "scores", "seconds"))
        record = cls(
            Cell.from_json(document["cell"]), DataVersion(**document["data"]), document["versions"],
            document["finished"], None if network is None else NetworkSummary.from_json(network),
            None if scores is None else CellScores.from_json(scores),
            None if seconds is None else CellSeconds(**seconds), document["error"],
        )  # fmt: skip
        if record.is_done and (record.network is None or record.scores is None or record.seconds is None):
            raise ValueError("a cell that is done must have network, scores and seconds")
        return record


@dataclass(frozen=True)
class StoredPlan:
    """The plan that was run last, with its cells as they were then."""

    plan: Plan
    cells: tuple[Cell, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a document of plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the plan of a document; errors are those of `Record.from_json`."""
        return cls(Plan.from_json(document["plan"]), tuple(map(Cell.from_json, document["cells"])))
