# SPDX-License-Identifier: Apache-2.0
"""A Slurm batch script turned into the body of a submission: its `#SBATCH` lines, as Slurm reads them.

Called by `leitstand.cli.request`. Lines count up to the first command; what is passed over is told with the reason,
and what would make another job of it is refused (docs/jobfile.md).
"""

import os
import re
import shlex
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from leitstand.cli import sbatch_shape
from leitstand.cli.jobfile import COMPAT
from leitstand.cli.jobfile_faults import (
    VARIABLE,
    BadJobFile,
    Fault,
    JobFile,
    Wrong,
    key_of,
    nearest,
    quoted,
    text_of,
)
from leitstand.cli.sbatch_options import LETTERS, OPTIONS, Given, T
from leitstand.cli.sbatch_shell import prelude
from leitstand.cli.sbatch_values import Numbers, dependencies, moment, numbers, signal, time_s
from leitstand.cli.text import t

SUFFIXES: Final = (".sbatch", ".slurm", ".sh", ".bash")
REQUEUES: Final = 5  # how often `--requeue` tries again after a failure that is not the job's own
CHECKPOINTS: Final = "checkpoints"
_SHELLS: Final = ("sh", "bash", "dash")
_MARK: Final = "#SBATCH"
_OTHERS: Final = ("#PBS", "#BSUB", "#COBALT", "#OAR", "#MSUB")
_MPI: Final = re.compile(r"\bmpi(?:run|exec)\b")
_HET: Final = ("hetjob", "packjob")


def read(path: Path, arguments: Sequence[str] = ()) -> JobFile:
    """The job in a script; BadJobFile with all faults. `arguments` are the script's own ($1, $2 …)."""
    return parse(text_of(path), path, arguments)


def parse(text: str, path: Path, arguments: Sequence[str] = ()) -> JobFile:
    """The job in `text`; `path` names it in errors and in listings."""
    reader = _Reader(path)
    body, workdir = reader.body(text, arguments)
    if reader.faults:
        raise BadJobFile(str(path), reader.faults)
    return JobFile(body, workdir, tuple(sorted(reader.notices)))


