# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin replay JOURNAL`: what was decided is decided again; under other rules the same jobs are played."""

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from leitstand.cli.twin import twin

DATA = Path(__file__).parents[2] / "examples" / "traces"
CLUSTER = str(DATA / "week.cluster.json")
JOBS = 200


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first days of a week."""
    path = tmp_path_factory.mktemp("trace") / "days.csv"
    path.write_text("".join((DATA / "week.csv").read_text().splitlines(keepends=True)[: JOBS + 1]))
    return str(path)


@pytest.fixture(scope="module")
def journal(trace: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a control plane under `fair` made of the trace."""
    path = tmp_path_factory.mktemp("kept") / "journal.db"
    told = replayed(trace, "--cluster", CLUSTER, "--rules", "fair", "--journal", str(path))
    assert told.exit_code == 0
    return path


def replayed(*arguments: str) -> Result:
    return CliRunner().invoke(twin, ["replay", *arguments])


def test_a_journal_is_decided_again_as_it_is_by_file_and_by_folder(journal: Path) -> None:
    for path in (journal, journal.parent):
        told = replayed(str(path))
        assert told.exit_code == 0
        assert "all decided again as they are" in told.stdout
    assert json.loads(replayed(str(journal), "--json").stdout)["difference"] is None


def test_the_first_fact_that_is_decided_otherwise_is_named(journal: Path, tmp_path: Path) -> None:
    forged = tmp_path / "journal.db"
    with sqlite3.connect(journal) as whole, sqlite3.connect(forged) as copy:
        whole.backup(copy)
        ((seq, body),) = copy.execute(
            "SELECT seq, body FROM facts WHERE CAST(body AS TEXT) LIKE '%RunPlaced%' ORDER BY seq LIMIT 1 OFFSET 20"
        )
        other = json.loads(body)
        other["tasks"] = [[other["tasks"][0][0], "1"], *other["tasks"][1:]]
        text = json.dumps(other, separators=(",", ":"))
        assert text != (body if isinstance(body, str) else body.decode())
        copy.execute("UPDATE facts SET body = ? WHERE seq = ?", (text.encode(), seq))
    copy.close()
    told = replayed(str(forged))
    assert told.exit_code == 1
    assert f"entry: {seq}," in " ".join(told.stderr.split())
    assert "RunPlaced" in told.stderr
    found = json.loads(replayed(str(forged), "--json").stdout)["difference"]
    assert (found["seq"], found["recorded"]["tasks"]) == (seq, other["tasks"])
    assert found["decided"]["tasks"] != other["tasks"]


def test_under_other_rules_the_same_jobs_wait_as_they_would_have(journal: Path, trace: str) -> None:
    under = json.loads(replayed(str(journal), "--rules", "fifo-greedy", "--json").stdout)
    told = replayed(trace, "--cluster", CLUSTER, "--rules", "fifo-greedy", "--json")
    straight = json.loads(told.stdout)
    assert under["jobs"] == straight["jobs"]
    assert under["after"]["wait_s"] == pytest.approx(straight["queue_s"]["mean"], abs=1e-6)
    assert under["after"]["wait_s"] != under["before"]["wait_s"]
    assert under["earlier"] + under["later"] > 0


def test_a_file_says_what_is_to_be_other_in_the_rules(journal: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("discipline: sjf\n")
    by_file, by_name = (
        json.loads(replayed(str(journal), "--rules", wanted, "--json").stdout)
        for wanted in (str(rules), "sjf")
    )
    assert by_file == by_name
    shown = replayed(str(journal), "--rules", str(rules))
    assert "STOPPED FOR OTHERS" in shown.stdout
    assert "(all)" in shown.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sharing: {ahead: 1}", "unknown field `ahead` - at `$.sharing`"),
        ("discipline: best", "discipline 'best' is unknown"),
        ("sharing: {tick_us: -1}", "tick_us is -1, not in"),
        ("- 1", "says no rules"),
        ("", "says no rules"),
        ("a: [", "no YAML"),
    ],
)
def test_rules_that_are_none_are_refused_by_name(journal: Path, tmp_path: Path, text: str, said: str) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(text)
    told = replayed(str(journal), "--rules", str(rules))
    assert told.exit_code == 1
    assert said in told.stderr
    assert str(rules) in told.stderr


def test_what_does_not_belong_together_is_refused(journal: Path, trace: str, tmp_path: Path) -> None:
    for more, said in (
        (["--cluster", CLUSTER], "--cluster is for traces"),
        (["--static"], "--static is for traces"),
        (["--journal", str(tmp_path / "new.db")], "--journal is for traces"),
    ):
        told = replayed(str(journal), *more)
        assert (told.exit_code, said in told.stderr) == (2, True)
    assert replayed(str(journal), "--rules", "best").exit_code == 1
    needed = (([trace], "--cluster FILE is needed"), ([trace, "--cluster", CLUSTER], "--rules is needed"))
    for arguments, said in needed:
        told = replayed(*arguments)
        assert (told.exit_code, said in told.stderr) == (2, True)
    told = replayed(str(tmp_path))
    assert told.exit_code == 1
    assert "there is no journal at" in told.stderr
