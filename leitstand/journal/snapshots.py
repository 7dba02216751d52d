# SPDX-License-Identifier: Apache-2.0
"""Snapshots make restarts fast: a file holds the state's projection at one entry. Called by the writer and followers.

A snapshot is never trusted: it is used only if the journal has its hash at its entry, the versions of projection and
code are this code's, and the state made of it has the digest it claims. Otherwise an older one is tried, at last the
whole journal is folded. Losing snapshots loses nothing.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

import msgspec

from leitstand import __version__
from leitstand.core.state import PROJECTION_VERSION, Projection, State
from leitstand.core.units import INT64_MAX
from leitstand.journal.codec import JournalUnusable
from leitstand.runtime.disk import write_whole
from leitstand.runtime.ports import Entry, Head

KEPT_MAX: Final = 3
SNAPSHOT_BYTES_MAX: Final = 2 * 1024**3

_NAME: Final = re.compile(r"\d{19}\.snapshot")
_log = logging.getLogger("leitstand.journal")


# What `State.apply` raises for a fact that does not fit what stands before it.
UNFIT: Final = (LookupError, ValueError, TypeError, AttributeError, AssertionError)


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file, as MessagePack. `seq`, `at`, `hash`: the head it was taken at; `digest`: of the state;
    `projection`: MessagePack of `leitstand.core.state.Projection`."""

    seq: int
    at: int
    hash: bytes
    projection_version: int
    code_version: str
    digest: str
    projection: bytes


class Chained(Protocol):
    """What snapshots need of a journal."""

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]: ...

    def head_at(self, seq: int) -> Head | None: ...


def restore(journal: Chained, folder: Path) -> tuple[State, Head]:
    """The state after the journal's last entry, and that entry as head: latest usable snapshot, then the rest folded.

    JournalUnusable names the entry that cannot be read or folded.
    """
    state, head = load_latest(folder, journal) or (State(), journal.head_at(0))
    assert head is not None
    last = fold(state, journal.read(head.seq)) or head.seq
    restored = journal.head_at(last)
    if restored is None:
        raise JournalUnusable(f"entry {last} is gone; run `leitstand journal verify`")
    return state, restored


def fold(state: State, entries: Iterable[Entry]) -> int:
    """Apply entries in their order; the last one's number, 0 if there was none. JournalUnusable as `restore`."""
    apply, last = state.apply, 0
    for entry in entries:
        try:
            apply(entry.at, entry.fact)
        except UNFIT as error:
            raise JournalUnusable(
                f"entry {entry.seq} ({type(entry.fact).__name__}) does not fit what the journal says before it: "
                f"{type(error).__name__} {error}"
            ) from error
        last = entry.seq
    return last


def write(folder: Path, state: State, head: Head) -> Path:
    """Stores `state` as it is after `head`, keeps the latest KEPT_MAX files up to it; OSError: nothing changed."""
    snapshot = Snapshot(
        seq=head.seq,
        at=head.at,
        hash=head.hash,
        projection_version=PROJECTION_VERSION,
        code_version=__version__,
        digest=state.digest(),
        projection=stored(state),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{head.seq:019d}.snapshot"
    for draft in folder.glob("*.draft"):  # of a process that was killed
        draft.unlink(missing_ok=True)
    write_whole(path, msgspec.msgpack.encode(snapshot))
    for old in [file for file in _files(folder) if file.name <= path.name][KEPT_MAX:]:
        old.unlink(missing_ok=True)  # those beyond show that the journal lost its end
    return path


def stored(state: State) -> bytes:
    """The state's projection as MessagePack."""
    return msgspec.msgpack.encode(state.project())


def restored(projection: bytes) -> State:
    """The state that was stored; ValueError for another version's."""
    return State.restore(msgspec.msgpack.decode(projection, type=Projection))


def load_latest(folder: Path, journal: Chained, most: int = INT64_MAX) -> tuple[State, Head] | None:
    """State and head of the latest snapshot that fits `journal`, taken at entry `most` or before; None if none does.
    Logs why one was passed over."""
    for path in _files(folder):
        if int(path.stem) > most:
            continue
        try:
            return _load(path, journal)
        except (
            ValueError,
            OSError,
            LookupError,
            TypeError,
            AttributeError,
        ) as error:
            _log.warning("snapshot not used: file=%s reason=%s", path.name, error)
    return None


def latest(folder: Path, most: int = INT64_MAX) -> int:
    """The entry of the latest snapshot that was taken at `most` or before, by its name; 0 if there is none."""
    return max((seq for path in _files(folder) if (seq := int(path.stem)) <= most), default=0)


def digests(folder: Path) -> dict[int, str]:
    """Entry -> digest that its snapshot claims for the state; '' where this code would not use it."""
    claimed = {}
    for path in _files(folder):
        with contextlib.suppress(ValueError, OSError):
            snapshot = _decode(path)
            if snapshot.seq == int(path.stem):
                claimed[snapshot.seq] = "" if _foreign(snapshot) else snapshot.digest
    return claimed


def claims(folder: Path) -> list[Snapshot]:
    """What snapshots of any version say, without the states themselves; files that are none are left out."""
    found = []
    for path in _files(folder):
        with contextlib.suppress(ValueError, OSError):
            snapshot = _decode(path)
            if snapshot.seq == int(path.stem):
                found.append(msgspec.structs.replace(snapshot, projection=b""))
    return found


def _load(path: Path, journal: Chained) -> tuple[State, Head]:
    """ValueError, with the reason, for a snapshot that must not be used."""
    snapshot = _read(path)
    head = Head(snapshot.seq, snapshot.at, snapshot.hash)
    if journal.head_at(head.seq) != head:
        raise ValueError(f"the journal has another entry {head.seq}, or none")
    state = restored(snapshot.projection)
    if state.digest() != snapshot.digest:
        raise ValueError(f"the state has digest {state.digest()}, not {snapshot.digest}")
    return state, head


def _read(path: Path) -> Snapshot:
    """ValueError for a file that is none of ours, or another version's."""
    snapshot = _decode(path)
    if foreign := _foreign(snapshot):
        raise ValueError(foreign)
    return snapshot


def _decode(path: Path) -> Snapshot:
    if path.stat().st_size > SNAPSHOT_BYTES_MAX:
        raise ValueError(f"{path.stat().st_size} bytes are over the limit of {SNAPSHOT_BYTES_MAX}")
    return msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)


def _foreign(snapshot: Snapshot) -> str:
    """Of which other version it is; '' if of this one."""
    if (snapshot.projection_version, snapshot.code_version) == (PROJECTION_VERSION, __version__):
        return ""
    return (
        f"projection {snapshot.projection_version} of version {snapshot.code_version}, "
        f"not {PROJECTION_VERSION} of {__version__}"
    )


def _files(folder: Path) -> list[Path]:
    """Snapshot files, latest first."""
    try:
        names = sorted((name for name in os.listdir(folder) if _NAME.fullmatch(name)), reverse=True)
    except FileNotFoundError:
        return []
    return [folder / name for name in names]
