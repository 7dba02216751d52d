# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the readers of job files and of batch scripts with atheris: no crash, no leak of a planted secret, no request
that is not JSON.

    python -m tests.fuzz.jobfiles yaml|sbatch [libFuzzer options] [CORPUS…]

`SECRET` in the input stands for the planted secret; corpora that hold it are best (`seeds` plants it in every value of
the files under tests/data). Ends with 77 on a broken promise, as libFuzzer does. Also called by
tests/unit/test_jobfile_fuzz.py.
"""

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

SECRET: Final = "hf_PlantedPlantedPlantedPlantedPlantedPl"
MARK: Final = "SECRET"
BREAKS: Final = ("\n", "\r", "\x85", "\u2028", "\u2029")  # what YAML takes for the end of a line
DATA: Final = Path(__file__).resolve().parents[1] / "data"
FOLDERS: Final = {"yaml": (DATA / "taskfiles", "*.yaml"), "sbatch": (DATA / "sbatch", "*.sbatch")}


def check(kind: str, text: str) -> None:
    """Read `text` as a job file or a batch script; AssertionError, or whatever else, is a broken promise."""
    from leitstand.cli import jobfile, sbatch
    from leitstand.cli.jobfile_faults import BadJobFile, Fault

    text = text.replace(MARK, SECRET)
    name = Path(f"job.{kind}")
    faults: list[Fault] = []
    said = ""
    try:
        job = jobfile.parse(text, name) if kind == "yaml" else sbatch.parse(text, name)
        json.dumps(job.body)
        told = list(job.notices)
    except BadJobFile as bad:
        faults, said = bad.faults, bad.format_message()
        told = faults
    assert faults or not said, "refused without a fault"
    last = sum(map(text.count, BREAKS)) + 1
    assert all(0 <= fault.line <= last for fault in told), "a line that is not there"
    said += " ".join(fault.what for fault in told)
    assert SECRET not in said, f"the planted secret is told: {said}"


def seeds(kind: str) -> Iterator[str]:
    """The files of the corpus, and each of them with the secret in the place of one of its values."""
    folder, pattern = FOLDERS[kind]
    value = r"(?<=: )[^\n{\[|]+" if kind == "yaml" else r"(?<=[= ])[^\s-]\S*"
    for path in sorted(folder.glob(pattern)):
        text = path.read_text()
        yield text
        for found in re.finditer(value, text):
            yield f"{text[: found.start()]}{MARK}{text[found.end() :]}"


def main() -> None:
    atheris = importlib.import_module("atheris")  # not everywhere, and without types

    kind = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if kind not in FOLDERS:
        raise SystemExit(f"{__doc__}")
    with atheris.instrument_imports(include=["leitstand.cli", "yaml"]):
        import leitstand.cli.jobfile
        import leitstand.cli.sbatch  # noqa: F401

    atheris.Setup(sys.argv, _one(kind))
    atheris.Fuzz()


def _one(kind: str) -> Callable[[bytes], None]:
    return lambda data: check(kind, data.decode(errors="replace"))


if __name__ == "__main__":
    main()
