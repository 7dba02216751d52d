# SPDX-License-Identifier: Apache-2.0
"""The inbox over real sockets: answered when durable, limits at the door, broken clients hurt nobody."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.engines.simulated import SimulatedEngine
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.clock import LiveClock
from leitstand.runtime.inbox import Inbox, Limits
from leitstand.runtime.loop import Loop
from leitstand.runtime.wire import FRAME_MAX, HEADER, Advanced, Ask, Message, Settled, pack, unpack
from tests.unit.story import ask

pytestmark = pytest.mark.system

CYCLES_MAX = 200


class Plant:
    """A loop with an inbox, stepped by the test; clients are blocking sockets with a short time-out."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.path = path
        self.disk_is_low = False
        self.clock = LiveClock(0)
        self.journal = MemoryJournal()
        self.inbox = Inbox(path, self.clock, lambda: self.disk_is_low, limits)
        self.loop = Loop(Core(), self.journal, self.clock, SimulatedEngine(), [self.inbox])
        self.loop.core.cycle(
            0, [f.TenantAdded("acme"), f.SiteAdded("s", "x"), f.NodeAdded("n0", "s", 8, 0, 0)]
        )

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(0.01)
        client.connect(str(self.path))
        return client

    def turn(self) -> None:
        """Read the sockets once without waiting, then one cycle."""
        now = self.clock.wait(0)
        self.loop.step(now)

    def until(self, client: socket.socket, count: int, kind: type = Settled) -> list[Message]:
        """Turn until the client has `count` messages of this kind."""
        got: list[Message] = []
        buffer = bytearray()
        for _ in range(CYCLES_MAX):
            self.turn()
            try:
                received = client.recv(1 << 18)
            except TimeoutError:
                continue
            if not received:
                raise ConnectionResetError("the inbox closed the connection")
            buffer += received
            got += [message for message in unpack(buffer) if isinstance(message, kind)]
            if len(got) >= count:
                return got
        raise AssertionError(f"{len(got)} of {count} messages came")


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path / "inbox.sock")
    yield plant
    plant.inbox.close()
    plant.clock.close()


def test_a_request_is_answered_with_a_head_that_holds_its_facts(plant: Plant) -> None:
    client = plant.connect()
    client.sendall(pack(Ask(7, "t", ask())))
    (settled,) = plant.until(client, 1)
    assert isinstance(settled, Settled)
    assert (settled.ticket, settled.made, settled.refused) == (7, "acme-1", "")
    facts = [entry.fact for entry in plant.journal.read(0) if entry.seq <= settled.seq]
    assert any(isinstance(fact, f.JobAdmitted) and fact.job == "acme-1" for fact in facts)


def test_requests_of_one_moment_share_one_commit(plant: Plant) -> None:
    client = plant.connect()
    client.sendall(b"".join(pack(Ask(ticket, "t", ask())) for ticket in range(50)))
    settled = plant.until(client, 50)
    assert [message.made for message in settled] == [f"acme-{n}" for n in range(1, 51)]  # type: ignore[union-attr]
    stamps = {entry.at for entry in plant.journal.read(0) if isinstance(entry.fact, f.JobSubmitted)}
    assert len(stamps) == 1


def test_every_connection_hears_of_the_new_head(plant: Plant) -> None:
    asking, listening = plant.connect(), plant.connect()
    asking.sendall(pack(Ask(1, "t", ask())))
    (advanced, *_) = plant.until(listening, 1, Advanced)
    assert isinstance(advanced, Advanced)
    assert advanced.seq >= 3


@pytest.mark.parametrize(
    "limits",
    [Limits(queue=2), Limits(per_token=2), Limits(per_tenant=2)],
    ids=["queue", "per token", "per tenant"],
)
def test_over_a_limit_the_rest_is_told_to_wait_and_nothing_is_recorded(
    tmp_path: Path, limits: Limits
) -> None:
    plant = Plant(tmp_path / "inbox.sock", limits)
    client = plant.connect()
    client.sendall(b"".join(pack(Ask(ticket, "t", ask())) for ticket in range(5)))
    settled = plant.until(client, 5)
    refused = [message for message in settled if isinstance(message, Settled) and message.refused == "busy"]
    assert len(refused) == 3
    assert all(message.retry_after_s > 0 for message in refused)
    assert plant.loop.core.state.submitted == 2


def test_one_tokens_flood_leaves_room_for_others(tmp_path: Path) -> None:
    plant = Plant(tmp_path / "inbox.sock", Limits(per_token=3, per_tenant=100))
    client = plant.connect()
    client.sendall(
        b"".join(pack(Ask(ticket, "flood", ask())) for ticket in range(9)) + pack(Ask(99, "calm", ask()))
    )
    settled = {message.ticket: message for message in plant.until(client, 10) if isinstance(message, Settled)}
    assert settled[99].refused == ""


def test_with_the_disk_below_its_reserve_submissions_are_refused_and_cancels_are_not(plant: Plant) -> None:
    client = plant.connect()
    client.sendall(pack(Ask(1, "t", ask(expected_us=10**12))))
    plant.until(client, 1)
    plant.disk_is_low = True
    client.sendall(pack(Ask(2, "t", ask())) + pack(Ask(3, "t", f.CancelJob("acme-1"))))
    refused = {m.ticket: m.refused for m in plant.until(client, 2) if isinstance(m, Settled)}
    assert refused == {2: "disk_full", 3: ""}


def test_engine_reports_are_not_taken_from_faces(plant: Plant) -> None:
    client = plant.connect()
    client.sendall(pack(Ask(1, "t", f.RunEnded("acme-1.1", 5, "exited", 0))))
    (settled,) = plant.until(client, 1)
    assert isinstance(settled, Settled)
    assert settled.refused == "invalid"


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        HEADER.pack(FRAME_MAX + 1),
        HEADER.pack(3) + b"\xff\xff\xff",
        b"\x00\x00\x00\x00",
    ],
    ids=["http", "oversized", "not msgpack", "empty"],
)
def test_a_client_that_talks_nonsense_is_dropped_and_others_are_served(plant: Plant, garbage: bytes) -> None:
    broken, sound = plant.connect(), plant.connect()
    broken.sendall(garbage)
    sound.sendall(pack(Ask(1, "t", ask())))
    plant.until(sound, 1)
    with pytest.raises(ConnectionResetError):
        plant.until(broken, 1)


def test_a_client_that_leaves_before_its_answer_loses_nothing(plant: Plant) -> None:
    leaving = plant.connect()
    leaving.sendall(pack(Ask(1, "t", ask(request="r", request_digest="d"))))
    plant.clock.wait(0)
    plant.clock.wait(0)
    leaving.close()
    client = plant.connect()
    client.sendall(pack(Ask(2, "t", ask(request="r", request_digest="d"))))
    (settled,) = plant.until(client, 1)
    assert isinstance(settled, Settled)
    assert settled.made == "acme-1"
    assert plant.loop.core.state.submitted == 1


def test_a_folder_with_a_long_name_holds_a_socket_too(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    inbox = Inbox(folder / "inbox.sock", LiveClock(0), lambda: False)
    assert (folder / "inbox.sock").is_socket()
    assert (folder / "inbox.sock").stat().st_mode & 0o777 == 0o600
    inbox.close()
