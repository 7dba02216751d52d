# SPDX-License-Identifier: Apache-2.0
"""This machine as a site: logical GPUs, real ones through an NVML that is played here, and what cannot be shared."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from leitstand.core.facts import NodeAdded, SiteAdded, Task
from leitstand.core.places.mig import Mig, Partition
from leitstand.engines.local import gpus


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six cores, 1000 MiB, no GPUs."""
    monkeypatch.setattr(gpus, "cpus_milli_here", lambda: 6000)
    monkeypatch.setattr(gpus, "memory_mib_here", lambda: 1000)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    play_nvml(monkeypatch, [])


def play_nvml(
    monkeypatch: pytest.MonkeyPatch,
    uuids: list[str],
    fault: bool = False,
    name: str = "NVIDIA H100 80GB HBM3",
    mig: dict[int, list[tuple[str, int]]] | None = None,
) -> None:
    """`mig`: of GPUs in MIG mode the profiles and starts of their instances, in the order of their numbers."""

    class NVMLError(Exception):
        pass

    def init() -> None:
        if fault:
            raise NVMLError("Driver Not Loaded")

    modes = mig or {}

    def instance(gpu: int, number: int) -> tuple[int, int]:
        if number >= len(modes[gpu]):
            raise NVMLError("Not Found")
        return gpu, number

    def name_of(device: Any) -> bytes | str:
        if isinstance(device, tuple):
            return f"{name} MIG {modes[device[0]][device[1]][0]}"
        return name.encode()  # older bindings give bytes

    def place(found: tuple[int, int]) -> Any:
        return SimpleNamespace(placement=SimpleNamespace(start=modes[found[0]][found[1]][1], size=0))

    played: Any = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=init,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(uuids),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda one: f"MIG-{one[0]}-{one[1]}" if isinstance(one, tuple) else uuids[one],
        nvmlDeviceGetName=name_of,
    )
    if mig is not None:
        played.nvmlDeviceGetMigMode = lambda gpu: (int(gpu in modes), int(gpu in modes))
        played.nvmlDeviceGetMaxMigDeviceCount = lambda gpu: 7
        played.nvmlDeviceGetMigDeviceHandleByIndex = instance
        played.nvmlDeviceGetGpuInstanceId = lambda found: found[1]
        played.nvmlDeviceGetGpuInstanceById = lambda gpu, number: (gpu, number)
        played.nvmlGpuInstanceGetInfo = place
    monkeypatch.setitem(sys.modules, "pynvml", played)


def test_logical_gpus_are_shared_evenly_and_said_to_be_logical() -> None:
    site = gpus.discover(8, 2)
    assert site.facts() == [
        SiteAdded("local", "local", logical=True, colocate=True),
        NodeAdded("node-1", "local", 4, 3000, 500, "logical"),
        NodeAdded("node-2", "local", 4, 3000, 500, "logical"),
    ]
    assert site.devices("node-2") == ("0", "1", "2", "3")
    assert site.devices("node-3") == ()


def test_without_gpus_there_are_as_many_logical_ones_as_cores_that_the_nodes_can_share() -> None:
    assert [node.devices for node in gpus.discover(None, 1).nodes] == [tuple("012345")]
    assert [node.devices for node in gpus.discover(None, 4).nodes] == [("0",)] * 4
    assert [node.devices for node in gpus.discover(None, 7).nodes] == [("0",)] * 7
    assert gpus.discover(None, 1).logical


def test_a_site_may_have_no_gpus_at_all() -> None:
    assert [fact.gpus for fact in gpus.discover(0, 2).facts() if isinstance(fact, NodeAdded)] == [0, 0]


def test_real_gpus_are_taken_and_keep_their_index_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    play_nvml(monkeypatch, ["GPU-a", "GPU-b", "GPU-c", "GPU-d"])
    assert gpus.discover(None, 1).facts() == [
        SiteAdded("local", "local", logical=False, colocate=False),
        NodeAdded("node-1", "local", 4, 6000, 1000, "NVIDIA H100 80GB HBM3"),
    ]
    assert [node.devices for node in gpus.discover(None, 2).nodes] == [("0", "1"), ("2", "3")]


