# SPDX-License-Identifier: Apache-2.0
"""What runs left is found and erased also in the folder of a Slurm site, and nothing beside it."""

from pathlib import Path

import pytest

from leitstand.app.left import Left
from leitstand.engines.book import SiteBook
from tests.unit.test_site_file import made


@pytest.fixture
def left(tmp_path: Path) -> Left:
    """acme-1 and bolt-1 ran at a site, and acme-2 left a checkpoint there."""
    shared = tmp_path / "shared"
    for path in ("acme-1.1/aa/work", "acme-1.2/bb", "bolt-1.1/cc", "checkpoints/acme-2", "not ours"):
        (shared / path).mkdir(parents=True)
    (shared / "owner").write_text("us")
    (tmp_path / "elsewhere").mkdir()
    (shared / "acme-9.1").symlink_to(tmp_path / "elsewhere")
    book = SiteBook(tmp_path / "sites")
    book.put(made(folder=str(shared)))
    return Left(tmp_path / "runs", book)


def there(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "shared").iterdir()}


def test_what_is_left_is_found_by_its_jobs(left: Left) -> None:
    assert left.jobs() == {"acme-1", "acme-2", "bolt-1"}


def test_jobs_are_erased_with_all_their_runs_and_checkpoints(left: Left, tmp_path: Path) -> None:
    assert left.erase_jobs({"acme-1", "acme-2"}) == 3
    assert there(tmp_path) == {"bolt-1.1", "checkpoints", "not ours", "owner", "acme-9.1"}
    assert left.jobs() == {"bolt-1"}


def test_a_tenant_is_erased_and_nobody_else_nor_what_a_link_points_to(left: Left, tmp_path: Path) -> None:
    assert left.erase_tenant("acme") == 3
    assert left.jobs() == {"bolt-1"}
    assert (tmp_path / "elsewhere").is_dir()
