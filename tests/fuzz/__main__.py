# SPDX-License-Identifier: Apache-2.0
"""Runs the fuzz targets with atheris: mutated input, guided by the code that it reaches. `make fuzz` calls it.

    python -m tests.fuzz all SECONDS            every target for so long; ends with 1 if a promise was broken
    python -m tests.fuzz TARGET [libFuzzer options] [FILE…]     one target, or what one FILE makes of it

What was found worth keeping stays in build/fuzz/TARGET; an input that breaks a promise is left there as crash-….
"""

import importlib
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.fuzz.jobfiles import FOLDERS

HOME: Final = Path("build/fuzz")
OF_REQUESTS: Final = ("requests", "doors")
TARGETS: Final = (
    *OF_REQUESTS,
    *("codec", "wire", "export", "heads", "journal", "policies", "provider", "words", "cluster"),
    *(f"trace-{name}" for name in ("parquet", "csv", "swf", "sacct", "sacct-json", "kubernetes", "kueue")),
    *FOLDERS,
)
INPUT_BYTES_MAX: Final = 8192
JOURNAL_BYTES_MAX: Final = 65_536  # a whole database
ONE_INPUT_S: Final = 25
GRACE_S: Final = 120.0  # to start, and to end the last input


def main() -> None:
    if sys.argv[1:2] == ["all"]:
        raise SystemExit(run_all(float(sys.argv[2])))
    if sys.argv[1:2] and sys.argv[1] in TARGETS:
        fuzz(sys.argv[1], sys.argv[2:])
    raise SystemExit(f"{__doc__}\nTargets: {', '.join(TARGETS)}")


def run_all(seconds: float) -> int:
    """Every target in a process of its own; 1 if any of them broke a promise or did not run."""
    broken = 0
    for target in TARGETS:
        corpus = HOME / target
        corpus.mkdir(parents=True, exist_ok=True)
        options = [f"-max_total_time={int(seconds)}", f"-artifact_prefix={corpus}/", str(corpus)]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", target, *options],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=seconds + GRACE_S + ONE_INPUT_S, check=False,
        )  # fmt: skip
        counts = re.findall(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
        well = done.returncode == 0 and counts
        broken |= not well
        told = f"{counts[-1]:>9} inputs" if well else "A PROMISE IS BROKEN"
        print(f"{target:10} {told} in {time.monotonic() - began:.0f} s", flush=True)
        if not well:
            print(done.stderr[-6000:], flush=True)
    return broken


def fuzz(target: str, options: list[str]) -> None:
    """Feeds one target; does not return."""
    atheris = importlib.import_module("atheris")  # not everywhere, and without types
    rooms = [f"leitstand.{room}" for room in ("access", "api", "app", "cli", "journal", "runtime", "twin")]
    with atheris.instrument_imports(include=[*rooms, "tests.fuzz"]):
        take = _target(target)
    # Decoders in C show no code that is reached: their seeds are kept, and inputs may be long from the start.
    limits = [
        "-keep_seed=1",
        "-len_control=0",
        f"-max_len={_bytes_max(target)}",
        f"-timeout={ONE_INPUT_S}",
        "-rss_limit_mb=4096",
    ]
    atheris.Setup([sys.argv[0], *limits, *options], take)
    atheris.Fuzz()


def _target(target: str) -> Callable[[bytes], Any]:
    if target in OF_REQUESTS:
        return _requests(target)
    if target in FOLDERS:
        from tests.fuzz import jobfiles

        _seed(target, [text.encode() for text in jobfiles.seeds(target)])
        return lambda data: jobfiles.check(target, data.decode(errors="replace"))
    from tests.fuzz.parsers import READERS

    _seed(target, list(READERS[target].seeds()))
    return READERS[target].check


def _requests(target: str) -> Callable[[bytes], Any]:
    """The same strategies as in the tests; the input decides what they draw."""
    from hypothesis import HealthCheck, given, settings

    from tests.fuzz import requests
    from tests.fuzz.asking import Town, routes

    _seed(target, [random.Random(number).randbytes(2048) for number in range(64)])
    town = Town()
    drawn = getattr(requests, target)(routes(town))
    hasty = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    decided: Any = given(drawn)
    asked: Any = hasty(decided(town.ask))
    take: Callable[[bytes], Any] = asked.hypothesis.fuzz_one_input
    return take


def _seed(target: str, seeds: list[bytes]) -> None:
    """Puts what is right into the corpus, once."""
    corpus = HOME / target
    if corpus.is_dir():
        for number, seed in enumerate(seeds):
            if len(seed) <= _bytes_max(target):
                (corpus / f"seed-{number:04}").write_bytes(seed)


def _bytes_max(target: str) -> int:
    return JOURNAL_BYTES_MAX if target == "journal" else INPUT_BYTES_MAX


if __name__ == "__main__":
    main()
