"""What requests and answers look like: the description in /openapi.json, and the checks of what comes in."""

from typing import Annotated, Any, Literal

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field

__all__ = [
    "Change",
    "ComparisonAnswer",
    "Curve",
    "ErrorAnswer",
    "Health",
    "Info",
    "ItemRequest",
    "Number",
    "SearchAnswer",
    "SearchRequest",
    "TableAnswer",
    "TextAnswer",
    "WhyAnswer",
]

Number = Annotated[float, AllowInfNan(False)]
Scoring = Literal["hamming", "asymmetric", "rerank"]
MAX_DIMENSIONS = 65_536


class _Strict(BaseModel):
    """A body without further fields."""

    model_config = ConfigDict(extra="forbid")


class SearchRequest(_Strict):
    """A search by exactly one of id, text, embedding and code."""

    id: (
        Annotated[int, Field(strict=True, ge=0, lt=2**63)]
        | Annotated[str, Field(strict=True, min_length=1, max_length=4_096)]
        | None
    ) = None
    text: str | None = Field(None, min_length=1, max_length=10_000)
    embedding: list[Number] | None = Field(None, min_length=1, max_length=MAX_DIMENSIONS)
    code: str | None = Field(
        None, pattern="^([0-9a-f]{2})+$", max_length=MAX_DIMENSIONS // 4, description="Packed bytes, hexadecimal."
    )
    k: int = Field(20, ge=1, description="Number of results; at most max_k of /api/info.")
    scoring: Scoring | None = Field(None, description="Default: the best that query and index have.")
    n_bits: int | None = Field(None, ge=1, description="Compare only the first bits. Default: all.")
    where: str | None = Field(None, description="Filter on metadata, such as width > 1000.")


class ItemRequest(_Strict):
    """An item to add."""

    embedding: list[Number] = Field(min_length=1, max_length=MAX_DIMENSIONS)
    metadata: dict[str, str | int | Number | bool | None] | None = None


class ErrorAnswer(BaseModel):
    """An error."""

    error: str


class Result(BaseModel):
    """An item of an answer."""

    id: int | str
    distance: float = Field(description="Bits for Hamming scoring; otherwise by the metric of the index.")
    bits: int = Field(description="Hamming distance of the codes.")
    code: str
    metadata: dict[str, Any]


class Seconds(BaseModel):
    """Time that the parts of a search took."""

    embed: float
    search: float


class SearchAnswer(BaseModel):
    """The nearest items, the nearest first."""

    query_code: str | None
    n_bits: int
    scoring: Scoring
    seconds: Seconds
    results: list[Result]


class WhyAnswer(BaseModel):
    """One query by two kinds of codes of the same embeddings."""

    sign: SearchAnswer
    learned: SearchAnswer


class ColumnInfo(BaseModel):
    """A column of metadata."""

    name: str
    type: str


class Info(BaseModel):
    """What is served."""

    name: str
    kind: Literal["pictures", "texts", "embeddings"]
    items: int
    n_bits: int
    lengths: list[int] | None = Field(description="Code lengths whose prefixes were fitted; null: the whole code.")
    quantizer: str | None
    metric: str
    bytes_per_item: int
    scorings: list[Scoring]
    accepts: list[Literal["image", "text", "embedding", "code", "id"]]
    columns: list[ColumnInfo]
    keeps_embeddings: bool
    takes_changes: bool = Field(description="Whether items can be added and removed with a token.")
    max_upload_bytes: int
    max_k: int
    version: str


class TextAnswer(BaseModel):
    """The text of an item."""

    id: int | str
    text: str


class Curve(BaseModel):
    """Recall of one quantizer by one scoring, at each code length; null where it was not measured."""

    quantizer: str
    scoring: Scoring
    recall: list[float | None]


class TableAnswer(BaseModel):
    """A table of text."""

    columns: list[str]
    rows: list[list[str]]
    caption: str
    note: str


class ComparisonAnswer(BaseModel):
    """Quantizers on a sample of the items; curves and table once status is done."""

    status: Literal["running", "done", "failed"]
    progress: float
    error: str | None = None
    k: int | None = None
    items: int | None = None
    queries: int | None = None
    bits: list[int] | None = None
    curves: list[Curve] | None = None
    table: TableAnswer | None = None


class Change(BaseModel):
    """What a change of the items did."""

    id: int | str
    items: int


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"]
