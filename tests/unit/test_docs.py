# SPDX-License-Identifier: Apache-2.0
"""The documentation is whole: every link leads somewhere, every command and every path of the API is described."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def broken_links(page: Path) -> list[str]:
    """Internal links of `page` whose file or heading does not exist."""
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page if not name else (page.parent / name).resolve()
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


def anchors(page: Path) -> set[str]:
    """The names under which headings can be linked to, as code hosts make them."""
    found = set()
    for line in FENCE.sub("", page.read_text()).splitlines():
        if re.match(r"#{1,6} ", line):
            title = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(title.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A heading: with `code`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#a-heading-with-code) [c](gone.md) [d](other.md#gone) [e](https://example.org)\n"
    )
    assert broken_links(page) == ["gone.md", "other.md#gone"]


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(LINK.findall((folder / "README.md").read_text()))
    assert {page.name for page in folder.glob("0*.md")} <= listed


def commands(group: click.Group, prefix: str = "leitstand") -> Iterator[str]:
    """Every command below `group`, as it is typed."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield f"{prefix} {name}"
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")


def test_every_command_is_in_the_guide_or_the_reference() -> None:
    from leitstand.cli.root import cli

    guide = (ROOT / "docs" / "guide.md").read_text() + (ROOT / "docs" / "cli.md").read_text()
    named = ["leitstand up", *commands(cli)]
    assert len(named) > 15
    assert [name for name in named if f"`{name}" not in guide and f"$ {name}" not in guide] == []


def test_every_path_of_the_api_is_in_the_guide() -> None:
    from leitstand.api.app import routes
    from leitstand.api.schema import describe

    guide = (ROOT / "docs" / "guide.md").read_text()
    described = json.loads(describe(routes()))["paths"]
    paths = [(method.upper(), path) for path, item in described.items() for method in item]
    assert len(paths) > 12
    assert [f"{method} {path}" for method, path in paths if f"`{method} {path}`" not in guide] == []


def test_every_test_that_the_proofs_name_exists() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", (ROOT / "docs" / "proofs.md").read_text()))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 30
    assert named <= there
