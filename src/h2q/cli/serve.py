"""``h2q serve``: a page and an HTTP API for an index."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2q.cli.common import print_paragraph

if TYPE_CHECKING:
    from h2q.web import Settings

__all__ = ["serve"]

_LOCAL = ("127.0.0.1", "localhost", "::1")
_LEAST_TOKEN = 16
_OTHERS = 0o077


def serve(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="What h2q images, texts or index wrote.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at. Default: reached from this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0: any free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with the token that adding and removing needs. Default: nobody may."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Name that the server is called by; may be repeated."),
    ] = None,
    rate_limit: Annotated[
        float, typer.Option("--rate-limit", min=0, help="Requests a second of a client, of which an image is 20.")
    ] = 400.0,
    openapi: Annotated[
        Path | None, typer.Option("--openapi", help="Write the description of the API as JSON instead, and exit.")
    ] = None,
) -> None:
    """Serve a page that searches an index, and an HTTP API."""
    from h2q import web

    settings = _settings(token_file, allow_host or [], rate_limit)
    contents = web.open_contents(path)
    app = web.create_app(contents, settings)
    if openapi is not None:
        web.write_openapi(app, openapi)
        return
    if host not in _LOCAL:
        print_paragraph(f"Other machines can reach {host}, and nothing is encrypted; a proxy in front can do that.")
    contents.warm_up()
    web.serve(app, host, port, _say)


def _say(address: str) -> None:
    print(f"{address} (Ctrl-C ends it)", flush=True)


def _settings(token_file: Path | None, hosts: list[str], rate: float) -> "Settings":
    from h2q.web import Settings

    token = None if token_file is None else token_file.read_text().strip()
    if token is not None and (len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise typer.BadParameter(
            f"expected {_LEAST_TOKEN} characters of ASCII at least in {token_file}; got {len(token)}: make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe())'",
            param_hint="--token-file",
        )
    if token_file is not None and token_file.stat().st_mode & _OTHERS:
        print_paragraph(f"Others on this machine can read {token_file}; chmod 600 {token_file} prevents it.")
    return Settings(token=token, hosts=tuple(hosts), requests_per_second=rate)
