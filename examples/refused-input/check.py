# SPDX-License-Identifier: Apache-2.0
"""Reads furnace temperatures and refuses a file with an impossible one. Run by job.yaml; fails on purpose.

Shows how a failed job looks: the message is in its log, its exit code is the job's exit code. Exit code 3: bad input.
"""

import csv
import sys
from pathlib import Path

ABSOLUTE_ZERO_C = -273.15
BAD_INPUT = 3


def main(path: Path) -> int:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    for number, row in enumerate(rows, start=1):
        temperature = float(row["celsius"])
        if temperature < ABSOLUTE_ZERO_C:
            print(
                f"{path}: reading {number} ({row['time']}): {temperature} °C lies below absolute zero "
                f"({ABSOLUTE_ZERO_C} °C). Is the sensor connected? Correct or remove the reading.",
                file=sys.stderr,
            )
            return BAD_INPUT
    print(
        f"{path}: {len(rows)} readings, mean {sum(float(row['celsius']) for row in rows) / len(rows):.1f} °C"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
