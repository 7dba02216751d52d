# SPDX-License-Identifier: Apache-2.0
"""Health and metrics, for machines that watch. Without a token: health always, metrics from this machine alone."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from leitstand import __version__
from leitstand.api.auth import STRANGER, Identity, header, unauthenticated
from leitstand.api.context import AWAY, Faces, Shown, faces_of
from leitstand.api.jobs.nodes import nodes_of
from leitstand.api.permission import OPEN, PLATFORM
from leitstand.api.problems import Problem
from leitstand.api.seat import STANDBY, Turn
from leitstand.views.rows import LIVE

BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Health(msgspec.Struct, frozen=True):
    """`status`: ok | writer-away | standby; `seq`: the last journal entry that readings show; `forecast`: off | ok |
    stale, whether there is one that may be shown; `twin`: what is simulated here, null in a real control plane; `turn`:
    who leads, where control planes take turns on one journal, null where there is one alone."""

    status: str
    version: str
    seq: int
    forecast: str
    twin: Shown | None
    turn: Turn | None


class Traffic:
    """Requests as they were answered; counted by `leitstand.api.app`."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()  # by method and status
        self.submissions = [0] * (len(BUCKETS_S) + 1)
        self.submissions_s = 0.0

    def note_submission(self, took_s: float) -> None:
        """One answered submission."""
        bucket = 0
        while bucket < len(BUCKETS_S) and took_s > BUCKETS_S[bucket]:
            bucket += 1
        self.submissions[bucket] += 1
        self.submissions_s += took_s


@get("/healthz", opt={"action": OPEN}, summary="Is it well?")
async def healthz(request: Request[Any, Any, Any]) -> Response[Health]:
    """200 while the writer can be asked, else 503; readings go on without it. Of several that take turns, only the
    leader says 200: a proxy sends requests there."""
    faces = faces_of(request)
    follower = faces.follower
    well = follower.link.connected
    status = Health(
        "ok" if well else STANDBY if faces.stands_by else AWAY,
        __version__,
        follower.folded,
        faces.forecasts.state(faces.now()),
        None if faces.twin is None else faces.twin(),
        _turn(faces, request),
    )
    return Response(status, status_code=200 if well else 503, headers={"Cache-Control": "no-store"})


@get("/metrics", opt={"action": OPEN, "problems": ("forbidden",)}, summary="Metrics for Prometheus")
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The text format of Prometheus. Where others than this machine can connect, it takes the token."""
    faces = faces_of(request)
    if not faces.loopback:
        who = faces.tokens.identify(header(request.scope, b"authorization"))
        if not _watches(faces, who):
            detail = "metrics are for operators and auditors of the platform"
            raise unauthenticated(detail) if who is STRANGER else Problem(403, "forbidden", detail)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(faces, request.app.state.traffic))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")


def _watches(faces: Faces, who: Identity) -> bool:
    """Whether it is an operator or auditor of the platform."""
    return faces.authorizer.decide(faces.tokens.asker(who), "audit:read", PLATFORM).allowed


def _turn(faces: Faces, request: Request[Any, Any, Any]) -> Turn | None:
    """Who leads; who else takes turns is for those who may see the metrics."""
    if faces.seat is None:
        return None
    turn = faces.seat.turn(faces.follower.link.connected)
    if faces.loopback:
        return turn
    try:
        who = faces.tokens.identify(header(request.scope, b"authorization"))
    except Problem:  # health is told to everybody, also with a token that is no more
        who = STRANGER
    return turn if _watches(faces, who) else msgspec.structs.replace(turn, members=[])


class _Collector(Collector):
    def __init__(self, faces: Faces, traffic: Traffic) -> None:
        self._faces = faces
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        faces, follower = self._faces, self._faces.follower
        yield GaugeMetricFamily(
            "leitstand_folded_seq", "Last journal entry that readings show", follower.folded
        )
        yield GaugeMetricFamily(
            "leitstand_writer_connected", "1 while the writer can be asked", follower.link.connected
        )
        yield GaugeMetricFamily(
            "leitstand_asks_in_flight", "Requests that wait for the writer", follower.link.in_flight
        )
        yield GaugeMetricFamily(
            "leitstand_disk_low", "1 while free disk is below the reserve", faces.disk_low()
        )
        states = Counter(job.state for job in follower.state.jobs.values())
        live = GaugeMetricFamily("leitstand_jobs", "Live jobs by state", labels=["state"])
        for state in LIVE:
            live.add_metric([state], states[state])
        yield live
        if faces.twin is not None:
            reached = faces.twin().reached
            yield GaugeMetricFamily("leitstand_twin_speed", "Times as fast as the world, of late", reached)
        yield from _gpus(faces)
        yield from self._requests()

    def _requests(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "leitstand_http_requests", "Requests answered", labels=["method", "status"]
        )
        for (method, status), count in self._traffic.answers.items():
            answers.add_metric([method, str(status)], count)
        yield answers
        below, buckets = 0, []
        for edge, count in zip((*BUCKETS_S, "+Inf"), self._traffic.submissions, strict=True):
            below += count
            buckets.append((str(edge), below))
        took = HistogramMetricFamily("leitstand_submission_seconds", "Time to answer a submission, durable")
        took.add_metric([], buckets, self._traffic.submissions_s)
        yield took


def _gpus(faces: Faces) -> Iterator[Metric]:
    total = GaugeMetricFamily("leitstand_gpus", "GPUs in service", labels=["site", "pool"])
    free = GaugeMetricFamily("leitstand_gpus_free", "GPUs in service and not placed", labels=["site", "pool"])
    sums: dict[tuple[str, str], list[int]] = {}
    for node in nodes_of(faces.follower.state):
        if node.in_service:
            both = sums.setdefault((node.site, node.pool), [0, 0])
            both[0] += node.gpus
            both[1] += node.gpus_free
    for labels, (gpus, gpus_free) in sums.items():
        total.add_metric(labels, gpus)
        free.add_metric(labels, gpus_free)
    yield total
    yield free
