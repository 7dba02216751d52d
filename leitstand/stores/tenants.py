# SPDX-License-Identifier: Apache-2.0
"""What all stores hold about one tenant or one person: handed out whole when a tenant leaves, and erased.

Called by the faces for the export of an exit, for erasure, and by the chore that follows a retention period.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from leitstand.stores.blobs import Blobs
from leitstand.stores.people import People
from leitstand.stores.records import Records
from leitstand.stores.secrets import Secrets

SPECS: Final = 32  # records opened in one go; each may have a MiB


class Stores(NamedTuple):
    """The stores of one data folder."""

    people: People
    records: Records
    secrets: Secrets
    blobs: Blobs


class Erased(NamedTuple):
    """How many things an erasure deleted."""

    records: int = 0
    profiles: int = 0
    secrets: int = 0
    blobs: int = 0


def export(stores: Stores, tenant: str, users: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Everything stored about `tenant` as (path, content), JSON in UTF-8: its legal identity, its people (`users`:
    their ids), its secrets without values, a list of its blobs, and one file for each kind of job it ran, named by the
    ref that the journal has. Walks all records; holds SPECS of them in memory."""
    legal = stores.people.legal(tenant)
    if legal is not None:
        yield "legal.json", _json(legal)
    people = stores.people.people(users)
    yield "people.json", _json({user: {"name": who.name, "email": who.email} for user, who in people.items()})
    yield (
        "secrets.json",
        _json({project: stores.secrets.list(tenant, project) for project in stores.secrets.projects(tenant)}),
    )
    blobs = sorted(stores.blobs.of(tenant))
    yield "blobs.json", _json([{"sha256": one.digest, "bytes": one.bytes} for one in blobs])
    page: list[str] = []
    for ref in stores.records.refs_of(tenant):
        page.append(ref)
        if len(page) == SPECS:
            yield from _jobs(stores.records, page)
            page = []
    yield from _jobs(stores.records, page)


def erase_tenant(stores: Stores, tenant: str) -> Erased:
    """Destroy the keys of `tenant` and all that is kept of it: legal identity and notes, records of its jobs, secrets,
    blobs. Its people stay: they are erased one by one. Gone from disk on return; when cut short, do it again."""
    return Erased(
        records=stores.records.erase_tenant(tenant),
        profiles=stores.people.erase(tenant),
        secrets=stores.secrets.erase(tenant),
        blobs=stores.blobs.erase(tenant),
    )


def erase_person(stores: Stores, user: str) -> Erased:
    """Destroy the key of `user` and all that is kept of this person: profile, login, and the records of its jobs in
    whichever tenant. Gone from disk on return; when cut short, do it again."""
    records = stores.records.erase(user)  # first: it finds its rows by the key that both destroy
    return Erased(records=records, profiles=stores.people.erase(user))


def _jobs(records: Records, refs: list[str]) -> Iterator[tuple[str, bytes]]:
    for ref, spec in records.get_all(refs).items():
        yield f"jobs/{ref}.json", _json(spec)


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
