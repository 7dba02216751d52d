# SPDX-License-Identifier: Apache-2.0
"""A GPU fails under a gang on a real Slurm: its node is drained, the gang goes on with another of its rack from its
checkpoint, and the repaired node serves once it has passed a real burn-in. What each step took is printed, and kept in
build/health.json."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leitstand.alerts.sending import signature
from leitstand.core.facts import NodeReported, Resources, RunEnded, Task
from leitstand.engines.slurm.engine import Pace, SlurmEngine
from leitstand.runtime.spec import RunSpec
from tests import sinks
from tests.conformance.engine_cases import SlurmCase
from tests.plane import Plane
from tests.slurm import Cluster, running
from tests.system.test_sites import FAIR, described, said, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

EVERY_S = 2  # HealthCheckInterval
DRAINED_S = 60  # from the error to the drain, at most
CHECK = """#!/bin/sh
exec {base}/berlin-runs/health/check --kmsg {base}/kmsg-$SLURMD_NODENAME --smi {base}/nvidia-smi
"""
# eight GPUs that are well as far as nvidia-smi says
SMI = """#!/bin/sh
case "$1" in
--query-gpu*) for n in 0 1 2 3 4 5 6 7; do echo "$n, 00000000:1$n:00.0, 0, No"; done ;;
esac
"""
GANG = """name: train
run: |
  trap 'echo saved $step; echo $step >$LEITSTAND_CHECKPOINT_DIR/step; exit 0' TERM
  mkdir -p $LEITSTAND_CHECKPOINT_DIR
  step=$(cat $LEITSTAND_CHECKPOINT_DIR/step 2>/dev/null || echo 0)
  echo "rank $RANK of $LEITSTAND_RUN_ID goes on from step $step on $LEITSTAND_NODE"
  [ $RANK = 0 ] || trap 'exit 0' TERM
  while :; do step=$((step + 1)); sleep 0.05; done
num_nodes: 2
resources: {accelerators: "H100:8", sites: [berlin]}
checkpoint: {path: ckpt, every: 1m, grace: 10s}
max_duration: 1h
"""
ALERTS = """
webhooks:
  - {{name: hook, url: "http://127.0.0.1:{http}/", secret_file: {base}/key}}
mail:
  - {{name: ops, host: 127.0.0.1, port: {smtp}, tls: none, from: leitstand@example.org, to: [ops@example.org]}}
