# SPDX-License-Identifier: Apache-2.0
"""A verified copy of a journal, taken while it is in use. Called by `leitstand journal backup`.

The journal is all that cannot be made again. Keys, records and blobs are ordinary files of the data folder: copy them
with whatever copies files.
"""

import os
from pathlib import Path

from leitstand.journal.place import open_reader
from leitstand.journal.verify import Report, verify


def backup(path: Path, target: Path) -> Report:
    """Copies the journal at `path` to the new file `target`, also beside a live writer, and verifies the copy.

    FileExistsError if there is a `target`, OSError if it cannot be written, JournalUnusable if the journal cannot be
    read; a copy that does not verify is removed, its report returned.
    """
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists; name a new file")
    draft = target.with_name(target.name + ".partial")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with open_reader(path) as reader:
            reader.copy_to(draft)
        report = verify(draft)
        if report.ok:
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            os.link(draft, target)  # refuses to overwrite, unlike a rename
    finally:
        for leftover in (draft, *(draft.with_name(draft.name + end) for end in ("-wal", "-shm", "-journal"))):
            leftover.unlink(missing_ok=True)
    return report
