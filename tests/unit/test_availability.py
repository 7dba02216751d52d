# SPDX-License-Identifier: Apache-2.0
"""Availability (docs/guide.md): what counts as serving, announced and down, and what of a guarantee could be had."""

import random
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.state import State
from leitstand.core.units import HOUR_US, SECOND_US
from leitstand.journal.codec import DEFAULT
from leitstand.runtime.ports import Entry
from leitstand.views.availability import Availability, Report, SiteTime, TenantTime
from leitstand.views.several import Views
from tests.golden.test_journals import GOLDEN, entries
from tests.unit.faces_story import Plant, problem
from tests.unit.fair_story import RULES
from tests.unit.faults import sqlite_failing
from tests.unit.story import cluster

JOURNAL = "0123456789abcdef" * 4
NODE = f.NodeAdded("n1", "s", 8, 1, 1, pool="p")
OTHER = f.NodeAdded("n2", "s", 8, 1, 1, pool="p", domains=("r1",))
END = 100  # seconds


def fed(folder: Path, *told: tuple[int, f.Fact]) -> Availability:
    view = Availability(folder / "availability.db", JOURNAL, 10**9)
    view.apply(Entry(seq, at * SECOND_US, fact) for seq, (at, fact) in enumerate(told, start=1))
    view.commit()
    return view


def report(view: Availability, since: int = 0, until: int = END) -> Report:
    return view.report(since * SECOND_US, until * SECOND_US)


def window(*nodes: str, emergency: bool = False, domain: tuple[str, ...] = ()) -> a.MaintenancePlanned:
    return a.MaintenancePlanned("m1", 1, nodes=nodes, domain=domain, emergency=emergency)


@pytest.mark.parametrize(
    ("told", "serving", "announced"),
    [
        ([], 100, 0),
        ([(40, f.NodeRemoved("n1"))], 40, 0),
        ([(40, f.NodeRemoved("n1", failed=True)), (60, NODE)], 80, 0),
        ([(40, f.NodeDrained("n1", "xid", 79)), (70, f.NodeReturned("n1"))], 70, 0),
        ([(40, f.NodeDrained("n1", "xid", 79)), (50, NODE)], 40, 0),  # its engine's word ends no drain
        (
            [(40, f.NodeDrained("n1", "xid", 79)), (50, f.NodeRemoved("n1")), (60, f.NodeReturned("n1"))],
            40,
            0,
        ),
        ([(10, window("n1")), (40, a.MaintenanceAdvanced("m1", "draining"))], 100, 0),
        (
            [
                (10, window("n1")),
                (40, a.MaintenanceAdvanced("m1", "begun")),
                (60, a.MaintenanceAdvanced("m1", "ended")),
            ],
            80,
            20,
        ),
        (
            [
                (10, window("n1")),
                (40, a.MaintenanceAdvanced("m1", "begun")),
                (50, f.NodeRemoved("n1")),
                (60, a.MaintenanceCancelled("m1")),
                (70, NODE),
            ],
            70,
            20,
        ),
        ([(40, window("n1", emergency=True)), (40, a.MaintenanceAdvanced("m1", "begun"))], 40, 0),
        ([(10, window(domain=("s",))), (40, a.MaintenanceAdvanced("m1", "begun"))], 40, 60),
        ([(10, window(domain=("s", "r1"))), (40, a.MaintenanceAdvanced("m1", "begun"))], 100, 0),
    ],
)
def test_each_moment_of_a_node_is_serving_announced_or_down(
    tmp_path: Path, told: list[tuple[int, f.Fact]], serving: int, announced: int
) -> None:
    view = fed(tmp_path, (0, NODE), *told)
    gpu_us = 8 * SECOND_US
    assert report(view).sites == {"s": SiteTime(100 * gpu_us, serving * gpu_us, announced * gpu_us)}


def test_a_node_counts_from_when_it_came_and_only_within_the_time_asked_for(tmp_path: Path) -> None:
    view = fed(tmp_path, (20, NODE), (50, f.NodeRemoved("n1")))
    gpu_us = 8 * SECOND_US
    assert report(view, 0, 40).sites["s"] == SiteTime(20 * gpu_us, 20 * gpu_us)
    assert report(view, 40, 60).sites["s"] == SiteTime(20 * gpu_us, 10 * gpu_us)
    assert report(view, 0, 10).sites == {}
    with pytest.raises(ValueError):
        report(view, 10, 10)


