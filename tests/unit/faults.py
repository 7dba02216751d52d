# SPDX-License-Identifier: Apache-2.0
"""Faults of the world, for tests: what SQLite says, files that take no more, no more files; and which tests are
about files alone."""

import os
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ON_FILES = pytest.mark.parametrize("folder", ["files"], indirect=True)  # what is about files of a store alone


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """An error as SQLite raises it with this (extended) code."""
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


def sqlite_failing(code: int, statement: str) -> Callable[..., sqlite3.Connection]:
    """What may stand for `sqlite3.connect`: what begins with `statement` meets the error with this code."""

    class Failing(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql.startswith(statement):
                raise sqlite_error(code)
            return super().execute(sql, *values)

    connect = sqlite3.connect
    return lambda *given, **named: connect(*given, **named, factory=Failing)


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