class _Reader:
    """Reads the lines once; collects the faults and the notices."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[Fault] = []
        self.notices: list[Fault] = []
        self.current = Given(0, "", None)

    def body(self, text: str, arguments: Sequence[str]) -> tuple[dict[str, Any], Path | None]:
        letters = self.interpreter(text)
        given = self.accepted(self.written(text))
        found: dict[str, Any] = {"name": self.path.name if self.path.name.isprintable() else ""}
        envs: dict[str, str] = {}
        if given or "SLURM_" in text or "srun" in text:
            shape = sbatch_shape.of(given, self)
            found |= shape.body
            self.over_nodes(text, shape.body.get("num_nodes", 1))
            envs = {COMPAT: "slurm", **shape.envs}
        readings = {
            "job-name": _name,
            "time": self.time,
            "no-requeue": _no_requeue,
            "requeue": _requeue,
            "signal": self.signal,
            "begin": lambda value: {"begin": moment(value, _now())},
            "deadline": lambda value: {"deadline": moment(value, _now())},
            "dependency": lambda value: {"after": dependencies(value)},
            "hold": lambda _: {"held": True},
        }
        for name, reading in readings.items():
            if name in given:
                found |= self.guarded(given[name], reading) or {}
        if "array" in given and (numbers := self.guarded(given["array"], self.array)):
            found["array"] = numbers.size
            envs |= {
                "SLURM_ARRAY_TASK_MIN": str(numbers.first),
                "SLURM_ARRAY_TASK_STEP": str(numbers.step),
            }
        if "export" in given:
            envs |= self.guarded(given["export"], self.export) or {}
        if "input" in given and given["input"].value not in ("none", "/dev/null"):
            self.fault(given["input"], t("a job has no standard input; redirect it in the script"))
        if envs:
            found["envs"] = envs
        found["run"] = _with_first(prelude(text, letters, arguments), text)
        return found, self.guarded(given["chdir"], _folder) if "chdir" in given else None

    def over_nodes(self, text: str, nodes: int) -> None:
        """What is different from Slurm in a job of several nodes."""
        if nodes == 1:
            return
        what = t(
            "the script runs on each of the {nodes} nodes; in it, srun runs a command once for every task"
        )
        self.notices.append(Fault(0, what.format(nodes=nodes)))
        for number, line in enumerate(text.split("\n"), 1):
            if _MPI.search(line.partition("#")[0]):
                what = t(
                    "mpirun over several nodes is not supported; start the tasks with srun, or take one node"
                )
                self.faults.append(Fault(number, what))

    def interpreter(self, text: str) -> str:
        """The options for `set` of the first line, which names the interpreter as Slurm wants it."""
        first, _, rest = text.partition("\n")
        if "\r" in first or "\r\n" in rest:
            line = text[: text.index("\r")].count("\n") + 1
            self.faults.append(Fault(line, t("the lines end as on Windows; convert the file with dos2unix")))
        if "\0" in text:
            self.faults.append(Fault(text[: text.index("\0")].count("\n") + 1, t("there is a NUL character")))
        if not text.strip():
            self.faults.append(Fault(0, t("the script is empty")))
            return ""
        if not first.startswith("#!"):
            if any(line.startswith(_MARK) for line in text.split("\n")):
                self.faults.append(Fault(1, t("a batch script begins with a line like #!/bin/bash")))
            return ""
        words = first[2:].split()
        if words and words[0].endswith("/env"):
            words = [word for word in words[1:] if word != "-S"]
        shell = words[0].rpartition("/")[2] if words else ""
        if shell not in _SHELLS:
            what = t("only scripts for bash or sh can be run, not for {shell}; call it in such a script")
            self.faults.append(Fault(1, what.format(shell=quoted(shell))))
        letters = "".join(word[1:] for word in words[1:] if re.fullmatch("-[a-zA-Z]+", word))
        if "l" in letters or "--login" in words:
            self.notices.append(Fault(1, t("login files are not read; set what the script needs in itself")))
        return "".join(letter for letter in dict.fromkeys(letters) if letter in "aefuxv")

    def written(self, text: str) -> list[Given]:
        """The options of all `#SBATCH` lines before the first command."""
        found: list[Given] = []
        begun = False
        for number, line in enumerate(text.split("\n"), 1):
            if begun or (line.strip() and not line.lstrip().startswith("#")):
                begun = True
                if line.startswith(_MARK):
                    what = t("this line stands after the first command, where Slurm does not read it either")
                    self.notices.append(Fault(number, what))
                continue
            if line.startswith(_MARK) and not line[len(_MARK) :][:1].strip():
                found += self.words(number, line[len(_MARK) :])
            elif line.startswith(_OTHERS):
                self.notices.append(Fault(number, t("only lines with #SBATCH are read")))
        return found

    def words(self, number: int, line: str) -> list[Given]:
        """The options in one line, long and short, with `=`, blanks or nothing before their values."""
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            self.faults.append(Fault(number, t("a quotation mark is not closed")))
            return []
        found: list[Given] = []
        while words:
            word = words.pop(0)
            if word in _HET or word == ":":
                what = t("jobs of several parts are not supported; submit one job per part")
                self.faults.append(Fault(number, what))
            elif word.startswith("--") and len(word) > 2:
                found += self.long(number, word, words)
            elif word.startswith("-") and len(word) > 1 and word != "--":
                found += self.short(number, word, words)
            else:
                self.faults.append(Fault(number, t('"{word}" is not an option', word=quoted(word))))
        return found

    def long(self, number: int, word: str, rest: list[str]) -> list[Given]:
        name, equals, value = word[2:].partition("=")
        full = [known for known in OPTIONS if known.startswith(name)]
        if name in OPTIONS or len(full) == 1:
            name = name if name in OPTIONS else full[0]
        elif full:
            what = t(
                '"--{name}" may mean {options}',
                name=key_of(name),
                options=", ".join(f"--{o}" for o in full[:5]),
            )
            self.faults.append(Fault(number, what))
            return []
        else:
            self.faults.append(Fault(number, _unknown(name)))
            return []
        takes = OPTIONS[name].takes
        if takes == "=" and not equals:
            if not rest:
                self.faults.append(Fault(number, t('"--{name}" has no value', name=name)))
                return []
            return [Given(number, name, rest.pop(0))]
        if equals and not takes:
            self.faults.append(Fault(number, t('"--{name}" takes no value', name=name)))
            return []
        return [Given(number, name, value if equals else None)]

    def short(self, number: int, word: str, rest: list[str]) -> list[Given]:
        found: list[Given] = []
        for at, letter in enumerate(word[1:], 1):
            name = LETTERS.get(letter)
            if name is None:
                self.faults.append(Fault(number, t('unknown option "-{letter}"', letter=quoted(letter))))
                return found
            if OPTIONS[name].takes == "":
                found.append(Given(number, name, None))
                continue
            value = word[at + 1 :]
            if not value and OPTIONS[name].takes == "=":
                if not rest:
                    self.faults.append(Fault(number, t('"-{letter}" has no value', letter=letter)))
                    return found
                value = rest.pop(0)
            return [*found, Given(number, name, value)]
        return found

    def accepted(self, written: list[Given]) -> dict[str, Given]:
        """The options to be done, the last of each name; the others become notices and faults."""
        found: dict[str, Given] = {}
        for one in written:
            option = OPTIONS[one.name]
            if option.refused:
                what = t('"--{name}" is not supported: {remedy}', name=one.name, remedy=t(option.refused))
                self.fault(one, what)
            elif option.ignored:
                self.notice(one, t('"--{name}" is passed over: {why}', name=one.name, why=t(option.ignored)))
            else:
                found[one.name] = one
        return found

    def guarded(self, one: Given, reading: Callable[[str], T]) -> T | None:
        """What `reading` makes of the value of an option; None, and a fault, if it cannot."""
        self.current = one
        try:
            return reading(one.value or "")
        except Wrong as wrong:
            self.fault(one, f"--{one.name}: {wrong}")
            return None

    def time(self, value: str) -> dict[str, Any]:
        seconds = time_s(value)
        if seconds:
            return {"max_duration": seconds}
        self.say(t("no job is without a limit; it has the longest that its class allows by default"))
        return {}

    def array(self, value: str) -> Numbers:
        found = numbers(value)
        if found.at_once:
            self.say(t("as many run at once as there is room for, not {limit} at most", limit=found.at_once))
        return found

    def signal(self, value: str) -> dict[str, Any]:
        name, before = signal(value)
        what = t(
            "{signal} comes to all processes of the job when its time is over, not before; then it has {seconds} s",
            signal=name,
            seconds=before,
        )
        self.say(what)
        return {"checkpoint": {"path": CHECKPOINTS, "signal": name, **({"grace": before} if before else {})}}

    def export(self, value: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in value.split(","):
            name, equals, content = part.strip().partition("=")
            if name == "ALL" and not equals:
                self.say(t("your environment is not passed on; name what the job needs: --env NAME"))
            elif name in ("NONE", "NIL", "") and not equals:
                continue
            elif not VARIABLE.fullmatch(name):
                raise Wrong(
                    t('"{key}" is not the name of a variable: letters, digits and _', key=key_of(name))
                )
            elif equals:
                found[name] = content
            elif name in os.environ:
                found[name] = os.environ[name]
            else:
                self.say(t("{name} is not set here and not passed on", name=key_of(name)))
        return found

    def say(self, what: str) -> None:
        """A notice about the option that is being read."""
        self.notice(self.current, what)

    def fault(self, one: Given, what: str) -> None:
        self.faults.append(Fault(one.line, what))

    def notice(self, one: Given, what: str) -> None:
        self.notices.append(Fault(one.line, what))


def _now() -> datetime:
    return datetime.now().astimezone()


def _name(value: str) -> dict[str, Any]:
    return {"name": value}


def _requeue(_: str) -> dict[str, Any]:
    return {"retry": {"max": REQUEUES, "on": ["lost", "start_failed"]}}


def _no_requeue(_: str) -> dict[str, Any]:
    """Not even if a node fails: what is to be retried is named, without `lost`, and no retry is left."""
    return {"retry": {"max": 0, "on": ["exit_code"]}}


def _folder(value: str) -> Path:
    """The folder to send along, from where the command is typed, as in Slurm."""
    folder = Path(value)
    try:
        good = bool(value) and folder.expanduser().is_dir()
    except (RuntimeError, ValueError, OSError):  # no such home, a NUL, a name too long
        good = False
    if not good:
        raise Wrong(t("there is no folder {folder} here to send along", folder=quoted(value)))
    return folder.expanduser()


def _with_first(before: str, text: str) -> str:
    """The script with a line of our own in the place of its first one, so that all others keep their numbers."""
    if not before:
        return text
    first, newline, rest = text.partition("\n")
    return f"{before}{newline or chr(10)}{rest}" if first.startswith("#") else f"{before}; {text}"


def _unknown(name: str) -> str:
    near = nearest(name, OPTIONS)
    if near:
        return t('unknown option "--{name}"; did you mean "--{near}"?', name=key_of(name), near=near)
    return t('unknown option "--{name}"; docs/jobfile.md lists what is known', name=key_of(name))
