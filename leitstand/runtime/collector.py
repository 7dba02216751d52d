# SPDX-License-Identifier: Apache-2.0
"""When Python's garbage collector works. Called by the writer, and by benchmarks that measure what the writer does."""

import gc
from typing import Final

YOUNG: Final = 10_000  # objects more than before after which the youngest are walked; Python's own is 700


def settle() -> None:
    """What is there now lives long: the collector need not walk it again. A plan leaves it nothing to free
    (`tests/unit/test_garbage.py`), so it looks rarely; a pause of the whole heap would be longer than a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
