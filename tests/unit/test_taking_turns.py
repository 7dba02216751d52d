# SPDX-License-Identifier: Apache-2.0
"""What `leitstand up --standby` asks for before it starts, and what each refusal says."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from leitstand.app.settings import Settings
from leitstand.app.up import up

pytestmark = pytest.mark.usefixtures("alone")

JOURNAL = ("--journal", "postgresql://leitstand@db/leitstand")


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (("--standby",), "needs --shared DIR, a folder that all of them have"),
        (("--standby", "--shared", "{none}"), "{none} is no folder that can be written"),
        (("--standby", "--shared", "{here}"), "whoever takes over needs journal and stores"),
        (("--standby", "--shared", "{here}", *JOURNAL), "whoever takes over needs journal and stores"),
        (("--standby", "--shared", "{here}", "--gpus", "4"), "run nothing on their own machines"),
        (("--shared", "{here}"), "is for control planes that take turns: give --standby, too"),
        (("--address", "https://one"), "is for control planes that take turns: give --standby, too"),
        (("--standby", "--twin", "{none}"), "--standby is not for a twin"),
        (("--keys", "postgresql://keys/leitstand"), "only if the journal is; give --journal, too"),
        ((*JOURNAL, "--keys", JOURNAL[1]), "must not lie where the journal does"),
        ((*JOURNAL, "--keys", "mysql://keys"), "is no PostgreSQL URL"),
    ],
)
def test_what_cannot_take_turns_is_refused_with_what_is_missing(
    tmp_path: Path, given: tuple[str, ...], refusal: str
) -> None:
    places = {"here": tmp_path, "none": tmp_path / "none"}
    argv = [word.format(**places) for word in given]
    done = CliRunner().invoke(up, ["--data", str(tmp_path / "data"), *argv])
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert refusal.format(**places) in said


def test_what_all_machines_share_lies_in_the_shared_folder_and_nothing_else_does(tmp_path: Path) -> None:
    alone, one = Settings(data=tmp_path), Settings(data=tmp_path, shared=Path("/shared"))
    assert (one.blobs, one.sites) == (Path("/shared/blobs"), Path("/shared/sites"))
    assert (alone.blobs, alone.sites) == (tmp_path / "blobs", tmp_path / "sites")
    for name in ("runs", "keys", "snapshots", "views", "heads", "admin_token", "journal"):
        assert getattr(one, name) == getattr(alone, name)


def test_no_argument_of_a_process_holds_a_url_of_a_database() -> None:
    assert not [name for name in Settings.__struct_fields__ if name.endswith("url")]
