# SPDX-License-Identifier: Apache-2.0
"""Scenario files say what is to be played, or are refused with line and remedy."""

from pathlib import Path

import pytest

from leitstand.core.units import DAY_US, HOUR_US
from leitstand.twin.forking import changes as c
from leitstand.twin.forking.times import When, shown, shown_span, span, when
from leitstand.twin.forking.whatif import read_what_if
from leitstand.twin.reading.table import TraceError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "what-if" / "site-b.yaml"
NEW_YEAR = 1_798_761_600_000_000  # 2027-01-01


def read(folder: Path, text: str, name: str = "a.yaml") -> c.WhatIf:
    (folder / name).write_text(text)
    return read_what_if([folder / name])


def test_the_example_is_read_as_it_says() -> None:
    found = read_what_if([EXAMPLE])
    assert found.start == when("2026-12-01")
    assert [change.what for change in found.base if change.name] == [c.Add(2, "b", gpus=8)]
    assert [one.name for one in found.scenarios] == [
        "research gets 16 GPUs more", "site B slips to April", "both",
    ]  # fmt: skip
    late = found.scenarios[1]
    assert late.delays == (c.Delay("site B", when("2027-04-05")),)
    entitle = found.scenarios[0].changes[0].what
    assert entitle == c.Entitle("research", c.Amount(16_000, relative=True))


def test_every_change_is_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
arrivals: {synthetic: {load: 0.8, growth: 0.3}}
scenarios:
  - name: all of them
    changes:
      - {at: 3d, add: {nodes: 4, site: b, racks: 2, gpus: 4, gpu_type: H200, cpus: 64, memory_gb: 512, pool: p}}
      - {at: 2027-01-01, remove: {nodes: 2, site: b}}
      - remove: {rack: r7}
      - remove: {names: [n1, n2]}
      - entitlements: {research/uni: {guarantee: 64, weight: 3, borrow: all, lend: -8, recall: 30m, pool: p}}
      - commit: {of: public, gpus: 16, until: 2027-06-01, price: 2.5, recall: 1h}
      - end_commitment: c1
      - prices: {industry: 2.4}
      - rules: {sharing: {ahead_us: 0}}
      - demand: {of: startup, scale: 1.5, shift: -2h, until: 30d}
      - failures: {every: 60d, repair: 8h, site: b, until: 2027-06-01}
