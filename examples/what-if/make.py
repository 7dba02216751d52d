# SPDX-License-Identifier: Apache-2.0
"""Makes months.csv: five months of invented training runs of four tenants, few and long. Same numbers everywhere.

Run `python examples/what-if/make.py > examples/what-if/months.csv` to make it anew.
"""

import math
import random

DAYS = 151
JOBS = 240
# tenant, part of the jobs, GPUs of a job, typical hours of a job
TENANTS = (
    ("werk-nord", 0.36, (2, 4, 8, 16), 50),
    ("funke-ai", 0.14, (2, 4, 8), 30),
    ("uni-sued", 0.42, (4, 8, 8, 16), 75),
    ("stadt-see", 0.08, (2, 4), 24),
)


def main() -> None:
    chance = random.Random(2027)
    at = sorted(chance.uniform(0, DAYS * 86_400) for _ in range(JOBS))
    print("job_id,tenant,submit_s,duration_s,gpus")
    for number, submit_s in enumerate(at, 1):
        tenant, _, sizes, hours = chance.choices(TENANTS, [part for _, part, _, _ in TENANTS])[0]
        duration_s = hours * 3600 * math.exp(chance.gauss(0, 0.8))
        print(f"{number},{tenant},{submit_s:.0f},{duration_s:.0f},{chance.choice(sizes)}")


if __name__ == "__main__":
    main()
