"""A connection to PostgreSQL that is opened again when it breaks, with a time limit on every answer."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from h2q.errors import require
from h2q.index.retries import repeat

__all__ = ["PgConnection"]

T = TypeVar("T")


class PgConnection:
    """One connection, which threads share.

    Parameters
    ----------
    uri : str
        Address of the database, as libpq reads it.
    timeout : float
        Seconds to wait for an answer.
    retries : int
        How often to ask again when the server does not answer.
    """

    def __init__(self, uri: str, timeout: float, retries: int) -> None:
        self._psycopg: Any = require("psycopg", "postgresql")
        self._uri, self._timeout, self._retries = uri, timeout, retries
        self._lock = threading.RLock()
        self._connection: Any = None
        self._closed = False
        parts = urlsplit(uri)
        # Not the user and password.
        self.name = f"the database {parts.path.lstrip('/') or 'of PostgreSQL'} at {parts.netloc.rpartition('@')[2]}"

    def run(self, work: Callable[[Any], T], *, patient: bool = False) -> T:
        """Return ``work(connection)``, done in one transaction; repeated from the start when the connection breaks.

        Parameters
        ----------
        work : callable
            Must have the same effect whether or not an earlier transaction was committed.
        patient : bool
            Wait for an answer for as long as it takes.

        Raises
        ------
        EngineUnavailableError
            If the server does not answer.
        """
        failures = (self._psycopg.OperationalError, self._psycopg.InterfaceError)
        with self._lock:
            if self._closed:
                raise ValueError("the index is closed; open it again")
            return repeat(lambda: self._attempt(work, patient), failures, retries=self._retries, place=self.name)

    def rows(self, statement: str, parameters: Sequence[Any] = (), *, binary: bool = False) -> list[Any]:
        """Return the rows of one statement."""

        def work(connection: Any) -> list[Any]:
            cursor = connection.cursor(binary=binary).execute(statement, parameters)
            return [] if cursor.description is None else list(cursor.fetchall())

        return self.run(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """Close the connection if the block raised."""
        if kind is not None:
            self.close()

    def __del__(self) -> None:
        """Close the connection of an index that nobody closed."""
        if getattr(self, "_connection", None) is not None:
            self._drop()

    def close(self) -> None:
        """Close the connection for good."""
        with self._lock:
            self._closed = True
            self._drop()

    def _attempt(self, work: Callable[[Any], T], patient: bool) -> T:
        try:
            connection = self._open()
            with _deadline(connection, None if patient else self._timeout), connection.transaction():
                if patient:
                    connection.execute("set local statement_timeout = 0")
                return work(connection)
        except (self._psycopg.OperationalError, self._psycopg.InterfaceError):
            self._drop()
            raise

    def _open(self) -> Any:
        if self._connection is None:
            wait = max(1, round(self._timeout))
            self._connection = self._psycopg.connect(self._uri, autocommit=True, connect_timeout=wait)
            with _deadline(self._connection, self._timeout):
                self._connection.execute(f"set statement_timeout = {round(1000 * self._timeout)}")
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._psycopg.Error):
                connection.close()


@contextmanager
def _deadline(connection: Any, seconds: float | None) -> Iterator[None]:
    """Break the connection after some time, so that a server that hangs is an error: libpq itself waits forever."""
    if seconds is None:
        yield
        return
    # A copy of the descriptor: by the time it is used, the number could belong to another file.
    handle = socket.socket(fileno=os.dup(connection.fileno()))
    timer = threading.Timer(seconds, _shut, [handle])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        handle.close()


def _shut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)
