# SPDX-License-Identifier: Apache-2.0
"""What a synthetic workload is asked for, with the limits of what makes sense. Called by the generator and the CLI."""

from typing import Final

import msgspec

GPUS_MAX: Final = 200_000
GPUS_PER_NODE: Final = (8, 4, 2, 1)  # the first that divides the GPUs, unless one is asked for
DAYS_MAX: Final = 1830  # five years
LOAD_MAX: Final = 3.0
LOAD_MIN: Final = 0.01
GROWTH_MIN: Final = -0.9
GROWTH_MAX: Final = 9.0
SEED_MAX: Final = 2**63 - 1
GPU_DAYS_MIN: Final = 8
GPU_DAYS_MAX: Final = 12_000_000  # about 20 million jobs, the most that a trace may have
HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S


class DemandError(ValueError):
    """A demand that makes no sense: the message names the parameter, its value, the limit and the remedy."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """`load`: GPU time of all jobs submitted over that of the cloud in `days`. `growth`: of the demand in a year, as a
    part: 0.3 is 30 % more; `load` is then that of the whole time. `gpus_per_node`: None is the largest of 8, 4, 2 and 1
    that divides `gpus`."""

    gpus: int
    days: int
    load: float = 0.95
    seed: int = 1
    growth: float = 0.0
    gpus_per_node: int | None = None

    @property
    def hours(self) -> int:
        """Hours from the first to the end."""
        return self.days * 24

    @property
    def horizon_s(self) -> int:
        """Seconds from the first to the end."""
        return self.days * DAY_S

    @property
    def node_gpus(self) -> int:
        """GPUs of each node."""
        return self.gpus_per_node or next(size for size in GPUS_PER_NODE if self.gpus % size == 0)

    @property
    def nodes(self) -> int:
        """Nodes of the cloud."""
        return self.gpus // self.node_gpus


def checked(demand: Demand) -> Demand:
    """`demand`, if it makes sense; DemandError names what does not."""
    _within("gpus", demand.gpus, 1, GPUS_MAX, "ask for a cloud of another size")
    _within("days", demand.days, 1, DAYS_MAX, "ask for fewer days, or for several seeds")
    _within("load", demand.load, LOAD_MIN, LOAD_MAX, "1 is as much work as the cloud can do")
    _within("seed", demand.seed, 0, SEED_MAX, "take any whole number in between")
    _within("growth", demand.growth, GROWTH_MIN, GROWTH_MAX, "0.3 is 30 % more in a year")
    per_node = demand.gpus_per_node
    if per_node is not None:
        _within("gpus-per-node", per_node, 1, 1024, "8 is usual")
        if demand.gpus % per_node:
            below = demand.gpus - demand.gpus % per_node
            raise DemandError(
                f"gpus is {demand.gpus}, no multiple of {per_node} GPUs per node; ask for {below or per_node} or "
                f"{below + per_node} GPUs, or for other nodes"
            )
    gpu_days = demand.gpus * demand.days * demand.load
    if gpu_days < GPU_DAYS_MIN:
        raise DemandError(
            f"gpus × days × load is {gpu_days:g} GPU-days, less than {GPU_DAYS_MIN}: hardly a job; ask for more GPUs, "
            "days or load"
        )
    if gpu_days > GPU_DAYS_MAX:
        raise DemandError(
            f"gpus × days × load is {gpu_days:.0f} GPU-days, more than {GPU_DAYS_MAX}: more jobs than a trace may "
            "have; ask for fewer GPUs or days"
        )
    return demand


def _within(name: str, value: float, least: float, most: float, remedy: str) -> None:
    if not least <= value <= most:
        raise DemandError(f"{name} is {value:g}, not in {least:g}..{most:g}; {remedy}")
