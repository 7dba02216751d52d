# SPDX-License-Identifier: Apache-2.0
"""What erasure on this machine promises: all that runs left goes, nothing of anybody else, also when cut short."""

import os
from pathlib import Path

import pytest

from leitstand.engines.local.leftovers import Leftovers


def lay(data: Path, *names: str) -> None:
    for name in names:
        (data / name / "inside").mkdir(parents=True)
        (data / name / "inside" / "file").write_text("content")


def names(data: Path) -> set[str]:
    return {str(path.relative_to(data)) for path in data.glob("*/*")}


OTHERS = {
    "runs/acme-42-1.1", "runs/acm-1.1", "runs/acme-2.1", "runs/acme-11.1", "runs/.wake",
    "checkpoints/acme-42-1-0123456789ab", "checkpoints/acme-11-0123456789ab", "homes/acme-42", "homes/acm",
}  # fmt: skip


def test_jobs_are_erased_with_all_their_runs_and_checkpoints_and_no_others(tmp_path: Path) -> None:
    mine = ("runs/acme-1.1", "runs/acme-1.2", "runs/acme-1.2.stale-1", "checkpoints/acme-1-0123456789ab")
    lay(tmp_path, *mine, *OTHERS)
    left = Leftovers(tmp_path / "runs")
    assert left.jobs() == {"acme-1", "acme-2", "acme-11", "acm-1", "acme-42-1"}
    assert left.erase_jobs({"acme-1"}) == 4
    assert names(tmp_path) == OTHERS
    assert left.erase_jobs({"acme-1"}) == 0


def test_a_tenant_is_erased_with_its_home_and_no_other_of_a_like_name(tmp_path: Path) -> None:
    lay(tmp_path, "runs/acme-1.1", "checkpoints/acme-1-0123456789ab", "homes/acme", *OTHERS)
    gone = {"runs/acme-2.1", "runs/acme-11.1", "checkpoints/acme-11-0123456789ab"}
    assert Leftovers(tmp_path / "runs").erase_tenant("acme") == 6
    assert names(tmp_path) == OTHERS - gone


@pytest.mark.parametrize("tenant", ["", ".", "..", "../homes/acm", "a/b"])
def test_what_is_no_tenant_erases_nothing(tmp_path: Path, tenant: str) -> None:
    lay(tmp_path, *OTHERS)
    assert Leftovers(tmp_path / "runs").erase_tenant(tenant) == 0
    assert names(tmp_path) == OTHERS


def test_an_erasure_that_was_cut_short_is_ended_by_the_next_one(tmp_path: Path) -> None:
    lay(tmp_path, "runs/.gone-acme-1.1", "checkpoints/.gone-acme-1-0123456789ab", "homes/.gone-acme")
    assert Leftovers(tmp_path / "runs").erase_tenant("acme") == 3
    assert names(tmp_path) == set()


def test_links_that_a_job_made_are_removed_and_not_followed(tmp_path: Path) -> None:
    lay(tmp_path, "runs/acme-1.1", "homes/other")
    (tmp_path / "runs/acme-1.1/inside/way-out").symlink_to(tmp_path / "homes/other")
    (tmp_path / "runs/acme-1.1/inside/file").unlink()
    os.link(tmp_path / "homes/other/inside/file", tmp_path / "runs/acme-1.1/inside/file")
    assert Leftovers(tmp_path / "runs").erase_tenant("acme") == 1
    assert (tmp_path / "homes/other/inside/file").read_text() == "content"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove what is write-protected")
def test_what_a_job_protected_from_writing_goes_too(tmp_path: Path) -> None:
    lay(tmp_path, "runs/acme-1.1/work-0/cache")
    for folder in ("work-0/cache/inside", "work-0/cache"):
        (tmp_path / "runs/acme-1.1" / folder).chmod(0o555)
    (tmp_path / "runs/acme-1.1/work-0").chmod(0)
    assert Leftovers(tmp_path / "runs").erase_tenant("acme") == 1
    assert names(tmp_path) == set()
