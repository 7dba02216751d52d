# SPDX-License-Identifier: Apache-2.0
"""Faults of the world, for tests: what SQLite says, files that take no more, no more files; and which tests are
about files alone."""

import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ON_FILES = pytest.mark.parametrize("folder", ["files"], indirect=True)  # what is about files of a store alone


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """An error as SQLite raises it with this (extended) code."""
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@contextmanager
def files_that_cannot_grow() -> Iterator[None]:
    """The operating system refuses every write past the first byte of a file, as a full disk or a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_more_files() -> Iterator[None]:
    """The process may not open another file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
