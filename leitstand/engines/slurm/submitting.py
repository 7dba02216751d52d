# SPDX-License-Identifier: Apache-2.0
"""A run as a job of Slurm: its folder on the shared file system, and what slurmrestd is asked for. Called by the
engine's submitting threads."""

import os
import pwd
from typing import Final

import msgspec

from leitstand.core.units import SECOND_US
from leitstand.engines.refused import CannotStart
from leitstand.engines.slurm import script
from leitstand.engines.slurm.folder import RunFolder
from leitstand.engines.slurm.rest import Submission
from leitstand.engines.slurm.site import DIRECTED, Place
from leitstand.engines.slurm.topology import Partitions
from leitstand.engines.surroundings import work_of
from leitstand.runtime.ports import StartRun

MARGIN_MINUTES: Final = 2  # that Slurm's own time limit lies behind ours


class Prepared(msgspec.Struct, frozen=True):
    """A run whose folder is written. `user`: of the cluster, as whom it executes, '' as the token's."""

    place: Place
    order: StartRun
    name: str
    written: script.Written
    user: str

    @property
    def grace_s(self) -> float:
        """What it has between its signal and KILL."""
        return script.grace_us(self.written) / SECOND_US

    def submission(self, partitions: Partitions, gpu_type: str) -> Submission:
        """What Slurm is asked for: exact nodes of a directed site; of a delegated one so many, with GPUs of
        `gpu_type`."""
        place, order, run = self.place, self.order, self.written.run
        gpus = max(len(task.gpus) for task in order.tasks)
        cpus_milli, memory_mib = order.resources.part(gpus)
        nodes = tuple(place.slurm_node(task.node) for task in order.tasks) if place.mode == DIRECTED else ()
        limit_us = order.max_duration_us + script.grace_us(self.written)
        return Submission(
            name=self.name,
            script=script.batch(self.written),
            folder=str(run),
            output=str(run / "slurm.log"),
            count=len(order.tasks),
            gpus=gpus,
            gpu_type=gpu_type,
            cpus=max(1, -(-cpus_milli // 1000)),
            memory_mib=memory_mib,
            minutes=-(-limit_us // (60 * SECOND_US)) + MARGIN_MINUTES,
            partition=partitions.of(nodes),
            account=place.slurm.account,
            nodes=nodes,
        )


def prepared(place: Place, order: StartRun, name: str, folder: RunFolder) -> Prepared:
    """Write the folder of a run, `name` its job. Raises CannotStart, NotYet; OSError."""
    slurm = place.slurm
    user = slurm.users.get(order.tenant, "")
    written = script.Written(
        run=folder.path,
        site=place.name,
        order=order,
        work=work_of(order, place.around),
        grace_us=place.grace_us,
        checkpoint=slurm.folder / "checkpoints" / order.job,
        owner=_owner(user),
    )
    script.write(written)
    return Prepared(place, order, name, written, user)


def _owner(user: str) -> tuple[int, int] | None:
    """(uid, gid) of a user of the cluster, where the control plane may give files away. CannotStart: there is none."""
    if not user or os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise CannotStart("user_unknown", f"this machine knows no user {user}") from None
    return found.pw_uid, found.pw_gid
