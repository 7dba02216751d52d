# SPDX-License-Identifier: Apache-2.0
"""What all tests share: marks by folder, a control plane of their own for system tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plane import Plane

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/system is a system test, whether it says so or not."""
    for item in items:
        if item.path.is_relative_to(TESTS / "system"):
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane with 8 logical GPUs, started for one module of tests."""
    with Plane(tmp_path_factory.mktemp("plane"), gpus=8) as running:
        yield running
