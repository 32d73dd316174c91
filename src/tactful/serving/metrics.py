"""What Prometheus is told, in a registry of this server's own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters and gauges. Labels come from short lists of ours, never from a request."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "tactful_requests_total",
            "Requests answered.",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "tactful_request_seconds",
            "From a request's headers to the end of its answer.",
            ["route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.refused = Counter(
            "tactful_refused_total",
            "Requests that were not answered as asked, by why.",
            ["kind"],
            registry=self.registry,
        )
        self.rewrites = Counter(
            "tactful_rewrites_total",
            "Rewritten texts by what became of them.",
            ["status"],
            registry=self.registry,
        )
        self.scores = Counter(
            "tactful_scores_total",
            "Scored texts by verdict.",
            ["verdict"],
            registry=self.registry,
        )
        self.batches = Histogram(
            "tactful_batch_texts",
            "Texts that the engine was given at a time.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.restarts = Counter(
            "tactful_engine_restarts_total",
            "Times the engine had to be replaced, by why.",
            ["reason"],
            registry=self.registry,
        )
        self._queued = Gauge(
            "tactful_queue_texts",
            "Texts admitted and not yet answered.",
            ["lane"],
            registry=self.registry,
        )
        self._ready = Gauge(
            "tactful_ready", "1 when texts can be rewritten now.", registry=self.registry
        )

    def watch(self, lane: str, length: Callable[[], int]) -> None:
        """Tell the length of a queue when asked."""
        self._queued.labels(lane).set_function(length)

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Tell readiness when asked."""
        self._ready.set_function(ready)

    def render(self) -> bytes:
        """All of it as text."""
        return generate_latest(self.registry)
