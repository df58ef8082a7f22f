"""The application: the paths of the API, their description, and errors in one form."""

import hmac
import logging
import mimetypes
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from h2q import __version__
from h2q.files import write_json
from h2q.web import schemas
from h2q.web.contents import Contents
from h2q.web.guards import Guard
from h2q.web.pictures import UPLOAD_FORMATS
from h2q.web.schemas import SearchRequest
from h2q.web.searching import Options
from h2q.web.service import Service, first_error
from h2q.web.settings import Refusal, Settings

__all__ = ["create_app", "write_openapi"]

_PAGE = Path(__file__).parent / "page"
_LOG = logging.getLogger("h2q.web")

_WORDS = {
    400: "The query does not fit the index, or a limit is exceeded.",
    401: "The token is missing or wrong.",
    403: "This server takes no changes.",
    404: "There is no such item.",
    408: "The body did not arrive in time.",
    413: "The body or the picture is too large.",
    415: "The picture is of an unknown kind.",
    421: "The Host header names another server.",
    422: "The request is not as described.",
    429: "The client sends too many requests.",
    500: "An error of the server.",
    503: "The server is busy.",
}
_ALL = (421, 422, 429, 500, 503)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_IMAGE_BODY = {
    "required": True, "content": {f"image/{name.lower()}": _BINARY for name in UPLOAD_FORMATS}
}  # fmt: skip
_ITEM_BODY = {
    "required": True,
    "content": {
        **_IMAGE_BODY["content"],  # type: ignore[dict-item]
        "application/json": {"schema": schemas.ItemRequest.model_json_schema()},
    },
}
_JPEG: dict[str, Any] = {"description": "A JPEG.", "content": {"image/jpeg": _BINARY}}
_bearer = HTTPBearer(auto_error=False, description="The token of the server's --token-file.")

ItemId = Annotated[str, Query(min_length=1, max_length=4_096, description="Id of an item.")]
K = Annotated[int, Query(ge=1, description="Number of results; at most max_k of /api/info.")]
ScoringQuery = Annotated[schemas.Scoring | None, Query(description="Default: the best that the index has.")]
BitsQuery = Annotated[int | None, Query(ge=1, description="Compare only the first bits.")]
WhereQuery = Annotated[str | None, Query(description="Filter on metadata.")]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": schemas.ErrorAnswer, "description": _WORDS[status]} for status in sorted({*_ALL, *statuses})
    }


