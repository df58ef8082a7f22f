"""Counters of a server, as Prometheus reads them."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = {"GET", "POST", "DELETE"}


class Metrics:
    """Requests, their time, the parts of searches, and the number of items; of one server, not of the process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ["method", "path", "status"]
        self._requests = Counter("h2q_requests", "Answers by path and status.", labels, registry=self._registry)
        self._seconds = Histogram(
            "h2q_request_seconds", "Time from request to answer.", ["path"], registry=self._registry, buckets=_BUCKETS
        )
        self._parts = Histogram(
            "h2q_search_seconds", "Time of the parts of a search.", ["part"], registry=self._registry, buckets=_BUCKETS
        )
        self._items = Gauge("h2q_items", "Items of the index.", registry=self._registry)

    def report(self, scope: dict[str, Any], status: int, seconds: float) -> None:
        """Count an answer; paths are those of the API, so that clients cannot make new labels."""
        path = getattr(scope.get("route"), "path", None) or "other"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def report_search(self, seconds: dict[str, float]) -> None:
        """Count the time of a search."""
        for part, value in seconds.items():
            self._parts.labels(part).observe(value)

    def render(self, items: int) -> bytes:
        """Return all counters in Prometheus's text format."""
        self._items.set(items)
        return generate_latest(self._registry)
