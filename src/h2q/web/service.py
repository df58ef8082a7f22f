"""What the paths of the API do: queries of all kinds to answers, pictures and texts of items, changes of items."""

import datetime
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import numpy as np
from cachetools import TTLCache
from numpy.typing import NDArray
from pydantic import ValidationError

from h2q import __version__
from h2q.checks import as_embeddings, bytes_per_code
from h2q.errors import FileFormatError
from h2q.index.ids import INTEGER
from h2q.web.comparing import BackgroundComparison
from h2q.web.contents import Contents
from h2q.web.metrics import Metrics
from h2q.web.pictures import as_jpeg, decode
from h2q.web.schemas import ItemRequest, SearchRequest
from h2q.web.searching import Options, find_item, item_id, query_of_item, run_search, scorings_of, shown_columns
from h2q.web.settings import Refusal, Settings
from h2q.web.why import SignCodes
from h2q.web.work import WorkPool

__all__ = ["Service"]

P = ParamSpec("P")
Result = TypeVar("Result")
_THUMBNAIL, _PICTURE = 256, 2_048  # pixels of the longest side
_THUMBNAIL_BYTES, _THUMBNAIL_SECONDS = 64 << 20, 300


class Service:
    """The index that is served, and the threads that work for its requests.

    Parameters
    ----------
    contents : Contents
        What is served.
    settings : Settings
        The limits.
    """

    def __init__(self, contents: Contents, settings: Settings) -> None:
        self.contents, self.settings, self.metrics = contents, settings, Metrics()
        self.index = contents.index
        self._comparison, self._signs = BackgroundComparison(self.index), SignCodes(self.index)
        self._searches = WorkPool("search", 4, 1_000)
        self._models = WorkPool("embed", 2, 64, contents.prepare_thread)
        self._pictures = WorkPool("pictures", 2, 1_000)
        self._changes = WorkPool("changes", 1, 16)
        self._thumbnails: TTLCache[str | int, bytes] = TTLCache(_THUMBNAIL_BYTES, _THUMBNAIL_SECONDS, getsizeof=len)

    def close(self) -> None:
        """Let all threads end."""
        for pool in (self._searches, self._models, self._pictures, self._changes):
            pool.close()

    def info(self) -> dict[str, Any]:
        """Return what `h2q.web.schemas.Info` describes."""
        index, quantizer, settings = self.index, self.index.quantizer, self.settings
        lengths = getattr(quantizer, "lengths_", None)
        return {
            "name": self.contents.name,
            "kind": self.contents.kind,
            "items": len(index),
            "n_bits": index.n_bits,
            "lengths": None if lengths is None else list(lengths),
            "quantizer": None if quantizer is None else type(quantizer).__name__,
            "metric": index.metric,
            "bytes_per_item": index.bytes_per_item,
            "scorings": scorings_of(index),
            "accepts": self.contents.ways(),
            "columns": [{"name": name, "type": kind} for name, kind in shown_columns(index).items()],
            "keeps_embeddings": index.keeps_embeddings,
            "takes_changes": settings.token is not None,
            "max_upload_bytes": settings.max_upload_bytes,
            "max_k": settings.max_k,
            "version": __version__,
        }

    async def search_image(self, content: bytes, options: Options, *, why: bool = False) -> dict[str, Any]:
        """Search by the bytes of an image, which are forgotten afterwards."""
        return await self._search(lambda: self._embed_image(content)[0], options, embeds=True, why=why)

    async def search(self, request: SearchRequest, *, why: bool = False) -> dict[str, Any]:
        """Search by an id, a text, an embedding or a code."""
        given = [name for name in ("id", "text", "embedding", "code") if getattr(request, name) is not None]
        if len(given) != 1:
            raise Refusal(400, f"give exactly one of id, text, embedding and code; got {', '.join(given) or 'none'}")
        options = Options(request.k, request.scoring, request.n_bits, request.where)
        text = request.text
        if text is not None:
            return await self._search(lambda: self.contents.embed_text(text), options, embeds=True, why=why)
        return await self._search(lambda: self._given_query(request), options, embeds=False, why=why)

    async def _search(
        self, make_query: Callable[[], NDArray[Any]], options: Options, *, embeds: bool, why: bool
    ) -> dict[str, Any]:
        options = options.check(self.settings)

        def find(query: NDArray[Any] | None, seconds: float) -> dict[str, Any]:
            query = make_query() if query is None else query
            if why:
                return self._signs.search(query, options, seconds)
            return run_search(self.index, query, options, seconds)

        if embeds:
            query, seconds = await self._models.run(_timed, make_query)
            answer = await self._searches.run(_refusing, find, query, seconds)
        else:
            answer = await self._searches.run(_refusing, find, None, 0.0)
        for part in (answer["sign"], answer["learned"]) if why else (answer,):
            self.metrics.report_search(part["seconds"])
            for result in part["results"]:
                result["metadata"] = {name: _plain(value) for name, value in result["metadata"].items()}
        return answer

    def _given_query(self, request: SearchRequest) -> NDArray[Any]:
        if request.id is not None:
            return query_of_item(self.index, request.id)
        if request.code is not None:
            return self._code(request.code)
        return self._embedding(request.embedding or [])

    def _embed_image(self, content: bytes) -> tuple[NDArray[np.float32], dict[str, Any] | None]:
        """Return the embedding of an image, and the metadata that it would have as an item."""
        if "image" not in self.contents.accepts:
            # Says so before anything is decoded.
            raise Refusal(400, f"this index holds {self.contents.kind} and no image model")
        image = decode(content, self.settings.max_pixels)
        return self.contents.embed_image(image), self.contents.describe_image(image, len(content))

    def _embedding(self, values: list[float]) -> NDArray[np.float32]:
        quantizer = self.index.quantizer
        if quantizer is None:
            raise Refusal(400, "this index has no quantizer; search by code or id")
        if len(values) != quantizer.n_features_in_:
            raise Refusal(400, f"embedding must have {quantizer.n_features_in_} numbers; got {len(values)}")
        return as_embeddings([values], "embedding")

    def _code(self, digits: str) -> NDArray[np.uint8]:
        expected = 2 * bytes_per_code(self.index.n_bits)
        if len(digits) != expected:
            raise Refusal(400, f"code must have {expected} hexadecimal digits; got {len(digits)}")
        return np.frombuffer(bytes.fromhex(digits), np.uint8)[None].copy()

    async def thumbnail(self, given: str) -> bytes:
        """Return a small JPEG of an item's picture."""
        item = find_item(self.index, given)
        content = self._thumbnails.get(item)
        if content is None:
            content = await self._pictures.run(self._jpeg, item, _THUMBNAIL)
            self._thumbnails[item] = content
        return content

    async def picture(self, given: str) -> bytes:
        """Return a JPEG of an item's picture, of at most 2,048 pixels on its longest side."""
        return await self._pictures.run(self._jpeg, find_item(self.index, given), _PICTURE)

    def _jpeg(self, item: str | int, longest_side: int) -> bytes:
        return as_jpeg(self.contents.picture(item), self.settings.max_pixels, longest_side)

    async def text(self, given: str) -> dict[str, Any]:
        """Return the text of an item."""
        item = find_item(self.index, given)
        return {"id": item, "text": await self._searches.run(self.contents.text, item)}

    async def comparison(self) -> dict[str, Any]:
        """Return how far the comparison of quantizers is, or its result."""
        return await self._searches.run(self._comparison.state)

    async def add(self, given: str, content: bytes, *, is_json: bool) -> dict[str, Any]:
        """Add an item, or replace that of the same id, and save the index."""
        if is_json:
            try:
                request = ItemRequest.model_validate_json(content)
            except ValidationError as error:
                raise Refusal(422, f"the body is no item: {first_error(error.errors())}") from error
            embedding, metadata = _refusing(self._embedding, request.embedding), request.metadata
        else:
            embedding, metadata = await self._models.run(self._embed_image, content)
        return await self._changes.run(_refusing, self._add, given, embedding, metadata)

    def _add(self, given: str, embedding: NDArray[Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
        item = item_id(self.index, given)
        if self.index.id_type == INTEGER and isinstance(item, str):
            raise Refusal(400, "ids of this index are whole numbers")
        with self._saving():
            self.index.upsert(embedding, [item], None if metadata is None else [metadata])
        return self._changed(item)

    async def remove(self, given: str) -> dict[str, Any]:
        """Remove an item, and save the index."""
        return await self._changes.run(self._remove, given)

    def _remove(self, given: str) -> dict[str, Any]:
        with self._saving():
            item = find_item(self.index, given)
            self.index.remove([item])
        return self._changed(item)

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Keep other processes from saving during a change, and save it; an index without a folder stays in memory."""
        if self.index.address is None:
            yield
            return
        with self.index.locked():
            yield
            self.index.save()

    def _changed(self, item: str | int) -> dict[str, Any]:
        self._signs.forget()
        self._thumbnails.pop(item, None)
        return {"id": item, "items": len(self.index)}


def _timed(function: Callable[[], Result]) -> tuple[Result, float]:
    began = time.perf_counter()
    return function(), time.perf_counter() - began


def _refusing(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Call a function that checks what a client sent; what it finds wrong with it is the answer."""
    try:
        return function(*args, **kwargs)
    except FileFormatError:
        raise  # the index is damaged, which is not the client's fault
    except (ValueError, TypeError) as error:
        raise Refusal(400, str(error)) from error


def first_error(errors: Sequence[Any]) -> str:
    """Return the first of pydantic's errors in a sentence.

    >>> first_error([{"loc": ("body", "k"), "msg": "Input should be a valid integer"}])
    'k: Input should be a valid integer'
    """
    place = ".".join(str(part) for part in errors[0]["loc"] if part != "body")
    return f"{place}: {errors[0]['msg']}" if place else str(errors[0]["msg"])


def _plain(value: Any) -> Any:
    """Return a value of a metadata column as JSON has it: times in ISO format, bytes in hexadecimal, NaN as null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value)