def create_app(contents: Contents, settings: Settings | None = None, *, page: Path = _PAGE) -> Guard:
    """Return the ASGI application that serves an index.

    Parameters
    ----------
    contents : Contents
        What is served; see `open_contents`.
    settings : Settings, optional
        The limits. Default: those of `Settings`.
    page : path
        Folder of the page's files.

    Returns
    -------
    ASGI application
        For uvicorn or another server of ASGI; see `h2q.web.serve`.

    Examples
    --------
    >>> import numpy as np
    >>> from h2q.index import BinaryIndex
    >>> from starlette.testclient import TestClient
    >>> index = BinaryIndex(8)
    >>> ids = index.add(np.array([[1], [3], [7]], np.uint8))
    >>> client = TestClient(create_app(Contents(index, "three codes")), "http://localhost")
    >>> [result["id"] for result in client.post("/api/search", json={"code": "03", "k": 2}).json()["results"]]
    [1, 0]
    """
    settings = settings or Settings()
    service = Service(contents, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="h2q",
        version=__version__,
        description="Search an index of binary codes.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _answer_errors(app)
    _add_page(app, _read_page(page))
    _add_search(app, service)
    _add_items(app, service)
    _add_operation(app, service)
    return Guard(app, settings, service.metrics.report)


def write_openapi(app: Guard, path: Path) -> None:
    """Write the description of an application's API, as /openapi.json gives it.

    Parameters
    ----------
    app : ASGI application
        What `create_app` returned.
    path : path
        The JSON file.

    Examples
    --------
    >>> import tempfile
    >>> from h2q.index import BinaryIndex
    >>> file = Path(tempfile.mkdtemp()) / "openapi.json"
    >>> write_openapi(create_app(Contents(BinaryIndex(8), "codes")), file)
    >>> "/api/search" in file.read_text()
    True
    """
    write_json(path, app.app.openapi())


def _answer_errors(app: FastAPI) -> None:
    """Give all errors one form, which says nothing of the inside of the server."""

    def answer(status: int, message: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": message}, status, headers)

    @app.exception_handler(Refusal)
    async def refuse(_: Request, error: Refusal) -> JSONResponse:
        headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}.get(error.status)
        return answer(error.status, error.message, headers)

    @app.exception_handler(HTTPException)
    async def refuse_path(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_form(_: Request, error: RequestValidationError) -> JSONResponse:
        return answer(422, first_error(error.errors()))

    @app.exception_handler(Exception)
    async def fail(_: Request, error: Exception) -> JSONResponse:
        _LOG.error("a request failed", exc_info=error)
        return answer(500, "an error of the server, which its log describes")


def _read_page(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Return the content and kind of the page's files: requests read no files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): (
            path.read_bytes(),
            mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        )
        for path in files
    }


def _add_page(app: FastAPI, files: dict[str, tuple[bytes, str]]) -> None:
    def file(name: str) -> Response:
        if name not in files:
            raise Refusal(404, "there is no such file of the page")
        content, kind = files[name]
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return file("index.html")

    @app.get("/page/{name:path}", include_in_schema=False)
    async def page(name: str) -> Response:
        return file(name)


def _add_search(app: FastAPI, service: Service) -> None:
    @app.get("/api/info", response_model=schemas.Info, responses=_errors())
    async def info() -> Any:
        """What is served, and what queries may be."""
        return JSONResponse(service.info())

    @app.post("/api/search", response_model=schemas.SearchAnswer, responses=_errors(400, 404, 408, 413))
    async def search(body: SearchRequest) -> Any:
        """Search by id, text, embedding or code."""
        return JSONResponse(await service.search(body))

    @app.post("/api/why", response_model=schemas.WhyAnswer, responses=_errors(400, 404, 408, 413))
    async def why(body: SearchRequest) -> Any:
        """Search by plain signs of the embeddings beside the codes of the index."""
        return JSONResponse(await service.search(body, why=True))

    def add_image_search(path: str, model: Any, summary: str, *, why: bool) -> None:
        async def search_image(
            request: Request, k: K = 20, scoring: ScoringQuery = None, n_bits: BitsQuery = None,
            where: WhereQuery = None,
        ) -> Any:  # fmt: skip
            return JSONResponse(
                await service.search_image(await request.body(), Options(k, scoring, n_bits, where), why=why)
            )

        app.post(
            path, response_model=model, responses=_errors(400, 408, 413, 415), summary=summary,
            openapi_extra={"requestBody": _IMAGE_BODY},
        )(search_image)  # fmt: skip

    add_image_search("/api/search/image", schemas.SearchAnswer, "Search by an image, which is not stored.", why=False)
    add_image_search("/api/why/image", schemas.WhyAnswer, "The same by plain signs, too.", why=True)

    @app.get(
        "/api/comparison",
        response_model=schemas.ComparisonAnswer,
        responses={202: {"model": schemas.ComparisonAnswer, "description": "It is being computed."}, **_errors(404)},
    )
    async def comparison() -> Any:
        """Compare quantizers on a sample of the items; the first request begins it."""
        state = await service.comparison()
        return JSONResponse(state, 202 if state["status"] == "running" else 200)


def _add_items(app: FastAPI, service: Service) -> None:
    def check(credentials: Credentials) -> None:
        token = service.settings.token
        if token is None:
            raise Refusal(403, "this server takes no changes; start it with --token-file")
        given = "" if credentials is None else credentials.credentials
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise Refusal(401, "the token is missing or wrong: send Authorization: Bearer TOKEN")

    def add_jpeg(path: str, summary: str, load: Callable[[str], Any]) -> None:
        async def jpeg(id: ItemId) -> Response:
            # Names of pictures may come to hold others, so nothing is kept for long.
            return Response(await load(id), media_type="image/jpeg", headers={"cache-control": "private, max-age=60"})

        app.get(path, response_class=Response, responses={200: _JPEG, **_errors(400, 404, 413, 415)}, summary=summary)(
            jpeg
        )

    add_jpeg("/api/thumbnail", "A small JPEG of an item's picture.", service.thumbnail)
    add_jpeg("/api/picture", "An item's picture as a JPEG.", service.picture)

    @app.get("/api/text", response_model=schemas.TextAnswer, responses=_errors(400, 404))
    async def text(id: ItemId) -> Any:
        """Return the text of an item."""
        return JSONResponse(await service.text(id))

    @app.post(
        "/api/items",
        response_model=schemas.Change,
        responses=_errors(400, 401, 403, 408, 413, 415),
        dependencies=[Depends(check)],
        openapi_extra={"requestBody": _ITEM_BODY},
    )
    async def add(request: Request, id: ItemId) -> Any:
        """Add an item, or replace that of the same id: an image, or an embedding as JSON."""
        is_json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
        return JSONResponse(await service.add(id, await request.body(), is_json=is_json))

    @app.delete(
        "/api/items",
        response_model=schemas.Change,
        responses=_errors(400, 401, 403, 404),
        dependencies=[Depends(check)],
    )
    async def remove(id: ItemId) -> Any:
        """Remove an item."""
        return JSONResponse(await service.remove(id))


def _add_operation(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_model=schemas.Health, responses=_errors())
    async def health() -> Any:
        """Say that the server answers."""
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **_errors()})
    async def metrics() -> Response:
        """Return counters for Prometheus."""
        content = service.metrics.render(len(service.index))
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")
