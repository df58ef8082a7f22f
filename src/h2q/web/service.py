"""The work behind the paths of the API: searches, pictures and texts of items, changes of items."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import numpy as np
from cachetools import TTLCache
from numpy.typing import NDArray
from pydantic import ValidationError

from h2q.checks import as_embeddings, bytes_per_code
from h2q.errors import FileFormatError
from h2q.index.ids import INTEGER
from h2q.web.comparing import BackgroundComparison
from h2q.web.contents import Contents
from h2q.web.metrics import Metrics
from h2q.web.pictures import as_jpeg, decode
from h2q.web.schemas import ItemRequest, SearchRequest
from h2q.web.searching import Options, find_item, item_id, plain, query_of_item, run_search, scorings_of
from h2q.web.settings import Refusal, Settings
from h2q.web.why import SignCodes
from h2q.web.work import WorkPool

__all__ = ["Service"]

P = ParamSpec("P")
Result = TypeVar("Result")
_THUMBNAIL, _PICTURE = 256, 2_048  # pixels of the longest side
_THUMBNAIL_BYTES, _THUMBNAIL_SECONDS = 64 << 20, 300


class Service:
    """The served index, and the threads that answer requests.

    Parameters
    ----------
    contents : Contents
        The index and its items.
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
        """Shut down all threads."""
        for pool in (self._searches, self._models, self._pictures, self._changes):
            pool.close()

    def info(self) -> dict[str, Any]:
        """Return the fields of `h2q.web.schemas.Info`."""
        index, settings = self.index, self.settings
        return {
            **self.contents.describe(),
            "metric": index.metric,
            "bytes_per_item": index.bytes_per_item,
            "scorings": scorings_of(index),
            "accepts": self.contents.ways(),
            "keeps_embeddings": index.keeps_embeddings,
            "takes_changes": settings.token is not None,
            "max_upload_bytes": settings.max_upload_bytes,
            "max_k": settings.max_k,
        }

    async def search_image(self, content: bytes, options: Options, *, why: bool = False) -> dict[str, Any]:
        """Search by the bytes of an image, which are not stored."""
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
                result["metadata"] = {name: plain(value) for name, value in result["metadata"].items()}
        return answer

    def _given_query(self, request: SearchRequest) -> NDArray[Any]:
        if request.id is not None:
            return query_of_item(self.index, request.id)
        if request.code is not None:
            return self._code(request.code)
        return self._embedding(request.embedding or [])

    def _embed_image(self, content: bytes) -> tuple[NDArray[np.float32], dict[str, Any] | None]:
        """Return the embedding of an image, and its metadata as an item."""
        if "image" not in self.contents.accepts:
            # Refused before decoding.
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
        """Return the progress of the comparison of quantizers, or its result."""
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
        return self._forget(await self._changes.run(_refusing, self._add, given, embedding, metadata))

    def _add(self, given: str, embedding: NDArray[Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
        item = item_id(self.index, given)
        if self.index.id_type == INTEGER and isinstance(item, str):
            raise Refusal(400, "ids of this index are whole numbers")
        with self._saving():
            self.index.upsert(embedding, [item], None if metadata is None else [metadata])
        self._signs.forget()
        return {"id": item, "items": len(self.index)}

    async def remove(self, given: str) -> dict[str, Any]:
        """Remove an item, and save the index."""
        return self._forget(await self._changes.run(self._remove, given))

    def _remove(self, given: str) -> dict[str, Any]:
        with self._saving():
            item = find_item(self.index, given)
            self.index.remove([item])
        self._signs.forget()
        return {"id": item, "items": len(self.index)}

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Lock the folder during a change and save it; an index without a folder stays in memory."""
        if self.index.address is None:
            yield
            return
        try:
            with self.index.locked():
                yield
                self.index.save()
        except TimeoutError as error:
            raise Refusal(503, "another process is saving the index; try again in a moment") from error
        except FileExistsError as error:
            message = "another process changed or replaced the index; restart the server"
            raise Refusal(503, message) from error

    def _forget(self, change: dict[str, Any]) -> dict[str, Any]:
        """Discard what was computed from an item before its change; called by the event loop, which owns the cache."""
        self._thumbnails.pop(change["id"], None)
        return change


def _timed(function: Callable[[], Result]) -> tuple[Result, float]:
    began = time.perf_counter()
    return function(), time.perf_counter() - began


def _refusing(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Call a function; answer its ValueError or TypeError, which name a fault of the request, with status 400."""
    try:
        return function(*args, **kwargs)
    except FileFormatError:
        raise  # a damaged index is a fault of the server
    except (ValueError, TypeError) as error:
        raise Refusal(400, str(error)) from error


def first_error(errors: Sequence[Any]) -> str:
    """Return the first of pydantic's errors as text.

    >>> first_error([{"loc": ("body", "k"), "msg": "Input should be a valid integer"}])
    'k: Input should be a valid integer'
    """
    place = ".".join(str(part) for part in errors[0]["loc"] if part != "body")
    return f"{place}: {errors[0]['msg']}" if place else str(errors[0]["msg"])
