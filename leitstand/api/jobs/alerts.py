# SPDX-License-Identifier: Apache-2.0
"""Alerts: what is open, what was, and who was told. Asked by who runs the cloud."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get, post

from leitstand.alerts.deriving import Alert
from leitstand.alerts.store import Delivery
from leitstand.alerts.words import words
from leitstand.api import decode
from leitstand.api.amounts import moment
from leitstand.api.checks import between
from leitstand.api.context import Alerts as Book
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.permission import PLATFORM, permit
from leitstand.api.problems import Problem

LIMIT_MAX: Final = 500


class AlertQuery(Input, frozen=True):
    """`open`: only those that nothing has ended yet."""

    open: bool = False
    limit: int = 100

    checks: ClassVar[Mapping[str, Check]] = {"limit": between(1, LIMIT_MAX)}


class Text(msgspec.Struct, frozen=True):
    """What an alert says in one language."""

    title: str
    cause: str
    remedy: str


class Told(msgspec.Struct, frozen=True):
    """One receiver, of one event (opened or closed). `told_at` null: not yet; `error`: what the last try met; of a
    mail that was told, who was refused."""

    receiver: str
    event: str
    tries: int
    told_at: datetime | None
    error: str


class AlertAnswer(msgspec.Struct, frozen=True):
    """An alert. `subject`: the node, site or job that it is about, '' for the control plane; `severity`: critical or
    warning; `open`: nothing has ended it yet; `closed_at`: when something did."""

    id: str
    kind: str
    severity: str
    subject: str
    open: bool
    opened_at: datetime
    closed_at: datetime | None
    en: Text
    de: Text
    told: list[Told]


class Alerts(msgspec.Struct, frozen=True):
    """The latest first; those that are open before all others."""

    items: list[AlertAnswer]


class TestAnswer(msgspec.Struct, frozen=True):
    """The alert that is told as a test."""

    id: str


@get("/alerts", opt={"action": "alert:list", "query": AlertQuery}, summary="List alerts")
async def list_alerts(request: Request[Any, Any, Any]) -> Alerts:
    """What people have to know, and who was told. Why somebody could not be told names no secret. In a twin nobody is
    alerted of what is simulated."""
    permit(request, PLATFORM)
    query = decode.query(request.query_params.items(), AlertQuery)
    book = faces_of(request).alerts
    return Alerts([] if book is None else await asyncio.to_thread(_answers, book, query))


@post("/alerts/test", status_code=200, opt={"action": "alert:test"}, summary="Tell everybody a test")
async def test_alerts(request: Request[Any, Any, Any]) -> TestAnswer:
    """Every receiver gets an alert that says only that it is a test; `GET /v1/alerts` says who has it."""
    permit(request, PLATFORM)
    return TestAnswer(await asyncio.to_thread(_book(faces_of(request)).test))


def _book(faces: Faces) -> Book:
    if faces.alerts is None:
        raise Problem(409, "conflict", "this is a twin: nobody is alerted of what is simulated")
    return faces.alerts


def _answers(book: Book, query: AlertQuery) -> list[AlertAnswer]:
    open_ = {alert.id: alert for alert in reversed(book.store.open())}
    found = {**open_, **({} if query.open else {alert.id: alert for alert in book.store.latest(query.limit)})}
    shown = list(found.values())[: query.limit]
    told: dict[str, list[Delivery]] = {}
    for delivery in book.store.deliveries([alert.id for alert in shown]):
        told.setdefault(delivery.alert, []).append(delivery)
    return [_answer(alert, told.get(alert.id, []), alert.id in open_) for alert in shown]


def _answer(alert: Alert, told: list[Delivery], is_open: bool) -> AlertAnswer:
    bare = msgspec.structs.replace(alert, closed_us=0)
    return AlertAnswer(
        alert.id,
        alert.kind,
        alert.severity,
        alert.subject,
        is_open,
        moment(alert.opened_us),
        moment(alert.closed_us) if alert.closed_us else None,
        Text(*words(bare, german=False)),
        Text(*words(bare, german=True)),
        [
            Told(one.sink, one.what, one.tries, moment(one.told_us) if one.told_us else None, one.error)
            for one in told
        ],
    )
