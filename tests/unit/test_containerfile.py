# SPDX-License-Identifier: Apache-2.0
"""What can be said of the image without building it: no container runtime is needed here."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """Name and words of every instruction; lines that go on are joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def of(name: str) -> list[str]:
    return [words for each, words in instructions() if each == name]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(n for n, (name, _) in enumerate(found) if name == "FROM") :]


def test_every_source_that_is_copied_is_there_or_is_the_wheelhouse() -> None:
    sources = [words.split()[0] for words in of("COPY") if not words.startswith("--from")]
    assert [one for one in sources if one != "build/wheelhouse" and not (ROOT / one).exists()] == []
    assert "deploy.wheelhouse build/wheelhouse" in (ROOT / "Makefile").read_text()


def test_what_is_installed_comes_from_the_wheelhouse_by_its_digests() -> None:
    (install,) = [
        words for words in of("RUN") if "pip" in words and " install " in words and "wheelhouse" in words
    ]
    for word in ("--no-index", "--require-hashes", "/wheelhouse/requirements.txt"):
        assert word in shlex.split(install)


def test_the_last_stage_has_neither_pip_nor_compilers_and_no_root() -> None:
    said = " ".join(words for name, words in last_stage() if name == "RUN")
    assert not re.search(r"\b(pip|gcc|make|python3-venv|python3-dev|build-essential)\b", said)
    assert of("USER") == ["10001:10001"]
    assert all("debian:12-slim" in words for words in of("FROM"))


def test_what_is_started_and_asked_are_the_installed_program_and_commands_that_it_has() -> None:
    from leitstand.app.up import up
    from leitstand.cli.root import COMMANDS

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    *_, program, command = json.loads(of("ENTRYPOINT")[0])
    assert program in scripts
    assert command == "up"
    checked = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
    assert checked[0] in scripts
    assert checked[1] in COMMANDS
    options = json.loads(of("CMD")[0])
    assert CliRunner().invoke(up, [*options, "--help"]).exit_code == 0
    assert CliRunner().invoke(up, [*options, "--no-such-option"]).exit_code == 2


@pytest.mark.parametrize("name", ["LEITSTAND_DATA", "LEITSTAND_URL"])
def test_the_variables_of_the_image_are_those_that_are_read(name: str) -> None:
    assert name in of("ENV")[0]
    assert any(name in path.read_text() for path in (ROOT / "leitstand").rglob("*.py"))
