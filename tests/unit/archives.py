# SPDX-License-Identifier: Apache-2.0
"""Work directories as clients send them, for tests."""

import gzip
import io
import tarfile


def archive(text: str = "print(1)") -> bytes:
    """A small compressed tar of one file with this text; the same bytes for the same text."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("train.py")
        info.size = len(text.encode())
        tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)
