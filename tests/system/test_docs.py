# SPDX-License-Identifier: Apache-2.0
"""The examples in the documentation do what they say: blocks marked ```console run are executed and compared.

In such a block a line that starts with `$ ` is typed (lines that start with `> ` go on with it), the others are what
must appear: a line `…` stands for any lines, `…` in a line for any text, and runs of blanks are equal. The blocks of a
page are one shell, in a copy of the project beside a control plane that was started as the page says; its port takes
the place of 8640.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.plane import LEITSTAND, Plane

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```console run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = "8640"
# page: the command that starts its control plane
STARTED_BY = {
    "README.md": (sys.executable, "-m", "leitstand.app.demo"),
    "docs/guide.md": (LEITSTAND, "up"),
    "docs/sdk.md": (LEITSTAND, "up"),
    "docs/twin.md": (LEITSTAND, "up"),
}
MARK = "a3f1-end-of-command"


@dataclass
class Typed:
    """One command of a page and what must appear."""

    line: int
    command: str
    expected: list[str] = field(default_factory=list)


def typed(text: str) -> list[Typed]:
    """The commands of all marked blocks of a page, in order."""
    found: list[Typed] = []
    for block in BLOCK.finditer(text):
        first = text[: block.start(1)].count("\n") + 1
        for number, line in enumerate(block[1].splitlines(), first):
            if line.startswith("$ "):
                found.append(Typed(number, line[2:]))
            elif line == ">" or line.startswith("> "):
                found[-1].command += "\n" + line[2:]
            else:
                found[-1].expected.append(line)
    return found


def pattern(expected: list[str]) -> re.Pattern[str]:
    """What must appear, as an expression over the whole output with its blanks squeezed."""
    parts = []
    for line in expected:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            words = [re.escape(part) for part in squeeze(line).split("…")]
            parts.append(".*?".join(words) + r"\n")
    return re.compile("".join(parts))


def squeeze(text: str) -> str:
    """Lines with single blanks and none at their ends."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def appears(expected: list[str], output: str) -> bool:
    return not expected or pattern(expected).fullmatch(squeeze(output) + "\n") is not None


class Shell:
    """One bash, fed command by command."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, command: str) -> str:
        """What the command printed. It reads nothing and sees no terminal."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        end = f"_status=$?; printf '\\n%s\\n' {MARK}; (exit $_status)"  # `echo $?` may be typed next
        self.process.stdin.write(f"{{ {command}\n}} </dev/null\n{end}\n")
        self.process.stdin.flush()
        lines: list[str] = []
        for line in self.process.stdout:
            if line.strip() == MARK:
                return "".join(lines).removesuffix("\n")
            lines.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(lines)}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def copied(folder: Path) -> Path:
    """The project as a clone would hold it, with the installed environment."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    return folder


@pytest.fixture(params=STARTED_BY)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Shell, Plane]]:
    name: str = request.param
    clone = copied(tmp_path / "leitstand")
    (clone / "build").mkdir()
    with Plane(clone / "build" / "up", command=STARTED_BY[name]) as plane:
        environment = {
            key: value for key, value in plane.environment.items() if not key.startswith("LEITSTAND_")
        }
        shell = Shell(clone, environment)
        yield name, shell, plane
        shell.close()


def test_the_examples_of_the_page_do_what_they_say(page: tuple[str, Shell, Plane]) -> None:
    name, shell, plane = page
    commands = typed((ROOT / name).read_text())
    assert commands, f"{name} has no block that is marked to run"
    for each in commands:
        output = shell.type(each.command.replace(PORT, str(plane.port))).replace(str(plane.port), PORT)
        assert appears(each.expected, output), (
            f"{name}:{each.line}: $ {each.command}\nmust print\n"
            + "\n".join(each.expected)
            + f"\nbut printed\n{output}"
        )


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        (["a  b", "…", "z …"], "a b\nmore\nand more\nz 17\n", True),
        (["a", "…"], "a\n", True),
        (["a", "b"], "a\n", False),
        (["a"], "a\nb\n", False),
        (["exit …"], "exit\n", False),
        (["1.5 s"], "155 s\n", False),
    ],
)
def test_the_comparison_tells_same_from_different(expected: list[str], output: str, same: bool) -> None:
    assert appears(expected, output) is same


def test_blocks_are_read_with_their_lines() -> None:
    text = "# T\n\n```console run\n$ echo a\n> echo b\na\nb\n$ true\n```\n\n```console\n$ not run\n```\n"
    assert typed(text) == [Typed(4, "echo a\necho b", ["a", "b"]), Typed(8, "true")]
