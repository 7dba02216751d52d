# SPDX-License-Identifier: Apache-2.0
"""Makes week.csv: an invented week of 600 jobs of four tenants. `python make.py > week.csv` gives the same file again.

Nothing in it was recorded anywhere. It has the habits of recorded clusters: more arrivals by day than by night, mostly
small and short jobs, a few large and long ones that hold most of the GPU time.
"""

import csv
import random
import sys
from typing import Any, Final

JOBS: Final = 600
DAY_S: Final = 86_400
COLUMNS: Final = ("job_id", "tenant", "user", "submit_s", "duration_s", "gpus")
# tenant: share of the jobs, median length in s, GPUs to draw from
TENANTS: Final = {
    "werk-nord": (0.35, 5400, (1, 1, 4, 8, 16)),
    "funke-ai": (0.25, 2700, (1, 1, 1, 2, 4)),
    "uni-sued": (0.30, 1500, (1, 1, 1, 2, 8)),
    "stadt-see": (0.10, 900, (1, 1, 2)),
}


def rows(seed: int = 1) -> list[dict[str, Any]]:
    """The jobs in the order of their arrival; times in whole seconds."""
    chance = random.Random(seed)
    drawn = []
    names = list(TENANTS)
    shares = [share for share, _, _ in TENANTS.values()]
    while len(drawn) < JOBS:
        submit_s = int(chance.uniform(0, 7 * DAY_S))
        hour = submit_s % DAY_S // 3600
        if chance.random() > (1.0 if 8 <= hour < 19 else 0.25):
            continue  # nights are quiet
        tenant = chance.choices(names, shares)[0]
        _, median_s, sizes = TENANTS[tenant]
        duration_s = min(int(chance.lognormvariate(0, 1.3) * median_s) + 10, 2 * DAY_S)
        drawn.append(
            (submit_s, tenant, f"{tenant}-user{chance.randint(1, 5)}", duration_s, chance.choice(sizes))
        )
    return [
        dict(zip(COLUMNS, (number, tenant, user, submit_s, duration_s, gpus), strict=True))
        for number, (submit_s, tenant, user, duration_s, gpus) in enumerate(sorted(drawn), 1)
    ]


if __name__ == "__main__":
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows())
