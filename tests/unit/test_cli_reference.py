# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md is what the commands say of themselves."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_what_the_commands_say() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "tests.cli_reference"],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "de_DE.UTF-8", "HOME": "/home/nobody"},  # in English wherever it is made
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    page = (ROOT / "docs" / "cli.md").read_text()
    assert made.stdout == page, "write it anew: python -m tests.cli_reference > docs/cli.md"
