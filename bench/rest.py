# SPDX-License-Identifier: Apache-2.0
"""REST: durable submissions per second, and their latency at 500/s with an idle and with a busy core.

Real processes: the faces, a writer over a simulated fleet of 10,000 GPUs, and the load generator share this machine.
Identity and Cedar are on: the load comes with the token of a member of a tenant, made as people make it. Every 201
counted is looked up in the journal afterwards.
"""

import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from bench.support.load import Load, Outcome
from bench.support.plant import Plant, cpu_s, free_port
from leitstand.app.settings import Settings
from leitstand.core.facts import JobSubmitted
from leitstand.journal.place import open_reader

OPEN_CLIENTS = 64  # at a given rate: so many that none has to wait for the answer to another
BODY = json.dumps({"name": "bench", "resources": {"gpus": 1}, "run": ["true"], "expected_duration": 2})


def measure() -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    with control_plane(Plant()) as plane:
        before = plane.cpu()
        outcome = plane.load(seconds=8.0)
        rate = outcome.statuses.get("201", 0) / outcome.seconds
        figures["rest.submissions_per_s"] = at_least(rate, 1000, "1/s", plane.per_request(before, outcome))
        figures["rest.p99_at_500_per_s"] = at_most(
            plane.load(seconds=10.0, rate=500.0, clients=OPEN_CLIENTS), 50
        )
        figures["rest.acknowledged_and_lost"] = plane.lost()
    with control_plane(Plant(busy=0.8)) as plane:
        outcome = plane.load(seconds=10.0, rate=500.0, clients=OPEN_CLIENTS)
        figures["rest.p99_at_500_per_s_core_busy_80_percent"] = at_most(outcome, 50)
        figures["rest.acknowledged_and_lost_core_busy"] = plane.lost()
    return figures


def at_least(value: float, target: float, unit: str, note: dict[str, float]) -> dict[str, Any]:
    return {"value": round(value, 1), "unit": unit, "target": f">= {target:g}", "ok": value >= target, **note}


def at_most(outcome: Outcome, target_ms: float) -> dict[str, Any]:
    value = outcome.latencies_ms["p99"]
    answered = {"p50_ms": outcome.latencies_ms["p50"], "statuses": outcome.statuses}
    good = value <= target_ms and set(outcome.statuses) == {"201"}
    return {"value": value, "unit": "ms", "target": f"<= {target_ms:g}", "ok": good, **answered}


class Plane:
    """The two processes and what was acknowledged. `token`: of a member."""

    def __init__(self, settings: Settings, admin: str, pids: dict[str, int]) -> None:
        self.settings = settings
        self.token = member(f"http://127.0.0.1:{settings.port}/v1", admin)
        self.pids = pids
        self.acknowledged = 0

    def load(self, **how: Any) -> Outcome:
        load = Load(port=self.settings.port, token=self.token, body=BODY, **how)
        argv = [sys.executable, "-m", "bench.support.load", msgspec.json.encode(load).decode()]
        printed = subprocess.run(argv, check=True, capture_output=True).stdout
        outcome = msgspec.json.decode(printed, type=Outcome)
        self.acknowledged += outcome.statuses.get("201", 0)
        return outcome

    def cpu(self) -> dict[str, float]:
        return {name: cpu_s(pid) for name, pid in self.pids.items()}

    def per_request(self, before: dict[str, float], outcome: Outcome) -> dict[str, float]:
        count = sum(outcome.statuses.values())
        used = {name: after - before[name] for name, after in self.cpu().items()} | {"load": outcome.cpu_s}
        return {f"{name}_cpu_us_per_request": round(seconds / count * 1e6) for name, seconds in used.items()}

    def lost(self) -> dict[str, Any]:
        with open_reader(self.settings.journal) as journal:
            recorded = sum(isinstance(entry.fact, JobSubmitted) for entry in journal.read(0))
        lost = self.acknowledged - recorded
        return {
            "value": lost,
            "unit": "jobs",
            "target": "== 0",
            "ok": lost == 0,
            "acknowledged": self.acknowledged,
        }


def member(api: str, admin: str) -> str:
    """The token of a user that is a member of a tenant and nothing else, made by the administrator."""
    with httpx2.Client(headers={"Authorization": f"Bearer {admin}"}) as client:

        def post(path: str, **body: Any) -> Any:
            answer = client.post(f"{api}/{path}", json=body)
            answer.raise_for_status()
            return answer.json()

        post("tenants", id="acme")
        user = post("users", name="Bench", email="bench@example.org")["id"]
        post(f"users/{user}/roles", role="member", tenant="acme")
        return str(post(f"users/{user}/tokens", expires_in="1d", scopes=[], tenant="")["secret"])


@contextlib.contextmanager
def control_plane(plant: Plant, prepare: Callable[[Path], None] = lambda folder: None) -> Iterator[Plane]:
    """Writer (simulated fleet) and faces on a fresh folder, ready; both end with the block. `prepare`: may say where
    journal and stores are."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        settings = Settings(data=Path(folder), port=free_port())
        prepare(settings.data)
        token = secrets.token_urlsafe(24)
        settings.admin_token.write_text(token)
        settings.admin_token.chmod(0o600)
        plan = msgspec.json.encode(plant).decode()
        writer = spawn(stack, ["bench.support.plant", settings.to_json(), plan])
        faces = spawn(stack, ["leitstand.app.faces", settings.to_json()])
        yield Plane(settings, token, {"writer": writer.pid, "faces": faces.pid})


def spawn(stack: contextlib.ExitStack, argv: list[str]) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )

    def end() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)

    stack.callback(end)
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError(f"{argv[0]} did not become ready")
    return process
