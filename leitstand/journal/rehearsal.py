# SPDX-License-Identifier: Apache-2.0
"""Whether this version may take over a journal that another one wrote: found out on a copy. Called by
`leitstand upgrade-check`.

The copy is verified and folded by this code, and the states that come of it are held against what snapshots of any
version say of theirs. Nothing of the data folder is changed, and its control plane may go on.
"""

import shutil
from pathlib import Path
from typing import Final

import msgspec

from leitstand import __version__
from leitstand.core.state import PROJECTION_VERSION, State
from leitstand.journal.backup import backup
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.place import open_reader
from leitstand.journal.snapshots import Snapshot, claims, fold
from leitstand.journal.verify import Bad, Report, verify

HEADS: Final = "heads.jsonl"


class Witness(msgspec.Struct, frozen=True):
    """What a snapshot says of the state after entry `seq`. `agrees`: None if it was made by a code whose states have
    other digests (`projection_version`), so that nothing can be compared."""

    seq: int
    version: str
    projection_version: int
    agrees: bool | None


class Rehearsal(msgspec.Struct, frozen=True):
    """`version` and `projection_version` are this code's, `digest` that of the state after the last entry of `report`
    ('' if it was not reached). `bad` of the report also says what does not fold, or folds to another state."""

    version: str
    projection_version: int
    digest: str
    report: Report
    witnesses: list[Witness]

    @property
    def ok(self) -> bool:
        """Whether this version may take over, as far as the journal tells."""
        return self.report.ok


def rehearse(data: Path, folder: Path) -> Rehearsal:
    """Copies the journal of the data folder `data` to `folder`/journal.db, which must be new, and tries it. What is
    wrong with it is in the answer; a copy that does not verify is removed.

    JournalUnusable, JournalAway if there is none to read, OSError if there is no room.
    """
    claimed = claims(
        data / "snapshots"
    )  # these two first: a live control plane goes on signing and writing them
    signed = folder / HEADS if (data / HEADS).exists() else None
    if signed is not None:
        shutil.copyfile(data / HEADS, signed)
    copy = folder / "journal.db"
    report = backup(data / "journal.db", copy)
    public = data / "keys" / "head.pub"
    if report.ok:
        report = verify(copy, signed, public if public.exists() else None)
    digest = ""
    witnesses: list[Witness] = []
    if report.ok:
        state, witnesses, bad = _folded(copy, report.seq, {one.seq: one for one in claimed})
        digest = "" if bad else state.digest()
        report = msgspec.structs.replace(report, ok=bad is None, bad=bad)
    return Rehearsal(__version__, PROJECTION_VERSION, digest, report, witnesses)


def _folded(copy: Path, last: int, claimed: dict[int, Snapshot]) -> tuple[State, list[Witness], Bad | None]:
    state, seq = State(), 0
    witnesses: list[Witness] = []
    with open_reader(copy) as reader:
        for stop in sorted({*claimed, last}):
            if stop > last:
                what = f"a snapshot names entry {stop}, the last entry is {last}: the end was cut off"
                return state, witnesses, Bad(last + 1, "dropped", what)
            try:
                fold(state, reader.read(seq, stop - seq))
            except JournalUnusable as error:
                return state, witnesses, Bad(seq + 1, "does not fold", str(error))
            seq = stop
            if (snapshot := claimed.get(stop)) is None:
                continue
            comparable = snapshot.projection_version == PROJECTION_VERSION
            agrees = state.digest() == snapshot.digest if comparable else None
            witnesses.append(Witness(stop, snapshot.code_version, snapshot.projection_version, agrees))
            if agrees is False:
                what = (
                    f"version {snapshot.code_version} had another state after entry {stop} than version "
                    f"{__version__} makes of the same entries"
                )
                return state, witnesses, Bad(stop, "another state", what)
    return state, witnesses, None
