# SPDX-License-Identifier: Apache-2.0
"""What the readers of job files share: the text of a file, what a file becomes, and how its faults are told.

Called by `jobfile` (YAML) and `sbatch`. No fault and no notice quotes a long value: it may be a secret that somebody
put into the wrong place, and the line is named anyway.
"""

import re
import stat
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from leitstand.cli import exits
from leitstand.cli.text import t, why

SIZE_MAX: Final = 1024 * 1024
FAULTS_SHOWN: Final = 20
QUOTED_MAX: Final = 16  # characters of a value that may be shown: tokens and keys are longer
KEY_QUOTED_MAX: Final = 32
SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Fault(NamedTuple):
    """One thing wrong with the file, or one thing to know; line from 1, 0: the file as a whole."""

    line: int
    what: str


class JobFile(NamedTuple):
    """`body`: a submission without its work directory; `workdir`: the folder to send along; `notices`: what of the file
    is not done as it says, and why."""

    body: dict[str, Any]
    workdir: Path | None
    notices: tuple[Fault, ...] = ()


class Wrong(Exception):
    """A value that cannot be used: what is wrong with it."""


class BadJobFile(click.ClickException):
    """Everything that is wrong with a job file, one line per fault."""

    exit_code = exits.USAGE

    def __init__(self, name: str, faults: Iterable[Fault]) -> None:
        self.faults = sorted(faults)
        shown = told(name, self.faults[:FAULTS_SHOWN])
        if len(self.faults) > FAULTS_SHOWN:
            shown.append(t("… and {count} more", count=len(self.faults) - FAULTS_SHOWN))
        super().__init__("\n".join(shown))

    def format_message(self) -> str:
        return t("the job file cannot be used\n{faults}", faults=self.message)


def told(name: str, faults: Iterable[Fault]) -> list[str]:
    """Faults or notices as lines that editors can follow: FILE:LINE: WHAT."""
    return [f"{name}:{f.line}: {f.what}" if f.line else f"{name}: {f.what}" for f in faults]


def text_of(path: Path) -> str:
    """The text of a job file; BadJobFile if it is none, too large, or cannot be read."""
    name = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise BadJobFile(name, [Fault(0, t("it is not a regular file"))])
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
        text = data.decode()
    except OSError as error:
        raise BadJobFile(name, [Fault(0, why(error))]) from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadJobFile(name, [Fault(line, t("the text is not UTF-8"))]) from error
    if len(data) > SIZE_MAX:
        what = t("the file is larger than {limit} bytes; put big inputs into workdir", limit=SIZE_MAX)
        raise BadJobFile(name, [Fault(0, what)])
    return text


def quoted(text: str, limit: int = QUOTED_MAX) -> str:
    """A value as a fault may show it: whole if it is short, otherwise only how long it is."""
    if len(text) <= limit and text.isprintable():
        return text
    return t("({count} characters)", count=len(text))


def key_of(name: str) -> str:
    """A key as a fault may show it."""
    return quoted(name, KEY_QUOTED_MAX)


def nearest(word: str, known: Iterable[str]) -> str:
    """What was probably meant, or ''."""
    near = get_close_matches(word[:KEY_QUOTED_MAX], list(known), n=1)
    return near[0] if near else ""


def signal_name(text: str) -> str:
    """SIGUSR1 of `USR1`, `sigusr1`, `10` …; Wrong for what no run can be sent."""
    numbers = {"15": "TERM", "2": "INT", "1": "HUP", "3": "QUIT", "10": "USR1", "12": "USR2", "18": "CONT"}
    upper = text.strip().upper()
    name = "SIG" + numbers.get(upper, upper.removeprefix("SIG"))
    if name not in SIGNALS:
        raise Wrong(
            t('"{text}" is not a signal to use; known: {known}', text=quoted(text), known=", ".join(SIGNALS))
        )
    return name
