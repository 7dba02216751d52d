# SPDX-License-Identifier: Apache-2.0
"""Writes one snapshot of the journal beside a live writer, with the lowest priority, and ends.

Started by the faces as `python -m leitstand.app.snapshot SETTINGS`; nobody waits for it.
"""

import os
import sys

from leitstand.app.serving import saying_why
from leitstand.app.settings import Settings
from leitstand.engines.local import process
from leitstand.journal import snapshots
from leitstand.journal.place import open_reader


def main() -> None:
    settings = Settings.from_json(sys.argv[1])
    os.nice(19)
    process.rank_when_short(process.OOM_RUN)  # another one can do it again
    with saying_why(settings), open_reader(settings.journal) as journal:
        state, head = snapshots.restore(journal, settings.snapshots)
        snapshots.write(settings.snapshots, state, head)


if __name__ == "__main__":
    main()
