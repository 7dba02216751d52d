# SPDX-License-Identifier: Apache-2.0
"""What a scenario says: changes with their dates. Made by the reader of scenario files, told to a core by `telling`."""

from typing import Any

import msgspec

from leitstand.twin.forking.times import When, shown, shown_span


class Amount(msgspec.Struct, frozen=True):
    """GPUs in thousandths: so many, or so many more (or fewer) than before; -1 that is not relative: no limit."""

    milli: int
    relative: bool = False

    def of(self, before: int) -> int:
        """The amount, if it was `before`."""
        return max(before + self.milli, 0) if self.relative else self.milli

    def __str__(self) -> str:
        if self.milli == -1 and not self.relative:
            return "all"
        return f"{self.milli / 1000:{'+,g' if self.relative else ',g'}}"


class Add(msgspec.Struct, frozen=True):
    """Nodes come. `site`: that, known or new, '': of the others; in `racks` racks, 0: one for 16 nodes. What is left
    out is as the other nodes of the pool have it."""

    nodes: int
    site: str = ""
    racks: int = 0
    gpus: int | None = None
    gpu_type: str | None = None
    cpus: int | None = None
    memory_gb: int | None = None
    pool: str = ""

    def __str__(self) -> str:
        each = f", with {self.gpus} GPUs each" if self.gpus is not None else ""
        where = f" at site {self.site}" if self.site else ""
        nodes = "1 node comes" if self.nodes == 1 else f"{self.nodes} nodes come"
        return f"{nodes}{where}{each}"


class Remove(msgspec.Struct, frozen=True):
    """Nodes go; what runs there goes on to its end. All of a site, of a rack (or another domain), those with these
    names, or `nodes` of them, the last that came first."""

    nodes: int = 0
    names: tuple[str, ...] = ()
    site: str = ""
    rack: str = ""

    def __str__(self) -> str:
        where = f" of site {self.site}" if self.site else ""
        if self.names:
            return f"{', '.join(self.names)} go"
        if self.rack:
            return f"rack {self.rack} goes"
        return f"{self.nodes} nodes{where} go" if self.nodes else f"site {self.site} goes"


class Entitle(msgspec.Struct, frozen=True):
    """A node of the tree is entitled to something else; None: as before."""

    node: str
    guarantee: Amount | None = None
    weight: int | None = None
    borrow: Amount | None = None
    lend: Amount | None = None
    recall_us: int | None = None
    pool: str = ""

    def __str__(self) -> str:
        parts = [
            f"{name} {value}" + (" GPUs" if isinstance(value, Amount) else "")
            for name, value in (
                ("guarantee", self.guarantee),
                ("weight", self.weight),
                ("borrow limit", self.borrow),
                ("lend limit", self.lend),
                ("recall time", None if self.recall_us is None else shown_span(self.recall_us)),
            )
            if value is not None
        ]
        return f"{self.node or 'the root'}: {', '.join(parts)}"


class Commit(msgspec.Struct, frozen=True):
    """A commitment is made: `milli` more for the node until `until`, at a price for one GPU and hour."""

    node: str
    milli: int
    until: When
    price_micro_eur: int = 0
    recall_us: int = 0
    pool: str = ""

    def __str__(self) -> str:
        price = f" at {self.price_micro_eur / 1e6:g} EUR per GPU and hour" if self.price_micro_eur else ""
        until = "" if self.until.since_fork else f" until {shown(self.until.us)}"
        return f"{self.node} commits to {self.milli / 1000:,g} GPUs{until}{price}"


class EndCommitment(msgspec.Struct, frozen=True):
    """A commitment ends."""

    commitment: str

    def __str__(self) -> str:
        return f"commitment {self.commitment} ends"


class SetRules(msgspec.Struct, frozen=True):
    """Fields of the bundle are different from now on; prices are fields, too."""

    fields: dict[str, Any]

    def __str__(self) -> str:
        prices = self.fields.get("price_micro_eur_per_gpu_h")
        if prices is not None and len(self.fields) == 1:
            each = ", ".join(f"{name} {price / 1e6:g}" for name, price in prices.items())
            return f"prices in EUR per GPU and hour: {each}"
        return f"rules: {msgspec.json.encode(self.fields).decode()}"