"""
BURN_IN = 'echo "burn-in on $LEITSTAND_NODE with $CUDA_VISIBLE_DEVICES"; [ ! -e {base}/still-bad ]\n'


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder that slurmd may enter, with what the health check of a node finds there."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    for name, text in (("check", CHECK), ("nvidia-smi", SMI)):
        (tmp_path / name).write_text(text.format(base=tmp_path) if name == "check" else text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "burn-in.sh").write_text(BURN_IN.format(base=tmp_path))
    return tmp_path


@pytest.fixture
def cluster(base: Path) -> Iterator[Cluster]:
    health = f"HealthCheckProgram={base}/check\nHealthCheckInterval={EVERY_S}\nHealthCheckNodeState=ANY"
    with running(nodes=6, leaf=3, extra=f"JobRequeue=0\nMinJobAge=300\n{health}") as made:
        yield made


@pytest.fixture
def told() -> Iterator[tuple[sinks.Sink, sinks.Sink]]:
    """A receiver of webhooks and a mail server."""
    with sinks.http() as http, sinks.smtp() as smtp:
        yield http, smtp


@pytest.fixture
def plane(base: Path, told: tuple[sinks.Sink, sinks.Sink]) -> Iterator[Plane]:
    http, smtp = told
    http.fails = 1  # it is told again
    (base / "key").write_text("s3cret")
    alerts = base / "alerts.yaml"
    alerts.write_text(ALERTS.format(http=http.port, smtp=smtp.port, base=base))
    options = ("--burn-in", str(base / "burn-in.sh"), "--alerts", str(alerts))
    with Plane(base / "data", gpus=1, command=(*FAIR, *options)) as made:
        yield made


def node(plane: Plane, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in plane.json("nodes") if one["id"] == name)
    return found


def inject(base: Path, slurm_node: str, code: int, gpu: int) -> float:
    """The kernel of the node logs an Xid now; the time, s."""
    now_us = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6)
    with (base / f"kmsg-{slurm_node}").open("a") as log:
        log.write(f"3,1,{now_us},-;NVRM: Xid (PCI:0000:1{gpu}:00): {code}, pid=1, name=python\n")
    return time.time()


def stamps(plane: Plane, since: float) -> list[tuple[float, dict[str, Any]]]:
    """The facts since then, with how many seconds after it they were recorded."""
    found = []
    for line in said(plane.cli("journal", "show", "--data", str(plane.data), "--json")).splitlines():
        entry = json.loads(line)
        found.append((_seconds(entry["at"]) - since, entry.get("fact", entry)))
    return found


def _seconds(at: Any) -> float:
    return at / 1e6 if isinstance(at, int) else datetime.fromisoformat(at).timestamp()


def test_a_gpu_that_fails_under_a_gang(
    plane: Plane, cluster: Cluster, base: Path, told: tuple[sinks.Sink, sinks.Sink]
) -> None:
    http, smtp = told
    said(plane.cli("sites", "add", str(described(base, cluster, "berlin"))))
    job_file = base / "gang.yaml"
    job_file.write_text(GANG)
    job = said(plane.cli("submit", str(job_file))).split()[0]
    until(plane, lambda: "goes on from step 0" in plane.cli("logs", job).stdout, "the gang runs")
    until(
        plane,
        lambda: len(list((base / "berlin-runs/health").glob("n*.json"))) == 6,
        "all nodes are looked at",
    )
    first = plane.json("job", job)["runs"][0]
    places = [task["node"] for task in first["tasks"]]
    bad, other = places[1], places[0]

    began = inject(base, bad.removeprefix("berlin."), 79, 3)
    until(plane, lambda: not node(plane, bad)["in_service"], "the node is drained")
    until(
        plane,
        lambda: len((one := plane.json("job", job))["runs"]) == 2 and one["runs"][1]["started_at"],
        "the gang goes on",
    )
    until(plane, lambda: "goes on from step" in plane.cli("logs", job).stdout, "it says so")
    shown = plane.json("job", job)
    second = [task["node"] for task in shown["runs"][1]["tasks"]]
    assert bad not in second
    assert other in second, "the rest of the gang keeps its node"
    assert len({_leaf(name) for name in (*places, *second)}) == 1, "the other is of its rack"
    log = plane.cli("logs", job).stdout
    step = int(log.split("goes on from step ")[1].split()[0])
    assert step > 0, log
    health = node(plane, bad)["health"]
    assert (health["state"], health["cause"]["code"], health["cause"]["gpu"]) == ("drained", 79, 3)
    assert "drained since" in plane.cli("nodes").stderr
    assert "the GPU fell off the bus" in plane.cli("nodes").stderr

    until(plane, lambda: http.posts and smtp.mails, "the alert was received")
    headers, body = http.posts[0]
    signed = headers["Leitstand-Signature"].partition(",")[0].removeprefix("t=")
    assert headers["Leitstand-Signature"] == signature(b"s3cret", int(signed), body)
    alert = json.loads(body)
    assert (alert["kind"], alert["subject"], alert["severity"]) == ("node_drained", bad, "critical")
    assert f"node {bad} is drained: GPU 3: Xid 79" in smtp.mails[0]["Subject"]
    clock = {
        "mailed": round(smtp.received[0] - began, 3),
        "webhook, second try": round(http.received[0] - began, 3),
    }
    (shown_alert,) = plane.json("alerts")
    assert (shown_alert["id"], len(shown_alert["told"])) == (alert["id"], 2)

    (base / "still-bad").touch()
    burn_in = plane.json("nodes", "return", bad, "--yes")["job"]
    until(plane, lambda: plane.json("job", burn_in)["state"] == "failed", "the burn-in fails")
    assert f"burn-in on {bad} with 0,1,2,3,4,5,6,7" in plane.cli("logs", burn_in).stdout
    assert not node(plane, bad)["in_service"]
    (base / "still-bad").unlink()
    burn_in = plane.json("nodes", "return", bad, "--yes")["job"]
    until(plane, lambda: plane.json("job", burn_in)["state"] == "succeeded", "the burn-in passes")
    until(plane, lambda: node(plane, bad)["in_service"], "the node serves again")
    said(plane.cli("cancel", job))
    until(
        plane, lambda: [one for one in http.posts if b'"event":"closed"' in one[1]], "it is told to be over"
    )
    assert plane.json("alerts") == []

    sites = {one["site"]: one for one in plane.json("availability")["sites"]}
    assert sites["local"]["availability"] == 1
    assert 0 < sites["berlin"]["availability"] < 1

    clock |= _clock(plane, began)
    kept = Path("build/health.json")
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(clock, indent=2) + "\n")
    print(json.dumps(clock, indent=2))
    assert clock["drained"] < DRAINED_S


def _leaf(name: str) -> int:
    return (int(name[-4:]) - 1) // 3


def _clock(plane: Plane, began: float) -> dict[str, float]:
    """What happened how many seconds after the error, as the journal says."""
    names = {
        "NodeReported": "reported",
        "NodeDrained": "drained",
        "RunStopOrdered": "told to end",
        "JobRequeued": "saved and ended",
        "BurnInFailed": "burn-in failed",
        "NodeReturned": "returned",
    }
    found: dict[str, float] = {}
    runs = 0
    for after, fact in stamps(plane, began):
        kind = fact["fact"]
        if kind == "RunPlaced" and after > 0 and "placed again" not in found:
            found["placed again"] = round(after, 3)
        runs += kind == "RunStarted"
        if kind == "RunStarted" and runs == 2:
            found["started again"] = round(after, 3)
        if kind in names and after > 0:
            found.setdefault(names[kind], round(after, 3))
    return found


# ── a program that dies of its GPU ────────────────────────────────────────────────────────────────────────────────────
class Looked(SlurmCase):
    """Whoever fails is suspicious at once; keeps also what is said of nodes."""

    def _open(self) -> SlurmEngine:
        made = super()._open()
        made._pace = Pace(jobs=0.1, nodes=1.0, health=0.1, suspicious=0.0)
        return made


def test_who_died_of_a_gpu_is_said_to_have_after_the_next_look_at_its_node(tmp_path: Path) -> None:
    with running(nodes=1) as cluster:
        case = Looked(cluster, tmp_path)
        try:
            order = case.execution("a.1", RunSpec(script="echo here; exit 1"))
            order = msgspec.structs.replace(
                order, tasks=(Task.of(case.nodes[0], [0]),), resources=Resources(1, 1)
            )
            file = case.folder / "health" / "n0001.json"
            case.until(lambda: case.site_added is not None, "the site is open")
            file.write_text('{"troubles": []}')
            case.send(order)
            ended = next(case.folder.glob("a.1/*"), None)
            while ended is None or not (ended / "ended").exists():
                time.sleep(0.05)
                ended = next(case.folder.glob("a.1/*"), None)
            time.sleep(1)
            reports = list(case.engine.take(0))
            assert not any(isinstance(one, RunEnded) for one in reports), "nobody has looked at its node yet"
            at_us = time.time_ns() // 1000
            part = file.with_suffix(".part")
            part.write_text(json.dumps({"troubles": [{"kind": "xid", "code": 79, "gpu": 0, "at_us": at_us}]}))
            part.rename(file)
            deadline = time.monotonic() + 60
            while not any(isinstance(one, RunEnded) for one in reports) and time.monotonic() < deadline:
                time.sleep(0.05)
                reports += case.engine.take(0)
            told = [one for one in reports if isinstance(one, NodeReported | RunEnded)]
            assert [type(one) for one in told] == [NodeReported, RunEnded]
        finally:
            case.close()
