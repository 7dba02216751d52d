# SPDX-License-Identifier: Apache-2.0
"""Measures what is promised: `python bench/run.py [NAME …]`, `make bench`.

Every other module of this folder has `measure()`, which returns name -> {"value", "unit", "target", "ok"}; where an
input is absent, also "skipped": why. Each runs in a process of its own. The result is a table and build/bench.json;
with names, only those modules run (those of LONG only so) and their figures replace the older ones in the file. Exit
code 1 if a target was missed or a module failed: both are said by name.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "build" / "bench.json"
SECONDS_MAX = 1800
LONG = {
    "failover": SECONDS_MAX,
    "forecast": 6 * 3600,
    "scale": SECONDS_MAX,
    "shares": SECONDS_MAX,
    "slurm": 2 * SECONDS_MAX,
    "months": 6 * 3600,
    "postgres": SECONDS_MAX,
    "simulators": SECONDS_MAX,
    "speed": 2 * SECONDS_MAX,
    "watched": 2 * SECONDS_MAX,
}  # measured only by name; seconds that they may take

Figures = dict[str, dict[str, Any]]


def main(names: list[str]) -> int:
    modules = sorted(
        path.stem for path in (ROOT / "bench").glob("*.py") if path.stem not in ("run", "__init__")
    )
    unknown = [name for name in names if name not in modules]
    if unknown:
        print(f"bench: no module {', '.join(unknown)}; known: {', '.join(modules)}", file=sys.stderr)
        return 2

    figures: Figures = {}
    troubles = []
    for name in names or [module for module in modules if module not in LONG]:
        print(f"bench: {name} …", flush=True)
        measured, trouble = measure(name)
        if trouble:
            troubles.append(f"{name}: {trouble}")
        skipped = measured.pop("skipped", None)
        if skipped:
            print(f"bench: {name} skipped: {skipped}")
        figures |= measured

    print(table(figures))
    missed = [name for name, figure in figures.items() if not figure["ok"]]
    older: Figures = json.loads(RESULT.read_text()) if names and RESULT.exists() else {}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(older | figures, indent=2) + "\n")
    print(f"{len(figures)} figures in {RESULT.relative_to(ROOT)}, {len(missed)} missed their target")
    for line in [*(f"MISSED {name}" for name in missed), *(f"FAILED {trouble}" for trouble in troubles)]:
        print(line, file=sys.stderr)
    return 1 if missed or troubles else 0


def measure(name: str) -> tuple[Any, str]:
    """What the module measured, and what went wrong ('' for nothing)."""
    code = f"import json, sys, bench.{name} as module; json.dump(module.measure(), open(sys.argv[1], 'w'))"
    answer = ROOT / "build" / f"bench.{name}.json"
    answer.parent.mkdir(exist_ok=True)
    answer.unlink(missing_ok=True)
    # byte code is cached as in any installation, whatever the shell around this says
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(answer)],
            cwd=ROOT,
            env=environment,
            timeout=LONG.get(name, SECONDS_MAX),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, f"still running after {LONG.get(name, SECONDS_MAX)} s"
    if done.returncode != 0:
        return {}, f"ended with exit code {done.returncode}"
    measured = json.loads(answer.read_text())
    answer.unlink()
    return measured, ""


def table(figures: Figures) -> str:
    """One line a figure."""
    rows = [("what", "value", "unit", "target", "")]
    for name, figure in figures.items():
        value = figure["value"]
        shown = (
            f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if value < 1000 else f"{value:,.2f}"
        )
        rows.append((name, shown, figure["unit"], str(figure["target"]), "ok" if figure["ok"] else "MISSED"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for what, value, unit, target, ok in rows:
        lines.append(
            f"{what:<{widths[0]}}  {value:>{widths[1]}}  {unit:<{widths[2]}}  {target:>{widths[3]}}  {ok}".rstrip()
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
