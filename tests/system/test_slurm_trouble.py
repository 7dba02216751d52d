# SPDX-License-Identifier: Apache-2.0
"""A real Slurm whose network is cut, and whose disks are full: nothing is lost, nothing begins twice."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leitstand.engines.slurm.live import Pace
from leitstand.runtime.spec import RunSpec
from tests.conformance.engine_cases import SlurmCase, eventually
from tests.slurm import cabled, running

SECOND = 1_000_000


class CutCase(SlurmCase):
    """Reached through a cable alone, by a token; given up after two seconds."""

    pace = Pace(jobs=0.1, nodes=0.5, check=1.0, away=2.0)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_site_that_the_network_cuts_off_goes_on_and_is_heard_again(tmp_path: Path) -> None:
    with cabled() as cable, running(nodes=2, cable=cable) as cluster:
        cluster.rest = cluster.start_rest_with_tokens()
        token = tmp_path / "token"
        token.write_text(cluster.token())
        case = CutCase(cluster, tmp_path, token_file=token)
        try:
            case.script("a.1", "sleep 2; exit 3")
            case.start("a.1")
            cable.cut()
            case.script("b.1", f"echo once >> {tmp_path}/b")
            eventually(lambda: case.engine.health.error, "the site is seen to be cut off")
            time.sleep(2)
            mended_us = time.time_ns() // 1000
            cable.mend()
            a, b = case.end("a.1"), case.end("b.1")
        finally:
            case.close()
    assert (a.outcome, a.exit_code) == ("exited", 3)
    assert a.at_us < mended_us + SECOND
    assert 2 * SECOND <= a.at_us - a.started_us < 3 * SECOND
    assert (b.outcome, b.exit_code) == ("exited", 0)
    assert b.started_us >= mended_us
    assert (tmp_path / "b").read_text() == "once\n"


@contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    """A file system of 256 KiB there, which is full; `free` it."""
    at.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(at)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    fill(at)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def fill(at: Path) -> None:
    with (at / "full").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


def free(at: Path) -> None:
    (at / "full").unlink()


@pytest.mark.system
def test_a_run_waits_for_room_in_the_folder_of_its_site(tmp_path: Path) -> None:
    with running(nodes=2) as cluster, small_disk(tmp_path / "small") as disk:
        free(disk)
        case = SlurmCase(cluster, disk)
        try:
            case.script("a.1", "sleep 1; exit 3")
            case.start("a.1")
            fill(disk)
            case.script("b.1", f"echo once >> {tmp_path}/b")
            a = case.end("a.1")  # its script could not say how it ended: Slurm does
            time.sleep(1)
            assert not case.starts("b.1")
            free(disk)
            b = case.end("b.1")
        finally:
            case.close()
    assert (a.outcome, a.exit_code) == ("exited", 3)
    assert (b.outcome, b.exit_code) == ("exited", 0)
    assert (tmp_path / "b").read_text() == "once\n"


@pytest.mark.system
def test_a_node_whose_spool_is_full_begins_nothing_and_loses_nothing(tmp_path: Path) -> None:
    with running(nodes=2) as cluster:
        spool = cluster.base / "spool/n0001"
        cluster.kill("slurmd-n0001")
        with small_disk(spool) as disk:
            free(disk)
            cluster.start_node("n0001")
            cluster.until(
                lambda: "n0001 idle" in cluster.ask("sinfo", "-h", "-N", "-o", "%N %T"), "n0001 is back"
            )
            fill(disk)
            case = SlurmCase(cluster, tmp_path)
            try:
                order = case.execution("a.1", RunSpec(script=f"echo once >> {tmp_path}/a"))
                assert order.tasks[0].node == "aachen.n0001"
                case.send(order)
                first = case.end("a.1")
                ran = (tmp_path / "a").exists()
            finally:
                case.close()
    assert (first.outcome, first.started_us, ran) in (("lost", 0, False), ("start_failed", 0, False)), first
