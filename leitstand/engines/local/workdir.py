# SPDX-License-Identifier: Apache-2.0
"""Unpacks the archive of a job's working directory. Imported by the supervisor only for jobs that have one."""

import tarfile
from collections.abc import Callable

BYTES_MAX = 16 * 1024**3
ENTRIES_MAX = 200_000


class BadArchive(Exception):
    """The archive cannot be unpacked: a word of `record.DETAILS`, then a line for the person who reads the log."""


def unpack(archive: str, target: str, give_up: Callable[[], bool]) -> None:
    """Unpacks the tar archive (also compressed) into `target`; nothing can land outside of it. Ends early, without an
    error, when `give_up` says so. Raises BadArchive; OSError when the disk refuses."""
    if not hasattr(tarfile, "data_filter"):
        raise BadArchive("workdir_unreadable", "safe unpacking needs Python 3.11.4 or newer")
    size = 0
    try:
        with tarfile.open(archive) as tar:
            for count, entry in enumerate(tar, start=1):
                size += entry.size
                if count > ENTRIES_MAX or size > BYTES_MAX:
                    limit = f"{ENTRIES_MAX} entries and {BYTES_MAX} bytes"
                    raise BadArchive("workdir_too_large", f"the working directory exceeds {limit}")
                if give_up():
                    return
                tar.extract(entry, target, filter="data")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadArchive(
            "workdir_unreadable", f"the working directory cannot be unpacked: {error}"
        ) from error
