"""Checks of every request before the application sees it: host name, rate of the client, size of the body."""

import asyncio
import ipaddress
import json
import time
from collections.abc import Callable
from typing import Any

from cachetools import LRUCache

from h2q.web.settings import Refusal, Settings

__all__ = ["IMAGE_PATHS", "Guard", "TokenBuckets", "client_of"]

IMAGE_PATHS = frozenset({"/api/search/image", "/api/why/image", "/api/items"})
_IMAGE_COST = 20
_MAX_CLIENTS = 10_000
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_ENCODED = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

Scope = dict[str, Any]


class TokenBuckets:
    """A token bucket for each client; the 10,000 most recent clients are remembered.

    Parameters
    ----------
    rate : float
        Sustained requests a second of a client; a burst may have twice as many. 0: no limit.
    clock : callable
        Returns the time in seconds.

    Examples
    --------
    >>> buckets = TokenBuckets(1.0, clock=lambda: 0.0)
    >>> [buckets.take("somebody", 1) for _ in range(3)]
    [0.0, 0.0, 1.0]
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(_MAX_CLIENTS)

    def take(self, client: str, cost: float) -> float:
        """Take the cost of a request and return 0, or return the seconds to wait until it can be taken."""
        if not self._rate:
            return 0.0
        now, most = self._clock(), 2 * self._rate
        left, then = self._buckets.get(client, (most, now))
        left = min(most, left + (now - then) * self._rate)
        cost = min(cost, most)
        allowed = left >= cost
        self._buckets[client] = (left - cost if allowed else left, now)
        return 0.0 if allowed else (cost - left) / self._rate


def client_of(scope: Scope) -> str:
    """Return the key of a client's rate: its IPv4 address, or the /64 network of its IPv6 address.

    >>> client_of({"client": ("192.0.2.1", 5000)}), client_of({"client": ("2001:db8::5:6", 5000)})
    ('192.0.2.1', '2001:db8::/64')
    >>> client_of({"client": ("::ffff:192.0.2.1", 5000)})  # an IPv4 client of a server that listens at ::
    '192.0.2.1'
    """
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    address = getattr(address, "ipv4_mapped", None) or address
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


class Guard:
    """ASGI middleware that checks every request and adds the security headers to every answer.

    Parameters
    ----------
    app : ASGI application
        Receives the requests that pass, with their whole body.
    settings : Settings
        The limits.
    report : callable
        Called after every answer with the scope, the status and the seconds it took.
    """

    def __init__(self, app: Any, settings: Settings, report: Callable[[Scope, int, float], None]) -> None:
        self.app, self._settings, self._report = app, settings, report
        self._hosts = {"localhost", *(name.lower() for name in settings.hosts)}
        self._buckets = TokenBuckets(settings.requests_per_second)
        self._buffered = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        began, status = time.perf_counter(), 500

        async def send_with_headers(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], *_ENCODED]
                if all(name != b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._answer(scope, receive, send_with_headers)
        finally:
            self._report(scope, status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Any, send: Any) -> None:
        try:
            self._check_host(scope)
            self._check_rate(scope)
            body = await self._read(scope, receive)
        except Refusal as refusal:
            await _send_error(send, refusal)
            return
        sent = False

        async def receive_body() -> Any:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        try:
            await self.app(scope, receive_body, send)
        finally:
            self._buffered -= len(body)

    def _check_host(self, scope: Scope) -> None:
        """Refuse a request under a foreign host name, which a page of another site may have sent."""
        given = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        refusal = Refusal(
            421, "the Host header names another server; start this one with --allow-host NAME to use that name"
        )
        if len(given) != 1:
            raise refusal
        host = given[0] if given[0].endswith("]") else given[0].rsplit(":", 1)[0]
        host = host.removeprefix("[").removesuffix("]").rstrip(".")
        if host in self._hosts:
            return
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise refusal from None

    def _check_rate(self, scope: Scope) -> None:
        seconds = self._buckets.take(client_of(scope), _IMAGE_COST if _is_image(scope) else 1)
        if seconds:
            raise Refusal(429, f"too many requests; try again in {seconds:.1f} seconds")

    async def _read(self, scope: Scope, receive: Any) -> bytearray:
        """Return the body of a request; refuse one that is too large or too slow."""
        settings = self._settings
        limit = settings.max_upload_bytes if _is_image(scope) else settings.max_json_bytes
        too_large = Refusal(413, f"the body is larger than {limit:,} bytes")
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or len(value) > 18 or int(value) > limit):
                raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(settings.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "the client left")
                    part = message.get("body", b"")
                    if len(body) + len(part) > limit:
                        raise too_large
                    if self._buffered + len(part) > settings.buffered_bytes:
                        raise Refusal(503, "the server is busy; try again in a moment")
                    body += part
                    self._buffered += len(part)
                    more = message.get("more_body", False)
        except BaseException as error:
            self._buffered -= len(body)
            if isinstance(error, TimeoutError):
                raise Refusal(408, f"the body did not arrive within {settings.body_seconds:g} seconds") from error
            raise
        return body


def _is_image(scope: Scope) -> bool:
    """Return whether the body of a request may be an image."""
    return bool(scope["method"] == "POST" and scope["path"] in IMAGE_PATHS)


async def _send_error(send: Any, refusal: Refusal) -> None:
    content = json.dumps({"error": refusal.message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),  # what is left of the body is not read
    ]
    if refusal.status in (429, 503):
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
