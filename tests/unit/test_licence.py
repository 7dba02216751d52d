# SPDX-License-Identifier: Apache-2.0
"""Every file that somebody wrote says under which licence it stands."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = "SPDX-License-Identifier: Apache-2.0"
KINDS = {".py", ".yaml", ".yml", ".sh", ".sql", ".html", ".css", ".js"}
NAMED = {"Makefile", ".ci/run", ".ci/setup", ".ci/lock", ".ci/system-packages"}
LINES = 3


def sources() -> list[str]:
    """Tracked and new files, as git sees them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    names = sorted(set(listed.stdout.splitlines()))
    return [
        name for name in names if (Path(name).suffix in KINDS or name in NAMED) and (ROOT / name).exists()
    ]


def without_header(names: list[str], root: Path) -> list[str]:
    return [name for name in names if HEADER not in "\n".join((root / name).read_text().splitlines()[:LINES])]


def test_every_source_file_names_its_licence() -> None:
    names = sources()
    assert len(names) > 30, "the listing lost most of the project"
    assert without_header(names, ROOT) == []


def test_a_file_without_header_is_found(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("print()\n")
    (tmp_path / "good.py").write_text(f"# {HEADER}\nprint()\n")
    assert without_header(["bare.py", "good.py"], tmp_path) == ["bare.py"]


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert all(f"\n   {number}. " in text for number in range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text