class Demand(msgspec.Struct, frozen=True):
    """Of a class or tenant ('': of all) `scale` times as many jobs come, `shift_us` later, until `until`."""

    of: str = ""
    scale: float = 1.0
    shift_us: int = 0
    until: When | None = None

    def __str__(self) -> str:
        parts = [f"{self.scale:g} times as many jobs"] if self.scale != 1.0 else []
        if self.shift_us:
            parts.append(
                f"jobs come {shown_span(abs(self.shift_us))} {'later' if self.shift_us > 0 else 'earlier'}"
            )
        return f"demand of {self.of or 'all'}: {', '.join(parts)}"


class Failures(msgspec.Struct, frozen=True):
    """Each node (of a site) fails once in `every_us` on average, and is back `repair_us` later, until `until`."""

    every_us: int
    repair_us: int
    site: str = ""
    until: When | None = None

    def __str__(self) -> str:
        where = f" at site {self.site}" if self.site else ""
        return f"each node{where} fails once in {shown_span(self.every_us)}, repaired in {shown_span(self.repair_us)}"


What = Add | Remove | Entitle | Commit | EndCommitment | SetRules | Demand | Failures


class Change(msgspec.Struct, frozen=True):
    """`what` happens at `at`. `name`: what scenarios call it that delay or drop it; `place`: file and line."""

    at: When
    what: What
    name: str = ""
    place: str = ""

    def said(self, at: int, from_us: int) -> str:
        """In words, with the date on which it happens in a scenario."""
        return f"{self.what} ({'from the start' if at <= from_us else shown(at)})"


class Delay(msgspec.Struct, frozen=True):
    """Something planned comes at another time: at `to`, or `by_us` later; with neither, not at all."""

    name: str
    to: When | None = None
    by_us: int = 0


class Scenario(msgspec.Struct, frozen=True):
    """One way the future may go: what is planned, with delays, and further changes."""

    name: str
    delays: tuple[Delay, ...] = ()
    changes: tuple[Change, ...] = ()


class Arrivals(msgspec.Struct, frozen=True):
    """Which jobs come: one of KINDS, '' the one that fits what there is. `weeks`: of the past; `load`: GPU time of
    synthetic jobs over that of the fleet at the fork; `growth`: of it in a year."""

    kind: str = ""
    weeks: int = 0
    load: float = 0.95
    growth: float = 0.0


class WhatIf(msgspec.Struct, frozen=True):
    """One or several files: what is planned anyway, and the scenarios."""

    name: str = ""
    start: When | None = None
    arrivals: Arrivals = Arrivals()
    base: tuple[Change, ...] = ()
    scenarios: tuple[Scenario, ...] = ()


def planned(base: tuple[Change, ...], scenario: Scenario, from_us: int) -> list[tuple[int, Change]]:
    """What happens in the scenario, and when (µs, not before the fork), by time, ties in the order of the files."""
    moved = {delay.name: delay for delay in scenario.delays}
    told: list[tuple[int, Change]] = []
    for change in base:
        delay = moved.get(change.name) if change.name else None
        if delay is None:
            told.append((change.at.at(from_us), change))
        elif delay.to is not None:
            told.append((delay.to.at(from_us), change))
        elif delay.by_us:
            told.append((change.at.at(from_us) + delay.by_us, change))
    told += [(change.at.at(from_us), change) for change in scenario.changes]
    return sorted(((max(at, from_us), change) for at, change in told), key=lambda one: one[0])


def parting(base: tuple[Change, ...], scenario: Scenario, from_us: int) -> int | None:
    """When the scenario begins to be another than what is planned (µs); None: it never is."""
    anyway, here = planned(base, Scenario(""), from_us), planned(base, scenario, from_us)
    return min(
        (at for at, change in anyway + here if ((at, change) in anyway) != ((at, change) in here)),
        default=None,
    )
