# SPDX-License-Identifier: Apache-2.0
"""A progress bar on a terminal's standard error. Called by commands that take long."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Told = Callable[[float, int], None]


@contextmanager
def bar(what: str) -> Iterator[Told | None]:
    """What to call with how much is done, and of how many; None where nobody looks. `what`: is counted."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    counted = TextColumn("{task.completed:.0f}/{task.total}")
    columns = (TextColumn("{task.description}"), BarColumn(), counted, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
