# SPDX-License-Identifier: Apache-2.0
"""What all tests share: marks by folder, a control plane of their own for system tests, and examples: every run of the
suite tries the same ones, so that what is red was made red by a change; LEITSTAND_HUNT=1000 looks for new ones."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.plane import Plane

TESTS = Path(__file__).parent

settings.register_profile("same", derandomize=True, database=None, deadline=None)
if "LEITSTAND_HUNT" not in os.environ:
    settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/system is a system test, whether it says so or not."""
    for item in items:
        if item.path.is_relative_to(TESTS / "system"):
            item.add_marker(pytest.mark.system)


@pytest.fixture(autouse=True)
def as_important_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that makes itself less important, called by a test, leaves the tests after it as they are."""
    monkeypatch.setattr(os, "nice", lambda increment: 0)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane with 8 logical GPUs, started for one module of tests."""
    with Plane(tmp_path_factory.mktemp("plane"), gpus=8) as running:
        yield running