""",
    )
    assert found.arrivals == c.Arrivals("synthetic", load=0.8, growth=0.3)
    assert [(one.at.at(NEW_YEAR), one.what) for one in found.scenarios[0].changes] == [
        (NEW_YEAR + 3 * DAY_US, c.Add(4, "b", 2, 4, "H200", 64, 512, "p")),
        (NEW_YEAR, c.Remove(2, site="b")),
        (NEW_YEAR, c.Remove(rack="r7")),
        (NEW_YEAR, c.Remove(names=("n1", "n2"))),
        (
            NEW_YEAR,
            c.Entitle(
                "research/uni",
                c.Amount(64_000),
                3,
                c.Amount(-1),
                c.Amount(-8_000, relative=True),
                HOUR_US // 2,
                "p",
            ),
        ),
        (NEW_YEAR, c.Commit("public", 16_000, when("2027-06-01"), 2_500_000, HOUR_US)),
        (NEW_YEAR, c.EndCommitment("c1")),
        (NEW_YEAR, c.SetRules({"price_micro_eur_per_gpu_h": {"industry": 2_400_000}})),
        (NEW_YEAR, c.SetRules({"sharing": {"ahead_us": 0}})),
        (NEW_YEAR, c.Demand("startup", 1.5, -2 * HOUR_US, When(30 * DAY_US, since_fork=True))),
        (NEW_YEAR, c.Failures(60 * DAY_US, 8 * HOUR_US, "b", when("2027-06-01"))),
    ]
    assert all(str(one.what) for one in found.scenarios[0].changes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n", "holds no mapping"),
        ("a: [\n", ":2: no YAML"),
        ("name: x\n", "names neither `base` nor `scenarios`"),
        ("scenario:\n  - name: x\n", ":1: 'scenario' is unknown; did you mean 'scenarios'?"),
        ("base: []\nbase: []\n", ":2: 'base' is given twice"),
        ("base:\n  - add: {nodes: 2}\n    at: soon\n", ":3: 'soon' is no time"),
        ("base:\n  - at: 1d\n    ad: {nodes: 2}\n", ":3: 'ad' is unknown; did you mean 'add'?"),
        ("base:\n  - at: 1d\n", ":2: nothing happens in this one"),
        ("base:\n  - {add: {nodes: 2}, remove: {nodes: 2}}\n", ":2: add and remove in one"),
        ("base:\n  - add: {site: b}\n", ":2: 'nodes' is missing"),
        ("base:\n  - add: {nodes: 2, site: b, gpu: 8}\n", "'gpu' is unknown; did you mean 'gpus'?"),
        ("base:\n  - add: {nodes: 0}\n", "is '0', no whole number in 1.."),
        ("base:\n  - remove: {}\n", "say `site`, `rack`"),
        ("base:\n  - remove: {rack: r, site: b}\n", "say `site`, `rack`"),
        ("base:\n  - entitlements: {reserch: {guarantee: 5}}\n", "did you mean 'research'?"),
        ("base:\n  - entitlements: {research: {}}\n", "says nothing of it"),
        ("base:\n  - entitlements: {research: {guarantee: all}}\n", "a guarantee of `all` is none"),
        ("base:\n  - entitlements: {research: {guarantee: 0.0001}}\n", "finer than a thousandth"),
        ("base:\n  - commit: {of: public, gpus: +5, until: 5d}\n", "without a sign"),
        ("base:\n  - prices: {industy: 5}\n", "did you mean 'industry'?"),
        ("base:\n  - prices: {industry: -5}\n", "no number in 0.."),
        ("base:\n  - rules: {discipline: fare}\n", ":2: discipline 'fare' is unknown"),
        ("base:\n  - rules: {sharing: {ahead: 0}}\n", ":2: Object contains unknown field `ahead`"),
        ("base:\n  - demand: {of: public}\n", "neither `scale` nor `shift`"),
        ("base:\n  - failures: {every: 5d}\n", "'repair' is missing"),
        ("base:\n  - failures: {every: -5d, repair: 1h}\n", "'-5d' is negative"),
        ("arrivals: recored\nbase: []\n", ":1: 'recored' is unknown; did you mean 'recorded'?"),
        ("arrivals: {past-weeks: 0}\nbase: []\n", ":1: is '0'"),
        ("start: 30d\nbase:\n  - add: {nodes: 1}\n", "`start` is a date"),
        ("scenarios:\n  - name: as planned\n    changes: []\n", "choose another name"),
        ("scenarios:\n  - name: x\n    changes:\n      - delay: b\n", "`to: DATE` or `by: SPAN`"),
        ("scenarios:\n  - {name: x, changes: [{drop: b}]}\n", "nothing under `base` has a name"),
        (
            "base:\n  - {name: site B, add: {nodes: 1}}\nscenarios:\n  - {name: x, changes: [{drop: site C}]}\n",
            "did you mean 'site B'?",
        ),
        ("scenarios:\n  - {name: x, changes: []}\n  - {name: x, changes: []}\n", "two scenarios are called"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(TraceError) as refused:
        read(tmp_path, text)
    assert told in str(refused.value)
    assert str(tmp_path / "a.yaml") in str(refused.value)


def test_several_files_share_what_is_planned(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("scenarios:\n  - {name: late, changes: [{delay: B, by: 2w}]}\n")
    (tmp_path / "a.yaml").write_text("start: 2027-01-01\nbase:\n  - {name: B, at: 5d, add: {nodes: 1}}\n")
    found = read_what_if([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    (at, _), = c.planned(found.base, found.scenarios[0], NEW_YEAR)  # fmt: skip
    assert at == NEW_YEAR + 19 * DAY_US
    (tmp_path / "c.yaml").write_text("start: 2027-01-02\nbase: []\nscenarios:\n  - {name: y, changes: []}\n")
    with pytest.raises(TraceError, match="says another `start`"):
        read_what_if([tmp_path / "a.yaml", tmp_path / "c.yaml"])


def test_what_is_planned_can_be_delayed_dropped_and_comes_in_order() -> None:
    base = (
        c.Change(when("20d"), c.Add(1), "first"),
        c.Change(when("10d"), c.Add(2), "second"),
        c.Change(when("2020-01-01"), c.Add(3)),
    )
    told = c.planned(base, c.Scenario("s", (c.Delay("first", when("5d")), c.Delay("second"))), NEW_YEAR)
    assert [(at - NEW_YEAR, change.what) for at, change in told] == [(0, c.Add(3)), (5 * DAY_US, c.Add(1))]


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("2027-01-01", NEW_YEAR),
        ("2027-01-01T01:00", NEW_YEAR + HOUR_US),
        ("2027-01-01T01:00:00+01:00", NEW_YEAR),
        ("2027-01-01T00:00:00Z", NEW_YEAR),
    ],
)
def test_dates_are_utc_unless_they_say_otherwise(text: str, us: int) -> None:
    assert when(text) == When(us)


def test_spans_are_read_and_shown() -> None:
    assert when("+1d12h") == When(36 * HOUR_US, since_fork=True)
    assert span("2w") == 14 * DAY_US
    assert shown(NEW_YEAR + HOUR_US) == "2027-01-01 01:00 UTC"
    assert [shown_span(us) for us in (4.2e6, 90e6 * 60, 30 * HOUR_US, -80 * HOUR_US)] == [
        "4.2 s", "90 min", "30 h", "-3.3 d",
    ]  # fmt: skip


def test_a_scenario_parts_from_what_is_planned_with_its_first_change(tmp_path: Path) -> None:
    asked = read(tmp_path, DELAYED)
    from_us = DAY_US
    assert [c.parting(asked.base, scenario, from_us) for scenario in asked.scenarios] == [
        from_us + 2 * DAY_US,
        from_us + 5 * DAY_US,  # of which site b does not come then
        None,
    ]


DELAYED = """
base:
  - {name: b, at: 5d, add: {nodes: 1}}
scenarios:
  - {name: sooner, changes: [{delay: b, to: 2d}]}
  - {name: later, changes: [{delay: b, by: 3d}]}
  - {name: same, changes: [{delay: b, to: 5d}]}
"""
