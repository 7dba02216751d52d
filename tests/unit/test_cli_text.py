# SPDX-License-Identifier: Apache-2.0
"""The catalogue and the code say the same; amounts are read and shown as people write them; loading stays lazy."""

import ast
import string
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

import leitstand
from leitstand.cli import jobfile_keys, jobfile_yaml, sbatch_options
from leitstand.cli.amounts import parse_bytes, parse_duration, show_duration, show_hours, show_span
from leitstand.cli.german import GERMAN
from leitstand.cli.german_others import CLICK, CODES, MESSAGES
from leitstand.cli.jobs import STATES
from leitstand.cli.root import COMMANDS
from leitstand.cli.text import is_german, t
from leitstand.core import admission
from leitstand.core.explaining import why
from leitstand.core.facts import AGAIN, ENDED_REASONS, OUTCOMES
from leitstand.core.waiting import BLOCKS

PACKAGE = Path(leitstand.__file__).parent


def said() -> set[str]:
    """Every sentence in a call of `t`, and the help of every command."""
    found = {*jobfile_yaml.KINDS.values(), *jobfile_keys.LATER.values(), *jobfile_keys.IGNORED.values()}
    found |= {
        said
        for option in sbatch_options.OPTIONS.values()
        for said in (option.ignored, option.refused)
        if said
    }
    for path in [*PACKAGE.glob("cli/*.py"), *PACKAGE.glob("app/*.py"), PACKAGE / "__main__.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("t", "Lazy", "_end")
            ):
                for sentence in node.args[node.func.id != "t" :]:
                    if isinstance(sentence, ast.Constant) and isinstance(sentence.value, str):
                        found.add(sentence.value)
    return found


def test_every_sentence_has_its_german() -> None:
    assert said() - set(GERMAN) == set()


def test_the_catalogue_holds_nothing_that_nobody_says() -> None:
    assert set(GERMAN) - said() == set()


def test_a_translation_has_the_same_places() -> None:
    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert [english for english, german in GERMAN.items() if places(english) != places(german)] == []


def test_every_code_of_the_control_plane_has_its_german() -> None:
    codes = {
        *STATES,
        *(reason for reason in ENDED_REASONS if reason),
        *OUTCOMES,
        *admission.REASONS,
        *why.REASONS,
        *AGAIN,
    }
    assert codes | {"ended", "capacity", "order", *BLOCKS} == set(CODES)
    assert {*(reason for reason in ENDED_REASONS if reason), *why.REASONS} <= set(MESSAGES)


def test_every_sentence_translated_for_click_is_one_of_clicks() -> None:
    source = "".join(path.read_text() for path in Path(click.__file__).parent.glob("*.py"))
    literals = {
        node.value
        for node in ast.walk(ast.parse(source.replace("from __future__ import annotations", "")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(CLICK) - literals == set()


def test_a_translation_of_others_names_no_place_that_is_not_there() -> None:
    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert [english for english, german in CLICK.items() if places(german) - places(english)] == []
    assert {name for text in MESSAGES.values() for name in places(text)} <= {
        "exit_code",
        "signal",
        "max_duration",
    }


@pytest.mark.parametrize(
    ("environment", "german"),
    [
        ({"LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "de"}, True),
        ({"LC_MESSAGES": "de_AT.UTF-8", "LANG": "en_US.UTF-8"}, True),
        ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, False),
        ({"LC_ALL": "", "LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "dev"}, False),
        ({}, False),
    ],
)
def test_the_locale_chooses_the_language(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], german: bool
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_german() == german
    assert t("No jobs.") == ("Keine Jobs." if german else "No jobs.")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1d1h1m1s", 90_061),
        ("45", 45),
        ("0.5s", 0.5),
        ("1.5", 1.5),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "1h 30m", "30m1h", "-5", "1.5h", "0s", "1e3", "٣s", "9" * 40, "s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("64M", 64 << 20), ("1g", 1 << 30), ("512", 512), ("2KiB", 2048), ("1GB", 1 << 30)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "big", "-1M", "1.5G", "1X", "9" * 40])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_bytes(text)


def test_spans_and_hours_are_short() -> None:
    assert [show_span(s) for s in (-1, 59, 61, 3599, 5400, 90_000)] == [
        "0s",
        "59s",
        "1m 1s",
        "59m",
        "1h 30m",
        "1d 1h",
    ]
    assert [show_duration(s) for s in (0, 0.25, 60, 99_000, 2_592_000, 3661.5)] == [
        "0s",
        "0.25s",
        "1m",
        "1d3h30m",
        "30d",
        "1h1m1.5s",
    ]
    assert show_hours(5400) == "1.5000"
    assert [show_hours(s) for s in (0, 0.2, 0.36)] == ["0.0000", "<0.0001", "0.0001"]


def test_every_command_in_the_map_is_there() -> None:
    for command in COMMANDS.values():
        module, _, attribute = command.target.partition(":")
        assert isinstance(getattr(import_module(module), attribute), click.Command)


@pytest.mark.parametrize(("gpus", "advised"), [(None, True), (4, True), (0, False)])
def test_the_first_line_to_type_asks_only_for_gpus_that_are_there(gpus: int | None, advised: bool) -> None:
    from leitstand.app.settings import Settings
    from leitstand.app.up import _first_lines

    lines = _first_lines(Settings(data=Path("data"), gpus=gpus))
    assert any("run --gpus 1" in line for line in lines) == advised
    assert any(" run " in line for line in lines)


def imported(*words: str) -> set[str]:
    """The modules that a command loads."""
    code = (
        "import sys; sys.argv = ['leitstand', *sys.argv[1:]]; from leitstand.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_the_version_is_told_before_anything_is_loaded() -> None:
    loaded = imported("--version")
    assert "leitstand" in loaded
    assert loaded & {"click", "msgspec", "httpx2", "leitstand.cli", "typing"} == set()


def test_help_loads_no_command() -> None:
    assert imported("--help") & {"httpx2", "msgspec", "yaml", "leitstand.cli.run", "leitstand.app"} == set()


def test_a_client_command_loads_no_server() -> None:
    loaded = imported("jobs", "--help")
    assert "httpx2" in loaded
    assert {name for name in loaded if name.startswith("leitstand.")} <= {
        "leitstand.__main__",
        "leitstand.client",
        *(
            f"leitstand.cli{rest}"
            for rest in (
                "",
                ".amounts",
                ".clicked",
                ".client",
                ".complete",
                ".exits",
                ".german",
                ".german_access",
                ".german_bookings",
                ".german_fork",
                ".german_generate",
                ".german_health",
                ".german_jobfile",
                ".german_maintenance",
                ".german_others",
                ".german_running",
                ".german_shares",
                ".german_sites",
                ".german_studies",
                ".german_twin",
                ".german_watched",
                ".jobs",
                ".moments",
                ".refusals",
                ".root",
                ".starts",
                ".table",
                ".text",
                ".words",
            )
        ),
    }
    assert loaded & {"litestar", "numpy", "yaml", "rich", "msgspec", "sqlite3"} == set()
