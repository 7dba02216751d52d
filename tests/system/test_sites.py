# SPDX-License-Identifier: Apache-2.0
"""A Slurm site of a control plane, the whole way through its command line: tested, added, used, in trouble, removed."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plane import LEITSTAND, Plane
from tests.slurm import PARTITION, Cluster, running

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

PATIENCE_S = 90.0
NODES = 2
FAIR = (LEITSTAND, "up", "--discipline", "fair")
SETTINGS = "JobRequeue=0\nMinJobAge=300"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(nodes=NODES, extra=SETTINGS) as made:
        yield made


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with Plane(tmp_path / "data", gpus=1, command=FAIR) as made:
        yield made


def described(folder: Path, cluster: Cluster, name: str = "aachen", more: str = "", **slurm: object) -> Path:
    """The file of a site on the cluster."""
    given = {
        "conf": cluster.conf,
        "rest": cluster.rest,
        "folder": folder / f"{name}-runs",
        "partition": PARTITION,
        **slurm,
    }
    lines = [f"name: {name}", "engine: slurm", "mode: directed", "jurisdiction: de", "operator: RWTH Aachen"]
    lines += ["slurm:", *(f"  {key}: {value}" for key, value in given.items()), more]
    file = folder / f"{name}.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def until(plane: Plane, look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain: {what}\n{_log(plane)}"
        time.sleep(0.2)
    return found


def _log(plane: Plane) -> str:
    return "".join(path.read_text()[-3000:] for path in sorted((plane.data / "log").glob("*")))


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def site(plane: Plane, name: str = "aachen") -> Any:
    return next((one for one in plane.json("sites", "list") if one["id"] == name), None)


def job_file(folder: Path, script: str, name: str = "aachen") -> Path:
    file = folder / "job.yaml"
    file.write_text(
        f"run: |\n  {script}\nresources:\n  accelerators: H100:1\n  sites: [{name}]\nmax_duration: 1h\n"
    )
    return file


def test_a_site_is_tested_added_used_and_removed(plane: Plane, cluster: Cluster, tmp_path: Path) -> None:
    file = described(tmp_path, cluster, more="expect: {nodes: 2, gpus: 16}")
    tested = plane.json("sites", "test", str(file))
    assert tested["well"], tested
    outcomes = {one["name"]: one["outcome"] for one in tested["checks"]}
    assert outcomes == {
        **dict.fromkeys(("tools", "conf", "slurmctld", "version", "partition", "nodes", "alone"), "ok"),
        **dict.fromkeys(("settings", "slurmrestd", "folder"), "ok"),
        **dict.fromkeys(("token", "account"), "skipped"),
    }
    assert "site aachen is there: 2 nodes with 16 GPUs in service" in said(
        plane.cli("sites", "add", str(file))
    )
    listed = site(plane)
    assert (listed["status"], listed["mode"], listed["operator"]) == ("ok", "directed", "RWTH Aachen")
    assert (listed["nodes"], listed["gpus"], listed["jurisdiction"]) == (2, 16, "de")
    assert f"folder:           {tmp_path}/aachen-runs" in said(plane.cli("sites", "show", "aachen"))
    assert {node["id"] for node in plane.json("nodes")} >= {"aachen.n0001", "aachen.n0002"}

    done = plane.cli(
        "run", str(job_file(tmp_path, "echo on $LEITSTAND_SITE with $CUDA_VISIBLE_DEVICES; exit 7"))
    )
    assert (done.returncode, done.stdout) == (7, "on aachen with 0\n"), done.stderr

    job = said(plane.cli("submit", str(job_file(tmp_path, "echo begun; exec sleep 600")))).split()[0]
    until(plane, lambda: "begun" in plane.cli("logs", job).stdout, "it runs")
    refused = plane.cli("sites", "remove", "aachen", "--yes")
    assert refused.returncode != 0
    assert "1 run lives at site aachen" in refused.stderr
    said(plane.cli("cancel", job))
    until(plane, lambda: plane.json("job", job)["state"] == "cancelled", "it was stopped")
    said(plane.cli("sites", "remove", "aachen", "--yes"))
    until(plane, lambda: site(plane) is None, "the site is gone")
    assert plane.cli("sites", "show", "aachen").returncode != 0
    assert "site aachen is there: 2 nodes" in said(plane.cli("sites", "add", str(file)))  # and there again


def test_a_restart_of_the_control_plane_adopts_what_runs(
    plane: Plane, cluster: Cluster, tmp_path: Path
) -> None:
    said(plane.cli("sites", "add", str(described(tmp_path, cluster))))
    go = tmp_path / "go"
    script = f"echo begun; while [ ! -e {go} ]; do sleep 0.1; done; echo over; exit 3"
    job = said(plane.cli("submit", str(job_file(tmp_path, script)))).split()[0]
    until(plane, lambda: "begun" in plane.cli("logs", job).stdout, "it runs")
    assert plane.process is not None
    plane.process.send_signal(signal.SIGKILL)
    plane.process.wait()
    plane.start()
    assert plane.json("job", job)["state"] == "running"
    go.touch()
    ended = until(
        plane,
        lambda: (one := plane.json("job", job))["state"] not in ("running", "pending") and one,
        "the end",
    )
    assert (ended["state"], ended["exit_code"], len(ended["runs"])) == ("failed", 3, 1)
    assert plane.cli("logs", job).stdout == "begun\nover\n"


def test_a_site_in_trouble_is_named_and_the_rest_goes_on(
    plane: Plane, cluster: Cluster, tmp_path: Path
) -> None:
    url = cluster.start_rest_with_tokens()
    try:
        token = tmp_path / "token"
        token.write_text(cluster.token(lives_s=-60))
        file = described(tmp_path, cluster, rest=url, token_file=token, more="expect: {nodes: 3}")
        refused = plane.cli("sites", "add", str(file))
        assert refused.returncode != 0
        assert "expired" in refused.stderr
        assert "less than the 3 nodes" in refused.stderr
        assert site(plane) is None
        plane.cli("sites", "add", str(file), "--anyway")
        unwell = until(plane, lambda: (one := site(plane))["status"] == "unwell" and one, "it is not well")
        assert "token" in unwell["health"]["error"]
        assert f"the token in {token} is wrong or has expired" in plane.cli("sites", "list").stderr
        assert plane.cli("run", "--gpus", "1", "--", "true").returncode == 0  # on this machine
        token.write_text(cluster.token())
        short = until(
            plane,
            lambda: "less than" in (one := site(plane))["health"]["error"] and one,
            "the token is taken",
        )
        assert (short["nodes"], short["health"]["version"][:6]) == (2, "22.05.")
        file.write_text(file.read_text().replace("nodes: 3", "nodes: 2"))
        said(plane.cli("sites", "add", str(file)))
        until(plane, lambda: site(plane)["status"] == "ok", "it has what is expected")
    finally:
        cluster.kill("slurmrestd-jwt")


def test_what_cannot_be_is_refused_with_its_reason(plane: Plane, cluster: Cluster, tmp_path: Path) -> None:
    def refusal(file: Path) -> str:
        done = plane.cli("sites", "add", str(file))
        assert done.returncode != 0, done.stdout
        return " ".join(done.stderr.split())

    assert "the cluster has no partition nope; it has main" in refusal(
        described(tmp_path, cluster, partition="nope")
    )
    away = described(tmp_path, cluster, rest="http://127.0.0.1:1", token_file=tmp_path / "token")
    (tmp_path / "token").write_text(cluster.token())
    assert "slurmrestd does not answer" in refusal(away)
    assert "is not there; copy the cluster's slurm.conf" in refusal(
        described(tmp_path, cluster, conf="/no.conf")
    )
    delegated = described(tmp_path, cluster)
    delegated.write_text(delegated.read_text().replace("directed", "delegated"))
    assert "quota is to say either `gpus` or `nodes`" in refusal(delegated)
    said(plane.cli("sites", "add", str(described(tmp_path, cluster))))
    twice = described(tmp_path, cluster, "aachen-2")
    assert "its partition main is that of site aachen" in refusal(twice)
    with Plane(tmp_path / "other", gpus=1, command=FAIR) as other:
        done = other.cli("sites", "test", str(described(tmp_path, cluster)))
        assert done.returncode == 1
        assert "belongs to another control plane" in done.stdout
