# SPDX-License-Identifier: Apache-2.0
"""What is promised of the administrator's token: made once, private, and replaced at any time with all it opened."""

import asyncio
import os
import stat
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from leitstand.access.tokens import digest
from leitstand.api.auth import AdminToken
from leitstand.app.admin import admin
from leitstand.app.admin_token import AdminTokenFile, admin_token, reset
from leitstand.app.chores import revoke_replaced
from tests.unit.faces_story import TOKEN, Plant, first, problem

NEW = "another token of the tests"
OURS = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.token"


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_admin_token_is_made_once_private_and_kept(path: Path) -> None:
    token = admin_token(path)
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert admin_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["admin.token"]


@pytest.mark.parametrize("content", ["", "short\n"])
def test_a_file_without_a_token_is_refused_and_left_as_it_is(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ValueError, match=r"admin\.token holds no token"):
        admin_token(path)
    assert path.read_text() == content


def test_the_file_is_read_again_when_it_is_another_one(path: Path) -> None:
    file = AdminTokenFile(path)
    before = file()
    assert before.digest == digest(path.read_text().strip())
    assert file() is before
    reset(path)
    after = file()
    assert after.digest == digest(path.read_text().strip()) != before.digest
    assert after.since_us >= before.since_us
    assert file() is after


def test_a_file_that_is_gone_changes_nothing_and_one_without_a_token_opens_to_nobody(path: Path) -> None:
    file = AdminTokenFile(path)
    before = file()
    path.rename(path.with_name("elsewhere"))
    assert file() is before
    path.write_text("short\n")
    assert file().digest not in (digest(""), digest("short"), before.digest)
    path.unlink()
    path.with_name("elsewhere").rename(path)
    assert file().digest == before.digest


def test_a_token_of_tomorrow_does_not_shut_out_what_is_issued_today(path: Path) -> None:
    admin_token(path)
    os.utime(path, (2**33, 2**33))
    assert AdminTokenFile(path)().since_us < 2**33 * 1_000_000


def test_the_owner_of_the_file_stays_when_root_replaces_it(path: Path) -> None:
    if os.geteuid():
        pytest.skip("takes root")
    admin_token(path)
    os.chown(path, 12345, 12345)
    reset(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12345)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_command_replaces_the_token_of_a_data_folder_alone(path: Path) -> None:
    refused = CliRunner().invoke(admin, ["reset-token", "--data", str(path.parent)])
    assert refused.exit_code == 2
    assert "is no data folder" in refused.output
    assert not path.exists()
    before = admin_token(path)
    done = CliRunner().invoke(admin, ["reset-token", "--data", str(path.parent)])
    assert done.exit_code == 0, done.output
    after = admin_token(path)
    assert after != before
    assert str(path) in done.output
    assert after not in done.output


# ── the faces ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_replaced_token_opens_nothing_at_once_and_the_new_one_does(plant: Plant) -> None:
    assert plant.ask("GET", "/v1/self").status_code == 200
    plant.admin = AdminToken(digest(NEW), plant.writer.now)
    problem(plant.ask("GET", "/v1/self"), 401, "unauthenticated")
    assert plant.ask("GET", "/v1/self", NEW).status_code == 200


def test_what_the_administrator_got_by_a_replaced_token_ends_and_what_others_have_stays(plant: Plant) -> None:
    mine = plant.ask("POST", "/v1/users/me/tokens", json={}).json()["secret"]
    session = plant.ask("POST", "/v1/signin", "", json={"token": TOKEN}, headers=OURS).cookies[
        "leitstand_session"
    ]
    ada = {"name": "Ada", "email": "ada@acme.example"}
    user = plant.ask("POST", "/v1/users", json=ada).json()["id"]
    other = plant.ask("POST", f"/v1/users/{user}/tokens", json={}).json()["secret"]
    plant.writer.cycle()
    plant.admin = AdminToken(digest(NEW), plant.writer.now)
    problem(plant.ask("GET", "/v1/self", mine), 401, "unauthenticated")
    with_session = {"cookie": f"leitstand_session={session}", **OURS}
    problem(plant.ask("GET", "/v1/self", "", headers=with_session), 401, "unauthenticated")
    assert plant.ask("GET", "/v1/self", other).status_code == 200
    first(revoke_replaced(plant.faces))
    state = plant.faces.follower.state
    assert [one.user for one in state.people.tokens.values()] == [user]
    fresh = plant.ask("POST", "/v1/users/me/tokens", NEW, json={}).json()["secret"]
    first(revoke_replaced(plant.faces))
    assert plant.ask("GET", "/v1/self", fresh).status_code == 200


def test_a_stream_by_a_replaced_token_ends(plant: Plant) -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        listening = asyncio.create_task(client.get("/v1/events"))
        while not plant.faces.limits._under_way:
            await asyncio.sleep(0)
        plant.admin = AdminToken(digest(NEW), plant.writer.now)
        plant.writer.cycle()
        assert (await listening).status_code == 200

    plant.run(main)
