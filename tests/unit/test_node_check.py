# SPDX-License-Identifier: Apache-2.0
"""What Slurm runs on a node: the program that looks at its GPUs, and how the engine reads what it wrote."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from leitstand.core.facts import NodeReported
from leitstand.engines.slurm import node_check
from leitstand.engines.slurm.nodehealth import FILE_MAX, NodeHealth
from leitstand.engines.slurm.site import DIRECTED, Place, SlurmSite
from leitstand.engines.surroundings import Surroundings

IDS = frozenset({"aachen.n1", "aachen.n2"})
SMI = """#!/bin/sh
case "$1" in
--query-gpu*) cat gpus ;;
*) cat rows ;;
esac
"""


class Node:
    """A node with an `nvidia-smi` and a kernel's log of its own, whose program is run as Slurm does."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folder = base / "health"
        self.folder.mkdir()
        self.smi, self.kmsg = base / "nvidia-smi", base / "kmsg"
        self.kmsg.write_text("")
        self.says("")

    def gpus(self, *rows: tuple[str, str], remapped: str = "") -> None:
        """(uncorrected errors, retired pages) of each GPU."""
        lines = [f"{n}, 00000000:{n + 16:02X}:00.0, {ecc}, {page}" for n, (ecc, page) in enumerate(rows)]
        (self.base / "gpus").write_text("\n".join(lines) + "\n")
        (self.base / "rows").write_text(remapped)
        self.says(SMI)

    def says(self, script: str) -> None:
        if script:
            self.smi.write_text(script.replace("cat ", f"cat {self.base}/"))
            self.smi.chmod(0o755)

    def xid(self, code: int, gpu: int, after_s: float) -> None:
        """In the log, so long after the boot."""
        text = f"NVRM: Xid (PCI:0000:{gpu + 16:02x}:00): {code}, pid=1, name=python"
        with self.kmsg.open("a") as file:
            file.write(f"3,17,{int(after_s * 1e6)},-;{text}\n SUBSYSTEM=pci\n")

    def look(self) -> list[dict[str, Any]]:
        program = Path(node_check.__file__)
        given = ["--folder", self.folder, "--node", "n1", "--kmsg", self.kmsg, "--smi", self.smi]
        subprocess.run([sys.executable, "-I", program, *map(str, given)], check=True, timeout=30)
        found: list[dict[str, Any]] = json.loads((self.folder / "n1.json").read_text())["troubles"]
        return found


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def kinds(troubles: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return sorted((one["kind"], one.get("code", 0), one["gpu"]) for one in troubles)


# ── the program ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_well_node_has_no_troubles_and_says_that_somebody_looked(node: Node) -> None:
    node.gpus(("0", "No"), ("0", "[N/A]"))
    assert node.look() == []
    first = (node.folder / "n1.json").stat().st_mtime_ns
    assert node.look() == []
    assert (node.folder / "n1.json").stat().st_mtime_ns > first
    assert [path.name for path in node.folder.iterdir()] == ["n1.json"]


def test_a_node_without_gpus_is_well(node: Node) -> None:
    assert node.look() == []


def test_xids_of_the_kernels_log_have_their_gpu_and_time(node: Node) -> None:
    node.gpus(("0", "No"), ("0", "No"), ("0", "No"))
    uptime_s = node_check.uptime_s()
    node.xid(79, 2, uptime_s - 100)
    node.xid(31, 1, uptime_s - 50)
    node.xid(31, 1, uptime_s - 40)
    node.xid(48, 7, uptime_s - 30)  # of a GPU that nvidia-smi does not list
    found = node.look()
    assert kinds(found) == [("xid", 31, 1), ("xid", 48, -1), ("xid", 79, 2)]
    times = {one["code"]: one["at_us"] for one in found}
    assert abs(times[79] - (time.time() - 100) * 1e6) < 60e6
    assert abs(times[31] - times[79] - 60e6) < 1e6, "the last of each"


def test_counters_and_states_keep_the_time_at_which_they_were_seen_first(node: Node) -> None:
    node.gpus(("0", "No"), ("2", "Yes"), remapped="00000000:10:00.0, 0, 1\n")
    first = node.look()
    assert kinds(first) == [("ecc_uncorrected", 0, 1), ("remap_failed", 0, 0), ("retired_pages", 0, 1)]
    assert node.look() == first
    node.gpus(("0", "No"), ("3", "Yes"))
    again = {one["kind"]: one["at_us"] for one in node.look()}
    before = {one["kind"]: one["at_us"] for one in first}
    assert again["ecc_uncorrected"] > before["ecc_uncorrected"], "one more"
    assert again["retired_pages"] == before["retired_pages"]


def test_a_gpu_that_is_gone_is_missed(node: Node) -> None:
    node.gpus(("0", "No"), ("0", "No"))
    node.look()
    node.gpus(("0", "No"))
    assert kinds(node.look()) == [("gpu_lost", 0, -1)]
    node.says("#!/bin/sh\necho 'Unable to determine the device handle: GPU is lost' >&2; exit 15\n")
    assert kinds(node.look()) == [("gpu_lost", 0, -1)]


def test_the_name_is_what_slurmd_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    said = "import sys; sys.path[:0] = [sys.argv[1]]; import node_check; print(node_check.node_name())"
    child = f'{sys.executable} -c "{said}" {Path(node_check.__file__).parent}; true'
    done = subprocess.run(
        ["bash", "-c", child, "slurmd", "-D", "-N", "n7"], stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.decode().strip() == "n7"
    monkeypatch.setenv("SLURMD_NODENAME", "n8")
    assert node_check.node_name() == "n8"


# ── what the engine reads ─────────────────────────────────────────────────────────────────────────────────────────────
def opened(folder: Path) -> NodeHealth:
    around = Surroundings(lambda _: None, lambda *_: None, lambda: None, "0" * 32)
    site = SlurmSite(conf=folder / "slurm.conf", rest="unix:/none", folder=folder, partition="main")
    made = NodeHealth(Place("aachen", DIRECTED, site, around))
    made.open()
    return made


def says(folder: Path, node: str, text: str) -> None:
    part = folder / "health" / ".part"
    part.write_text(text)
    part.rename(folder / "health" / f"{node}.json")


def troubles(*items: dict[str, Any]) -> str:
    return json.dumps({"node": "n1", "gpus": 8, "troubles": items})


LOST = {"kind": "xid", "code": 79, "gpu": 3, "at_us": 5_000_000}


def test_the_program_lies_in_the_sites_folder_and_runs_as_it_is(tmp_path: Path) -> None:
    opened(tmp_path)
    program = tmp_path / "health" / "check"
    assert program.stat().st_mode & 0o777 == 0o755
    environment = {**os.environ, "SLURMD_NODENAME": "n1"}
    subprocess.run([program], check=True, timeout=30, env=environment)
    assert (tmp_path / "health" / "n1.json").exists()
    program.write_text("old")
    opened(tmp_path)
    assert program.read_bytes() == Path(node_check.__file__).read_bytes()


def test_a_folder_that_is_somebody_elses_by_now_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path)
    (tmp_path / "health" / "check").write_text("old")

    def refuse(*_: object) -> int:
        raise PermissionError("not yours")

    with monkeypatch.context() as foreign:
        foreign.setattr(Path, "write_bytes", refuse)
        health = opened(tmp_path)
    says(tmp_path, "n1", troubles(LOST))
    assert len(health.news(IDS)) == 1


def test_each_trouble_is_reported_once(tmp_path: Path) -> None:
    health = opened(tmp_path)
    assert health.news(IDS) == []
    says(tmp_path, "n1", troubles(LOST, {"kind": "ecc_uncorrected", "at_us": 6_000_000}))
    assert health.news(IDS) == [
        NodeReported("aachen.n1", "xid", 79, 3, 5_000_000),
        NodeReported("aachen.n1", "ecc_uncorrected", 0, -1, 6_000_000),
    ]
    says(tmp_path, "n1", troubles(LOST))
    assert health.news(IDS) == []
    says(tmp_path, "n1", troubles({**LOST, "at_us": 7_000_000}))
    says(tmp_path, "n2", troubles())
    assert health.news(IDS) == [NodeReported("aachen.n1", "xid", 79, 3, 7_000_000)]


def test_a_look_is_awaited_only_where_somebody_looks(tmp_path: Path) -> None:
    health, second = opened(tmp_path), 1_000_000
    for node, at_s in (("n1", 1000), ("n2", 1010)):
        says(tmp_path, node, troubles())
        os.utime(tmp_path / "health" / f"{node}.json", (at_s, at_s))
    assert health.awaited(["n1", "n2"], 1005 * second, 1006 * second)
    assert not health.awaited(["n2"], 1005 * second, 1006 * second), "it was looked at since"
    assert not health.awaited(["n1", "n2"], 1005 * second, 1125 * second), "for so long nobody waits"
    assert not health.awaited(["n1"], 1200 * second, 1201 * second), "nobody looks there any more"
    assert not health.awaited(["n1", "n3"], 1005 * second, 1006 * second), "nobody looks at n3"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"troubles": 7}',
        '{"troubles": [{"kind": "xid"}]}',
        troubles({**LOST, "kind": "fire"}),
        troubles({**LOST, "code": 0}),
        troubles({**LOST, "code": -79}),
        troubles({**LOST, "at_us": -1}),
        troubles({"kind": "nvlink", "code": 3, "at_us": 1}),
        troubles(LOST).ljust(FILE_MAX + 10),
        "x" * (FILE_MAX + 10),
    ],
)
def test_what_is_no_report_is_passed_over(tmp_path: Path, text: str) -> None:
    health = opened(tmp_path)
    says(tmp_path, "n1", text)
    assert health.news(IDS) == [] or text.startswith('{"node"')
    says(tmp_path, "n1", troubles({**LOST, "at_us": 9_000_000}))
    assert health.news(IDS) == [NodeReported("aachen.n1", "xid", 79, 3, 9_000_000)]


def test_nobody_speaks_for_a_node_that_is_not_of_the_site_or_through_a_link(tmp_path: Path) -> None:
    health = opened(tmp_path)
    says(tmp_path, "n9", troubles(LOST))
    (tmp_path / "other.json").write_text(troubles(LOST))
    (tmp_path / "health" / "n1.json").symlink_to(tmp_path / "other.json")
    says(tmp_path, "n2", troubles(LOST))
    assert [one.node for one in health.news(IDS)] == ["aachen.n2"]
