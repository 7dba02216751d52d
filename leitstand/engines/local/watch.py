# SPDX-License-Identifier: Apache-2.0
"""Watches the real GPUs of this machine through NVML and says what is wrong with them. Made by the writer, asked by the
local engine before it reports the ends of runs, so that who died of a GPU is known to have.

A thread waits for the driver's events (Xids, memory errors of two bits), which come within milliseconds, and looks at
counters every LOOK_S. A machine without GPUs, or without NVML, has no watch.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from leitstand.core.facts import NodeReported
from leitstand.core.health.table import XID, XID_MAX
from leitstand.engines.local.gpus import LocalSite

LOOK_S: Final = 10.0  # between looks at counters
EVENT_MS: Final = 1_000  # that one wait for an event takes at most
REPORTS_MAX: Final = 1_000  # that wait to be taken; the oldest go first

_log = logging.getLogger(__name__)


class GpuWatch:
    """`nvml`: the binding, initialised here. `wake()`: `take` has something."""

    def __init__(self, site: LocalSite, wake: Callable[[], None], nvml: Any) -> None:
        self._nvml = nvml
        self._wake = wake
        self._where = {
            int(device): (node.node, gpu) for node in site.nodes for gpu, device in enumerate(node.devices)
        }
        self._found: deque[NodeReported] = deque(maxlen=REPORTS_MAX)
        self._states: dict[tuple[int, str], int] = {}  # GPU, trouble → as it was at the last look
        self._ending = threading.Event()
        nvml.nvmlInit()
        self._handles = {index: nvml.nvmlDeviceGetHandleByIndex(index) for index in self._where}
        self._events = self._listen()
        self._thread = threading.Thread(target=self._watch, name="gpu-watch", daemon=True)
        self._thread.start()

    def take(self) -> list[NodeReported]:
        """What was seen since the last call."""
        return [self._found.popleft() for _ in range(len(self._found))]

    def close(self) -> None:
        """The watch is over."""
        self._ending.set()
        self._thread.join()
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _listen(self) -> Any:
        """The set of events of all GPUs; None where the driver has none."""
        nvml = self._nvml
        try:
            events = nvml.nvmlEventSetCreate()
            kinds = nvml.nvmlEventTypeXidCriticalError | nvml.nvmlEventTypeDoubleBitEccError
            for handle in self._handles.values():
                nvml.nvmlDeviceRegisterEvents(handle, kinds, events)
        except nvml.NVMLError as error:
            _log.warning("NVML has no events here, only counters are looked at: %s", error)
            return None
        return events

    def _watch(self) -> None:
        looked_s = -LOOK_S
        while not self._ending.is_set():
            if time.monotonic() >= looked_s + LOOK_S:
                for index, handle in self._handles.items():
                    self._look(index, handle)
                looked_s = time.monotonic()
            if self._events is None:
                self._ending.wait(EVENT_MS / 1000)
            else:
                self._await()

    def _await(self) -> None:
        """One event, if there is one soon."""
        nvml = self._nvml
        try:
            event = nvml.nvmlEventSetWait_v2(self._events, EVENT_MS)
            index = nvml.nvmlDeviceGetIndex(event.device)
        except nvml.NVMLError_Timeout:
            return
        except nvml.NVMLError as error:
            _log.warning("NVML tells no events now: %s", error)
            self._ending.wait(EVENT_MS / 1000)
            return
        if event.eventType & nvml.nvmlEventTypeXidCriticalError:
            if 0 < event.eventData <= XID_MAX:
                self._say(index, XID, int(event.eventData))
        else:
            self._say(index, "ecc_uncorrected")

    def _look(self, index: int, handle: Any) -> None:
        """At what a GPU counts."""
        nvml = self._nvml
        looks: dict[str, Callable[[], int]] = {
            "ecc_uncorrected": lambda: int(
                nvml.nvmlDeviceGetTotalEccErrors(
                    handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
                )
            ),
            "retired_pages": lambda: int(nvml.nvmlDeviceGetRemappedRows(handle)[2]),
            "remap_failed": lambda: int(nvml.nvmlDeviceGetRemappedRows(handle)[3]),
        }
        for kind, look in looks.items():
            try:
                found = look()
            except nvml.NVMLError_GpuIsLost:
                self._state(index, "gpu_lost", 1)
                return
            except nvml.NVMLError:  # this model counts no such thing
                continue
            self._state(index, kind, found)

    def _state(self, index: int, kind: str, found: int) -> None:
        """What is so, or has grown. Errors that were counted before this process began were another one's to say."""
        before = self._states.get((index, kind), found if kind == "ecc_uncorrected" else 0)
        self._states[index, kind] = found
        if found > before:
            self._say(index, kind)

    def _say(self, index: int, kind: str, code: int = 0) -> None:
        if index in self._where:
            node, gpu = self._where[index]
            self._found.append(NodeReported(node, kind, code, gpu, time.time_ns() // 1000))
            self._wake()


def watch(site: LocalSite, wake: Callable[[], None]) -> GpuWatch | None:
    """A watch of the site's GPUs; None if they are counted only, or cannot be watched."""
    if site.logical or not any(node.devices for node in site.nodes):
        return None
    try:
        import pynvml

        return GpuWatch(site, wake, pynvml)
    except Exception as error:  # the binding raises what its version has
        _log.warning("the GPUs of this machine cannot be watched: %s", error)
        return None