def entitled(node: str, gpus: int) -> a.Entitlement:
    return a.Entitlement(node, -1 if gpus < 0 else gpus * 1000)


def tenant_time(guaranteed: int, had: int) -> TenantTime:
    """GPU·s."""
    return TenantTime(guaranteed * 1000 * SECOND_US, had * 1000 * SECOND_US)


ACME = (0, a.TenantAdded("acme"))
BETA = (0, a.TenantAdded("beta", "research"))


@pytest.mark.parametrize(
    ("told", "times"),
    [
        ([], {}),
        ([(0, a.EntitlementsChanged("p", (entitled("industry/acme", 8),)))], {"acme": tenant_time(800, 800)}),
        # one of two nodes is lost: twelve are guaranteed, eight are there
        (
            [
                (0, a.EntitlementsChanged("p", (entitled("industry/acme", 8), entitled("research/beta", 4)))),
                (50, f.NodeRemoved("n2", failed=True)),
            ],
            {"acme": tenant_time(800, 400 + 50 * 16 // 3), "beta": tenant_time(400, 200 + 50 * 8 // 3)},
        ),
        # enough is left
        (
            [(0, a.EntitlementsChanged("p", (entitled("industry/acme", 8),))), (50, f.NodeRemoved("n2"))],
            {"acme": tenant_time(800, 800)},
        ),
        # what is announced counts as there
        (
            [
                (0, a.EntitlementsChanged("p", (entitled("industry/acme", 16),))),
                (10, window("n1")),
                (50, a.MaintenanceAdvanced("m1", "begun")),
            ],
            {"acme": tenant_time(1600, 1600)},
        ),
        # its projects' guarantees are its own; a dated change; a commitment that ends early
        (
            [
                (0, a.EntitlementsChanged("p", (entitled("industry/acme/vision", 4),))),
                (
                    5,
                    a.EntitlementsChanged(
                        "p", (entitled("industry/acme/vision", 2),), from_us=50 * SECOND_US
                    ),
                ),
                (10, a.CommitmentMade("c1", "p", "industry/acme", 8000, 20 * SECOND_US, 80 * SECOND_US)),
                (30, a.CommitmentEnded("c1", 60 * SECOND_US)),
            ],
            {"acme": tenant_time(50 * 4 + 50 * 2 + 40 * 8, 50 * 4 + 50 * 2 + 40 * 8)},
        ),
    ],
)
def test_what_of_a_guarantee_could_be_had(
    tmp_path: Path, told: list[tuple[int, f.Fact]], times: dict[str, TenantTime]
) -> None:
    view = fed(tmp_path, ACME, BETA, (0, NODE), (0, OTHER), *told)
    found = report(view).tenants
    assert found.keys() == times.keys()
    for name, time in times.items():
        assert found[name].guaranteed == time.guaranteed
        assert abs(found[name].had - time.had) <= 1000 * SECOND_US, name


def test_a_view_goes_on_where_it_was_and_begins_anew_with_another_journal(tmp_path: Path) -> None:
    fed(tmp_path, (0, NODE), (50, f.NodeRemoved("n1"))).close()
    again = Availability(tmp_path / "availability.db", JOURNAL, 10**9)
    assert again.seq == 2
    both = Views(again, again)
    both.apply([Entry(2, 50 * SECOND_US, f.NodeRemoved("n1")), Entry(3, 80 * SECOND_US, NODE)])
    both.commit()
    gpu_us = 8 * SECOND_US
    assert (both.seq, report(again).sites["s"]) == (3, SiteTime(100 * gpu_us, 70 * gpu_us))
    again.close()
    assert Availability(tmp_path / "availability.db", "f" * 64, 10**9).seq == 0
    assert Availability(tmp_path / "availability.db", JOURNAL, 0).seq == 0, "the journal lost its end"


def test_a_damaged_view_is_made_anew(tmp_path: Path) -> None:
    fed(tmp_path, (0, NODE)).close()
    for damage in (b"no database" * 1000, b""):
        (tmp_path / "availability.db").write_bytes(damage)
        view = fed(tmp_path, (0, NODE))
        assert report(view).sites == {"s": SiteTime(800 * SECOND_US, 800 * SECOND_US)}
        view.close()


def test_a_view_that_cannot_be_read_now_is_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed(tmp_path, (0, NODE)).close()
    with monkeypatch.context() as failing:
        failing.setattr(sqlite3, "connect", sqlite_failing(sqlite3.SQLITE_IOERR_READ, "SELECT journal"))
        with pytest.raises(sqlite3.OperationalError):
            Availability(tmp_path / "availability.db", JOURNAL, 10**9)
    again = Availability(tmp_path / "availability.db", JOURNAL, 10**9)
    assert again.seq == 1
    again.close()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_view_takes_every_released_journal(tmp_path: Path, name: str) -> None:
    """And says of its nodes at the end what the state does."""
    view, state = Availability(tmp_path / "availability.db", JOURNAL, 10**9), State()
    for seq, (at, body) in enumerate(entries(name), start=1):
        fact = DEFAULT.decode(body)
        view.apply([Entry(seq, at, fact)])
        state.apply(at, fact)
    view.close()
    assert {n: seen.there and not seen.drained for n, seen in view._now.nodes.items()} == {
        n: node.in_service for n, node in state.nodes.items()
    }
    if state.nodes:
        assert Availability(tmp_path / "availability.db", JOURNAL, 10**9).report(0, 2**62).sites.keys() == {
            node.site for node in state.nodes.values()
        }


@pytest.mark.parametrize("seed", range(20))
def test_what_the_view_says_of_nodes_is_what_the_core_does(tmp_path: Path, seed: int) -> None:
    told = random.Random(seed)
    core: Core = cluster(8, 8, 8, rules=RULES)
    view = Availability(tmp_path / "availability.db", JOURNAL, 10**9)
    seq, now = 0, 0

    def cycle(*observations: f.Observation) -> None:
        nonlocal seq
        facts = core.cycle(now, observations)
        view.apply(Entry(seq + 1 + index, now, fact) for index, fact in enumerate(facts))
        seq += len(facts)

    for number in range(3):  # what `cluster` said, the view has not heard
        view.apply([Entry(seq + 1, 0, f.NodeAdded(f"n{number}", "s", 8, 64_000, 512_000))])
        seq += 1
    for _ in range(60):
        now += told.randrange(1, HOUR_US)
        node = f"n{told.randrange(3)}"
        planned = list(core.state.maintenance.windows)
        cycle(
            told.choice(
                [
                    f.NodeAdded(node, "s", 8, 64_000, 512_000),
                    f.NodeRemoved(node, failed=told.random() < 0.5),
                    f.NodeReported(node, "xid", told.choice([79, 94])),
                    f.NodeRepaired(node),
                    a.MaintenancePlanned("", 0, now + 5 * HOUR_US, nodes=(node,), emergency=True),
                    a.MaintenancePlanned("", now + HOUR_US, now + 5 * HOUR_US, nodes=(node,)),
                    a.MaintenanceCancelled(told.choice(planned) if planned else "m0"),
                ]
            )
        )
        pool = core.state.pools["shared"]
        for name, seen in view._now.nodes.items():
            found = core.state.nodes[name]
            serves = found.in_service and not pool.closures.down >> found.position & 1
            assert (seen.state == "serves") == serves, name


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_availability_is_told_of_sites_and_of_the_tenants_that_one_sees(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.ask("POST", "/v1/tenants", json={"id": "acme"})
    plant.writer.now += 1000 * SECOND_US
    end = plant.writer.now // SECOND_US
    view = fed(
        tmp_path,
        (end - 100, a.TenantAdded("acme")),
        (end - 100, NODE),
        (end - 100, a.EntitlementsChanged("p", (entitled("industry/acme", 8),))),
        (end - 25, f.NodeRemoved("n1", failed=True)),
    )
    plant.faces.availability = view.report
    to_at = datetime.fromtimestamp(end, UTC).isoformat().replace("+00:00", "Z")
    found = plant.ask("GET", f"/v1/availability?to_at={to_at}").json()
    assert found["sites"] == [
        {
            "site": "s",
            "installed_gpu_s": 800.0,
            "serving_gpu_s": 600.0,
            "announced_gpu_s": 0.0,
            "down_gpu_s": 200.0,
            "availability": 0.75,
        }
    ]
    (tenant,) = found["tenants"]
    assert tenant == {"tenant": "acme", "guaranteed_gpu_s": 800.0, "had_gpu_s": 600.0, "availability": 0.75}
    assert plant.ask("GET", "/v1/availability?tenant=operator").json()["tenants"] == []
    assert problem(plant.ask("GET", "/v1/availability?from_at=2999-01-01T00:00:00Z"), 400, "invalid-request")
    assert problem(plant.ask("GET", "/v1/availability?tenant=nobody"), 404, "unknown-tenant")
