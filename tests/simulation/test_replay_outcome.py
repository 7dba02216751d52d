# SPDX-License-Identifier: Apache-2.0
"""What a replay counts, keeps and repeats: exact numbers, left-out jobs, the journal's file, the same digest always."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leitstand.core.acts import EntitlementsChanged, TenantAdded
from leitstand.core.facts import JobSubmitted
from leitstand.journal.memory import MemoryJournal
from leitstand.journal.sqlite import SqliteReader
from leitstand.runtime.ports import Journal
from leitstand.twin import outcome as outcome_of_jobs
from leitstand.twin import replay as replaying
from leitstand.twin.cluster import fleet, guarantees, read_cluster
from leitstand.twin.outcome import Spread, Tally, spread
from leitstand.twin.replay import Setting, TraceSource, replay, run
from leitstand.twin.traces import TraceError, read_trace

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "tests" / "data"
SYNTHETIC = Setting(DATA / "synthetic.csv", DATA / "synthetic.cluster.json", "fifo-strict")


def small(
    folder: Path, *rows: str, cluster: str = '{"gpus_per_node": 4, "vc_nodes": {"a": 1, "b": 1}}'
) -> Setting:
    (folder / "t.csv").write_text("\n".join(["job_id,tenant,submit_s,duration_s,gpus", *rows]) + "\n")
    (folder / "c.json").write_text(cluster)
    return Setting(folder / "t.csv", folder / "c.json", "fifo-strict", static=True)


def test_numbers_worked_out_by_hand(tmp_path: Path) -> None:
    # a's node: 1 from 0 to 10; 2 waits for it, 10 to 30; 3 (one GPU) behind 2, 30 to 31. b's node: 4 from 5 to 12.5.
    setting = small(tmp_path, "1,a,0,10,3", "2,a,1,20,4", "3,a,2,1,1", "4,b,5,7.5,4")
    outcome = replay(setting)
    assert outcome.jobs == 4
    assert outcome.makespan_s == 31
    assert outcome.queue_s == Spread(mean=(0 + 9 + 28 + 0) / 4, p50=0, p99=28)
    assert outcome.jct_s == Spread(mean=(10 + 29 + 29 + 7.5) / 4, p50=10, p99=29)
    assert outcome.per_tenant["a"].queue_s == Spread(mean=37 / 3, p50=9, p99=28)
    assert outcome.per_tenant["b"].jobs == 1
    assert outcome.per_tenant["b"].jct_s == Spread(mean=7.5, p50=7.5, p99=7.5)
    assert outcome.utilisation == (10 * 3 + 20 * 4 + 1 + 7.5 * 4) / (8 * 31)
    assert outcome.cpu_s > 0


def test_jobs_of_unnamed_tenants_are_left_out_and_too_large_ones_rejected_and_both_counted(
    tmp_path: Path,
) -> None:
    rows = ["1,a,0,1,1", "2,x,0,1,1", "3,a,0,1,8", "4,y,0,1,1", "5,a,0,1,9", "6,x,1,1,1"]
    static = replay(small(tmp_path, *rows))
    assert (static.jobs, static.left_out, static.rejected) == (1, 3, 2)
    assert static.left_out_of == {"x": 2, "y": 1}
    assert static.too_large == (
        "job 3 asks for 8 GPUs, its fleet has 4",
        "job 5 asks for 9 GPUs, its fleet has 4",
    )
    shared = replay(dataclasses.replace(small(tmp_path, *rows), static=False))
    assert (shared.jobs, shared.left_out, shared.rejected) == (2, 3, 1)
    assert shared.too_large == ("job 5 asks for 9 GPUs, its fleet has 8",)
    assert (shared.per_tenant["b"].jobs, shared.per_tenant["b"].jct_s) == (0, Spread(None, None, None))


def test_dropped_rows_are_counted_and_listed(tmp_path: Path) -> None:
    setting = small(tmp_path, "1,a,0,1,0.5", "2,a,0,1,1")
    with pytest.raises(TraceError, match=r"line 2, column gpus: 0\.5"):
        replay(setting)
    outcome = replay(dataclasses.replace(setting, lenient=True))
    assert (outcome.jobs, outcome.dropped) == (1, 1)
    assert outcome.dropped_why == ("line 2, column gpus: 0.5 is not a whole number of GPUs in 1..1000000",)


def test_a_cluster_of_other_tenants_is_refused(tmp_path: Path) -> None:
    setting = small(tmp_path, "1,x,0,1,1", "2,y,0,1,1")
    with pytest.raises(TraceError, match=r"c\.json: names none of the tenants of .*t\.csv \(x, y\) but a, b"):
        replay(setting)


def test_a_trace_in_which_every_job_is_too_large_has_no_times(tmp_path: Path) -> None:
    outcome = replay(small(tmp_path, "1,a,0,1,50"))
    assert (outcome.jobs, outcome.rejected, outcome.makespan_s, outcome.utilisation) == (0, 1, 0, 0)
    assert outcome.queue_s == Spread(None, None, None)


def test_means_are_exact_and_percentiles_are_values_of_jobs() -> None:
    assert spread([1, 2]).mean == 1.5e-06
    big = 2**62
    assert spread([big, big, big + 3]).mean == (3 * big + 3) / 3e6
    hundred = [1_000_000 * n for n in range(100, 0, -1)]
    assert (spread(hundred).p50, spread(hundred).p99) == (50.0, 99.0)
    assert (spread(hundred[:2]).p50, spread(hundred[:2]).p99) == (99.0, 100.0)


def test_under_fair_each_tenant_is_guaranteed_as_much_as_its_own_nodes_have(tmp_path: Path) -> None:
    hogs = [f"{number},b,0,100000,1" for number in range(8)]  # b has both nodes when a comes
    setting = dataclasses.replace(small(tmp_path, *hogs, "late,a,3600,60,4"), discipline="fair", static=False)
    journal, tally = MemoryJournal("replay"), Tally()
    run(TraceSource(read_trace(setting.trace), read_cluster(setting.cluster), setting), journal, tally)
    said = [entry.fact for entry in journal.read(0) if isinstance(entry.fact, EntitlementsChanged)]
    assert [(one.node, one.guarantee_milli) for fact in said for one in fact.entitlements] == [
        ("industry", -1),
        ("industry/a", 4000),
        ("industry/b", 4000),
    ]
    assert tally.per_tenant()["a"].queue_s.p99 == 0, (
        "what b borrowed is recalled at once: its runs are old enough"
    )
    alone = replay(dataclasses.replace(setting, static=True))
    assert (alone.per_tenant["a"].queue_s.p99, alone.rejected) == (0, 0)


def test_a_cluster_file_says_classes_and_each_weighs_what_its_tenants_own(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    path.write_text('{"gpus_per_node": 4, "vc_nodes": {"a": 1, "b": 2, "c": 3}, "classes": {"b": "public"}}')
    cluster = read_cluster(path)
    added = [fact for fact in fleet(cluster, static=False) if isinstance(fact, TenantAdded)]
    assert [(fact.tenant, fact.tenant_class) for fact in added] == [
        ("a", "industry"),
        ("b", "public"),
        ("c", "industry"),
    ]
    (said,) = guarantees(cluster)
    assert isinstance(said, EntitlementsChanged)
    assert [(one.node, one.guarantee_milli, one.weight) for one in said.entitlements] == [
        ("industry", -1, 4),
        ("public", -1, 2),
        ("industry/a", 4000, 1),
        ("public/b", 8000, 2),
        ("industry/c", 12000, 3),
    ]


def test_progress_counts_every_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_of_jobs, "PROGRESS_EVERY", 100)
    seen = []
    replay(SYNTHETIC, lambda done, jobs: seen.append((done, jobs)))
    assert seen == [(100, 418), (200, 418), (300, 418), (400, 418), (418, 418)]


# ── the journal ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_kept_journal_has_the_same_digest_and_tells_the_same(tmp_path: Path) -> None:
    in_memory = replay(SYNTHETIC)
    kept = replay(dataclasses.replace(SYNTHETIC, journal=tmp_path / "journal.db"))
    assert kept.digest == in_memory.digest
    assert [path.name for path in tmp_path.iterdir()] == ["journal.db"]
    tally = Tally()
    with SqliteReader(tmp_path / "journal.db") as reader:
        assert reader.head.hash.hex() == kept.digest
        assert reader.head.seq == kept.facts == in_memory.facts
        for entry in reader.read(0):
            tally.note(entry.at, [entry.fact])
    assert (tally.queue_s(), tally.jct_s()) == (kept.queue_s, kept.jct_s)


def test_a_journal_file_that_exists_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"mine")
    with pytest.raises(TraceError, match="exists already; name a new file"):
        replay(dataclasses.replace(SYNTHETIC, journal=path))
    assert path.read_bytes() == b"mine"


def test_a_replay_that_breaks_off_leaves_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: TraceSource, journal: Journal, tally: Tally) -> None:
        journal.append(journal.head, 0, [])
        raise KeyboardInterrupt

    monkeypatch.setattr(replaying, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replay(dataclasses.replace(SYNTHETIC, journal=tmp_path / "journal.db"))
    assert list(tmp_path.iterdir()) == []


def test_time_limits_are_those_asked_for_or_what_the_job_took_where_that_was_more(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "job_id,tenant,submit_s,duration_s,gpus,limit_s\n1,a,0,10,1,60\n2,a,0,82,1,60\n3,a,0,5,1,\n4,a,0,1,1,4000000\n"
    )
    (tmp_path / "c.json").write_text('{"gpus_per_node": 4, "vc_nodes": {"a": 1}}')
    setting = Setting(tmp_path / "t.csv", tmp_path / "c.json", "fair", journal=tmp_path / "journal.db")
    outcome = replay(setting)
    assert (outcome.jobs, outcome.rejected, outcome.makespan_s) == (4, 0, 82)
    with SqliteReader(tmp_path / "journal.db") as reader:
        facts = [entry.fact for entry in reader.read(0)]
    limits = [fact.max_duration_us for fact in facts if isinstance(fact, JobSubmitted)]
    assert limits == [60 * 10**6, 82 * 10**6, 0, 4_000_000 * 10**6]  # 0: the default, which no job meets


# ── the digest ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_digest_is_the_same_under_any_hash_seed() -> None:
    code = (
        "import sys; from pathlib import Path; from leitstand.twin.replay import *\n"
        "for rules in ('fifo-greedy', 'sjf'):\n"
        "    outcome = replay(Setting(Path(sys.argv[1]), Path(sys.argv[2]), rules))\n"
        "    print(outcome.digest, outcome.facts, outcome.queue_s)"
    )
    said = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(SYNTHETIC.trace), str(SYNTHETIC.cluster)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    (only,) = said
    assert len({line.split()[0] for line in only.splitlines()}) == 2, (
        "rules that decide differently, equal digests"
    )


def test_the_digest_covers_every_decision() -> None:
    digests = {
        replay(dataclasses.replace(SYNTHETIC, discipline=discipline, static=static)).digest
        for discipline in ("fifo-strict", "fifo-greedy", "sjf", "priority")
        for static in (True, False)
    }
    assert len(digests) == 8
    assert MemoryJournal("replay").head.hash.hex() not in digests
