"""A server of the application: uvicorn with limits for slow clients."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Protocol", "serve"]

_HEADER_SECONDS = 10.0
_KEEP_ALIVE_SECONDS = 15
_SHUTDOWN_SECONDS = 3
_CONNECTIONS = 512
_HEADER_BYTES = 64 << 10


class Protocol(H11Protocol):
    """HTTP as uvicorn speaks it, with a time in which the head of a request must have arrived."""

    header_seconds = _HEADER_SECONDS
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._waiting = self.loop.call_later(self.header_seconds, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent; begin to wait, if it is the beginning of a further request."""
        if self._waiting is None and self._is_idle():
            self._waiting = self.loop.call_later(self.header_seconds, self._give_up)
        super().data_received(data)
        if self._waiting is not None and not self._is_idle():
            self._waiting.cancel()
            self._waiting = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        """Return whether no request is being answered: none has begun, or its head has not arrived in full."""
        return self.cycle is None or self.cycle.response_complete

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.abort()


def serve(app: Any, host: str = "127.0.0.1", port: int = 0, started: Callable[[str], None] = print) -> None:
    """Serve an application until the process is told to end.

    Parameters
    ----------
    app : ASGI application
        See `create_app`.
    host : str
        Address to listen at. The default is reached from this machine alone.
    port : int
        Port; 0: any free one.
    started : callable
        Called with the address of the page once connections are taken.

    Raises
    ------
    OSError
        If the port is taken, or the address is not of this machine.
    """
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        access_log=False,
        log_level="error",  # whoever sends nonsense should not fill the log
        server_header=False,
        # The rate is that of the address of the connection: a header would let clients choose it.
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    shown = f"[{host}]" if ":" in host else host
    try:
        listening = socket.create_server((host, port), family=family, backlog=_CONNECTIONS)
    except OSError as error:
        if isinstance(error.__context__, socket.gaierror):  # create_server hides it
            raise OSError(
                f"{shown} is no address of this machine ({error.__context__.strerror}); choose another host"
            ) from error
        reason = os.strerror(error.errno) if error.errno else error
        raise OSError(f"{shown}:{port} cannot be listened at ({reason}); choose another port") from error
    with listening:
        started(f"http://{shown}:{listening.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[listening])
