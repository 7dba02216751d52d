# SPDX-License-Identifier: Apache-2.0
"""What a run executes: the part of a job that never enters the journal. Kept as an erasable record, named by digest.

Written by the faces into `stores.records`, read by engines at the start of a run.
"""

from typing import Final

import msgspec

OPERATOR: Final = "operator"  # the built-in tenant, which jobs of the admin token belong to


class RunSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """`argv` runs as it is, or `script` by `bash`; `setup` (bash) runs before it on every task. `workdir`: SHA-256 of a
    tar archive in the blob store that is unpacked into the run's working directory."""

    name: str = ""
    argv: tuple[str, ...] = ()
    script: str = ""
    setup: str = ""
    envs: dict[str, str] = msgspec.field(default_factory=dict)
    workdir: str = ""
