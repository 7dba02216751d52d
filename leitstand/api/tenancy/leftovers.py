# SPDX-License-Identifier: Apache-2.0
"""What runs of erased people left on the machines: logs, working directories, checkpoints. Called when a person is
erased, and by `leitstand.app.chores` for runs that ended only later, or when an erasure was cut short.
"""

import asyncio
import re
from typing import Final

from leitstand.api.context import Faces

_USER: Final = re.compile(r"u[1-9][0-9]*")  # ids are never given again, so who is not there was erased
PAUSE_EVERY: Final = 100  # jobs looked up between two moments in which requests are answered


async def erase_of_the_gone(faces: Faces) -> int:
    """Erase what is left of ended jobs whose submitter was erased; how many folders. OSError: do it again."""
    state = faces.follower.state
    doomed: set[str] = set()
    for number, job in enumerate(sorted(await asyncio.to_thread(faces.leftovers.jobs)), start=1):
        if number % PAUSE_EVERY == 0:
            await asyncio.sleep(0)
        if job in state.jobs:
            continue
        view = faces.reading.job(job)
        if view and _USER.fullmatch(view.job.user) and view.job.user not in state.people.users:
            doomed.add(job)
    return await asyncio.to_thread(faces.leftovers.erase_jobs, doomed) if doomed else 0