def test_logical_gpus_are_asked_for_by_their_number_also_where_there_are_real_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play_nvml(monkeypatch, ["GPU-a"])
    assert gpus.discover(2, 1).logical


@pytest.mark.parametrize(("visible", "devices"), [("2,0", ("0", "2")), ("GPU-b", ("1",)), ("", ())])
def test_gpus_that_are_hidden_from_the_control_plane_are_not_offered(
    monkeypatch: pytest.MonkeyPatch, visible: str, devices: tuple[str, ...]
) -> None:
    play_nvml(monkeypatch, ["GPU-a", "GPU-b", "GPU-c"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert tuple(str(gpu.index) for gpu in gpus.real_gpus()) == devices


def test_a_driver_that_is_not_loaded_means_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    play_nvml(monkeypatch, ["GPU-a"], fault=True)
    assert gpus.real_gpus() == []


@pytest.mark.parametrize(
    ("count", "nodes", "words"),
    [
        (8, 3, "8 GPUs cannot be shared evenly by 3 nodes; take a multiple of 3"),
        (1, 2, "1 GPUs cannot be shared evenly by 2 nodes"),
        (1, 0, "nodes: 0 is less than 1"),
        (0, 100_000, "leave no CPU or memory"),
        (-1, 1, "gpus: -1 is less than 0"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_numbers(count: int, nodes: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gpus.discover(count, nodes)


def test_mig_instances_that_are_there_are_offered_and_named_by_their_uuid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play_nvml(monkeypatch, ["GPU-a", "GPU-b"], mig={1: [("3g.40gb", 4), ("3g.40gb", 0)]})
    site = gpus.discover(None, 1)
    (fact,) = [one for one in site.facts() if isinstance(one, NodeAdded)]
    assert (fact.gpus, fact.mig) == (2, Mig(fixed=(Partition(1, ("3g.40gb@0", "3g.40gb@4")),)))
    assert site.visible(Task("node-1", "1")) == ("0",)
    assert site.visible(Task("node-1", "2:f0/8")) == ("MIG-1-0",)
    assert site.visible(Task("node-1", "2:f/8")) == ("MIG-1-1",)
    for gone in (Task("node-1", "2:3/8"), Task("node-1", "1:f/8"), Task("node-2", "2:f/8")):
        with pytest.raises(KeyError):
            site.visible(gone)


def test_instances_count_on_the_node_that_has_their_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    play_nvml(monkeypatch, ["GPU-a", "GPU-b"], mig={1: [("7g.80gb", 0)]})
    found = [one.mig for one in gpus.discover(None, 2).facts() if isinstance(one, NodeAdded)]
    assert found == [None, Mig(fixed=(Partition(0, ("7g.80gb@0",)),))]


def test_a_gpu_in_mig_mode_without_instances_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    play_nvml(monkeypatch, ["GPU-a"], mig={0: []})
    (fact,) = [one for one in gpus.discover(None, 1).facts() if isinstance(one, NodeAdded)]
    assert fact.mig == Mig(fixed=(Partition(0, ()),))


def test_instances_that_nobody_knows_are_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play_nvml(monkeypatch, ["GPU-a"], mig={0: [("1c.3g.40gb", 0), ("3g.40gb", 4)]})
    (fact,) = [one for one in gpus.discover(None, 1).facts() if isinstance(one, NodeAdded)]
    assert fact.mig == Mig(fixed=(Partition(0, ("3g.40gb@4",)),))
    assert "instance 1c.3g.40gb@0 is not offered" in caplog.text
    play_nvml(monkeypatch, ["GPU-a"], name="NVIDIA X9", mig={0: [("3g.40gb", 0)]})
    assert [one.gpus for one in gpus.discover(None, 1).facts() if isinstance(one, NodeAdded)] == [0]
    assert "(NVIDIA X9) is in MIG mode and not offered" in caplog.text
