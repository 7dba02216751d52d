# SPDX-License-Identifier: Apache-2.0
"""The watch of this machine's GPUs, by an NVML that is played here."""

import threading
from collections.abc import Callable
from queue import Empty, Queue
from types import SimpleNamespace
from typing import Any

import pytest

from leitstand.core.facts import NodeReported
from leitstand.engines.local import watch as watching
from leitstand.engines.local.gpus import LocalNode, LocalSite
from leitstand.engines.local.watch import GpuWatch, watch

XID, ECC = 8, 2
SITE = LocalSite(
    False, "H100", (LocalNode("node-1", ("0", "1"), 1000, 1000), LocalNode("node-2", ("2", "3"), 1000, 1000))
)


class Nvml:
    """`tell` is an event; `counts`: (GPU, what) → a number, or what is raised."""

    def __init__(self) -> None:
        class NVMLError(Exception):
            pass

        self.NVMLError = NVMLError
        self.NVMLError_Timeout = type("NVMLError_Timeout", (NVMLError,), {})
        self.NVMLError_GpuIsLost = type("NVMLError_GpuIsLost", (NVMLError,), {})
        self.nvmlEventTypeXidCriticalError, self.nvmlEventTypeDoubleBitEccError = XID, ECC
        self.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, self.NVML_VOLATILE_ECC = 1, 0
        self.counts: dict[tuple[int, str], Any] = {}
        self.listens: list[int] = []
        self.open = 0
        self._told: Queue[tuple[int, int, int]] = Queue()

    def tell(self, gpu: int, kind: int, data: int = 0) -> None:
        self._told.put((gpu, kind, data))

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    nvmlDeviceGetIndex = nvmlDeviceGetHandleByIndex

    def nvmlEventSetCreate(self) -> str:
        return "events"

    def nvmlDeviceRegisterEvents(self, handle: int, kinds: int, events: str) -> None:
        assert (kinds, events) == (XID | ECC, "events")
        self.listens.append(handle)

    def nvmlEventSetWait_v2(self, events: str, timeout_ms: int) -> Any:
        try:
            gpu, kind, data = self._told.get(timeout=0.005)
        except Empty:
            raise self.NVMLError_Timeout from None
        return SimpleNamespace(device=gpu, eventType=kind, eventData=data)

    def _count(self, handle: int, what: str) -> Any:
        found = self.counts.get((handle, what), 0)
        if isinstance(found, type):
            raise found
        return found

    def nvmlDeviceGetTotalEccErrors(self, handle: int, kind: int, counter: int) -> Any:
        assert (kind, counter) == (1, 0)
        return self._count(handle, "ecc")

    def nvmlDeviceGetRemappedRows(self, handle: int) -> tuple[int, int, Any, Any]:
        return 0, 0, self._count(handle, "pending"), self._count(handle, "failed")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    monkeypatch.setattr(watching, "LOOK_S", 0.0)
    return Nvml()


def seen(nvml: Nvml, happen: Callable[[], None], count: int) -> list[tuple[str, str, int, int]]:
    """What a watch reports of what happens once it has looked."""
    called = threading.Semaphore(0)
    made = GpuWatch(SITE, called.release, nvml)
    try:
        happen()
        for _ in range(count):
            assert called.acquire(timeout=30)
        reports: list[NodeReported] = made.take()
    finally:
        made.close()
    assert nvml.open == 0
    assert all(one.at_us > 0 for one in reports)
    return [(one.node, one.kind, one.code, one.gpu) for one in reports[:count]]


def test_events_of_the_driver_are_reported_with_their_node_and_gpu(nvml: Nvml) -> None:
    def happen() -> None:
        nvml.tell(3, XID, 79)
        nvml.tell(0, ECC)

    assert seen(nvml, happen, 2) == [("node-2", "xid", 79, 1), ("node-1", "ecc_uncorrected", 0, 0)]
    assert nvml.listens == [0, 1, 2, 3]


def test_what_counters_say_is_reported_when_it_grows(nvml: Nvml) -> None:
    nvml.counts[0, "ecc"] = 7  # of before: who watched then has said so
    nvml.counts[1, "pending"] = 1
    nvml.counts[2, "failed"] = 1
    found = seen(nvml, lambda: None, 2)
    assert found == [("node-1", "retired_pages", 0, 1), ("node-2", "remap_failed", 0, 0)]


def test_a_gpu_that_is_lost_is_reported_once(nvml: Nvml) -> None:
    nvml.counts[1, "ecc"] = nvml.NVMLError_GpuIsLost
    assert seen(nvml, lambda: None, 1) == [("node-1", "gpu_lost", 0, 1)]


def test_what_a_model_does_not_count_is_no_trouble(nvml: Nvml) -> None:
    nvml.counts[1, "ecc"] = nvml.NVMLError
    nvml.counts[1, "pending"] = nvml.NVMLError

    def happen() -> None:
        nvml.tell(1, XID, 48)

    assert seen(nvml, happen, 1) == [("node-1", "xid", 48, 1)]


def test_counted_gpus_are_not_watched() -> None:
    logical = LocalSite(True, "logical", SITE.nodes)
    assert watch(logical, lambda: None) is None
    assert watch(LocalSite(False, "H100", (LocalNode("node-1", (), 1, 1),)), lambda: None) is None
