"""A client of Milvus that is made again when the server was gone."""

import re
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar

from h2q.errors import require
from h2q.index.retries import repeat

__all__ = ["MilvusConnection"]

T = TypeVar("T")

# What a server that is down, starts or stops answers.
_UNAVAILABLE = re.compile(
    r"unavailable|not ready|not healthy|connect|timeout|timed out|deadline|channel|no available|node|stopped|closed|"
    r"not loaded|not fully loaded|abnormal",
    re.IGNORECASE,
)


class MilvusConnection:
    """One client, which threads share.

    Parameters
    ----------
    host : str
        Host and port, with user and password if need be.
    timeout : float
        Seconds to wait for an answer.
    retries : int
        How often to ask again when the server does not answer.
    """

    def __init__(self, host: str, timeout: float, retries: int) -> None:
        self._pymilvus: Any = require("pymilvus", "milvus")
        self._uri, self._timeout, self._retries = f"http://{host}", timeout, retries
        self.name = f"Milvus at {host.rpartition('@')[2]}"
        self.failures: tuple[type[Exception], ...] = (
            self._pymilvus.MilvusException, require("grpc", "milvus").RpcError,
        )  # fmt: skip
        self._client: Any = None
        self._closed = False
        self._lock = threading.RLock()

    def run(self, work: Callable[[Any, float], T]) -> T:
        """Return ``work(client, timeout)``, called again when the server does not answer."""
        if self._closed:
            raise ValueError("the index is closed; open it again")

        def attempt() -> T:
            try:
                with self._lock:
                    if self._client is None:
                        self._client = self._pymilvus.MilvusClient(uri=self._uri, timeout=self._timeout)
                return work(self._client, self._timeout)
            except self.failures:
                self._drop()
                raise

        return repeat(
            attempt, self.failures, retries=self._retries, place=self.name,
            again=lambda error: _UNAVAILABLE.search(str(error)) is not None,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """Close the connection if the block raised."""
        if kind is not None:
            self.close()

    def close(self) -> None:
        """Close the connection for good."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
