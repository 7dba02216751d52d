# SPDX-License-Identifier: Apache-2.0
"""Integer units of the core and the few places where they are made. Called by every room.

Time is integer microseconds (`_us`), CPU is thousandths of a core (`_milli`), memory is MiB (`_mib`).
"""

from typing import Final

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
MICRO: Final = 1_000_000  # millionths of a euro in one
GPU_HOUR_MILLI_US: Final = 1000 * HOUR_US  # thousandths of a GPU × µs

INT64_MAX: Final = 2**63 - 1


def seconds_to_us(seconds: float) -> int:
    """Microseconds nearest to `seconds` (ties to even); ValueError if it is not finite or exceeds 64 bits."""
    if not -INT64_MAX / SECOND_US < seconds < INT64_MAX / SECOND_US:
        raise ValueError(f"time of {seconds} s is outside of what 64-bit microseconds hold")
    return round(seconds * SECOND_US)
