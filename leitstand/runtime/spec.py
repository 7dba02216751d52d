# SPDX-License-Identifier: Apache-2.0
"""What a run executes: the part of a job that never enters the journal. Kept as an erasable record, named by digest.

Written by the faces into `stores.records`, read by engines at the start of a run.
"""

from typing import Final

import msgspec

OPERATOR: Final = "operator"  # the built-in tenant, which jobs of the admin token belong to


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a job keeps its checkpoints and how it is asked for a last one: `path` lies under a folder that all runs of
    the job share (absolute: as it is); `signal` and then up to `grace_s` seconds before the run is killed, 0: the
    engine's own. `every_s`: how often the job says it saves, 0: unknown."""

    path: str
    every_s: int = 0
    signal: str = "SIGTERM"
    grace_s: int = 0


class RunSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """`argv` runs as it is, or `script` by `bash`; `setup` (bash) runs before it on every task. `workdir`: SHA-256 of a
    tar archive in the blob store that is unpacked into the run's working directory. `secrets`: environment variable →
    `name@version` in the secret store; the values are nowhere but there and in the run's own environment."""

    name: str = ""
    argv: tuple[str, ...] = ()
    script: str = ""
    setup: str = ""
    envs: dict[str, str] = msgspec.field(default_factory=dict)
    workdir: str = ""
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    checkpoint: Checkpoint | None = None
