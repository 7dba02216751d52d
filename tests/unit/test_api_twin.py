# SPDX-License-Identifier: Apache-2.0
"""The faces of a twin: every answer says that it is one, readings are in its time, and what opens a door lives by the
world's time, however fast the twin goes."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from leitstand.access.tokens import digest
from leitstand.api import app as api
from leitstand.api.auth import AdminToken, Tokens
from leitstand.api.context import Shown
from leitstand.api.lives import WorldLives
from leitstand.core.facts import RulesSet
from leitstand.core.rules import SPAN_MAX_US, Rules
from leitstand.core.units import DAY_US, HOUR_US
from leitstand.stores.ends import Ends
from tests.unit.faces_story import TOKEN, Plant, S, problem

SPEED = 1000


class TwinPlant(Plant):
    """Faces of a twin. `world`: the world's time, µs; that of the twin is the writer's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.world = time.time_ns() // 1000
        self.admin = AdminToken(digest(TOKEN), self.world)
        self.ends = folder / "ends"
        rules = Rules(token_ttl_max_us=SPAN_MAX_US, invitation_ttl_max_us=SPAN_MAX_US)
        self.writer.cycle(RulesSet(rules, ""))
        self.open()

    def open(self) -> None:
        """Faces as they are after a start."""
        faces = self.faces
        faces.wall = lambda: self.world
        faces.lives = WorldLives(faces.wall, lambda: self.writer.now, Ends(self.ends))
        faces.tokens = Tokens(lambda: self.admin, lambda: faces.follower.state, faces.lives)
        faces.twin = lambda: Shown("a plant", SPEED, 812.5, datetime.fromtimestamp(self.writer.now / S, UTC))
        self.app = api.build(faces)

    def passes(self, world_us: int) -> None:
        """So much of the world's time, and a thousand times as much of the twin's."""
        self.world += world_us
        self.writer.now += SPEED * world_us


@pytest.fixture
def twin(tmp_path: Path) -> TwinPlant:
    return TwinPlant(tmp_path)


def token(twin: TwinPlant, **asked: Any) -> dict[str, Any]:
    issued = twin.ask("POST", "/v1/users/me/tokens", json=asked)
    assert issued.status_code == 201, issued.text
    answer: dict[str, Any] = issued.json()
    return answer


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/v1/nothing", "/v1/openapi.json"])
def test_every_answer_says_that_it_is_a_twin_how_fast_and_which_time_it_is_there(
    twin: TwinPlant, path: str
) -> None:
    twin.writer.now = 86_400 * S
    said = twin.ask("GET", path).headers["Leitstand-Twin"]
    assert said == "speed=1000, reached=812.5, now=1970-01-02T00:00:00+00:00"


def test_health_says_so_too_and_a_real_control_plane_says_nothing(twin: TwinPlant, tmp_path: Path) -> None:
    shown = twin.ask("GET", "/healthz").json()["twin"]
    assert (shown["scenario"], shown["speed"], shown["reached"]) == ("a plant", 1000, 812.5)
    (tmp_path / "real").mkdir()
    real = Plant(tmp_path / "real").ask("GET", "/healthz")
    assert real.json()["twin"] is None
    assert "Leitstand-Twin" not in real.headers


def test_a_token_lives_by_the_worlds_time(twin: TwinPlant) -> None:
    secret = token(twin, expires_in="1h")["secret"]
    for _ in range(3):
        twin.passes(HOUR_US * 3 // 10)
        assert twin.ask("GET", "/v1/self", token=secret).status_code == 200
    assert twin.writer.now > 30 * DAY_US, "for the twin it is weeks later"
    twin.passes(HOUR_US // 5)
    problem(twin.ask("GET", "/v1/self", token=secret), 401, "unauthenticated")


def test_a_twin_that_is_slow_or_stopped_lets_no_token_live_longer(twin: TwinPlant) -> None:
    secret = token(twin, expires_in="1h")["secret"]
    twin.world += HOUR_US
    problem(twin.ask("GET", "/v1/self", token=secret), 401, "unauthenticated")


def test_tokens_outlive_a_restart_and_are_shown_with_the_worlds_times(twin: TwinPlant) -> None:
    made = token(twin, expires_in="2h")
    twin.passes(HOUR_US)
    twin.open()
    secret = made["secret"]
    (shown,) = twin.ask("GET", "/v1/users/me/tokens", token=secret).json()["items"]
    ends = datetime.fromisoformat(shown["expires_at"]).timestamp()
    assert ends * S == pytest.approx(twin.world + HOUR_US, abs=S)


def test_a_later_token_does_not_end_an_earlier_one(twin: TwinPlant) -> None:
    first = token(twin, expires_in="8h")["secret"]
    twin.passes(HOUR_US)
    token(twin, expires_in="8h")
    assert twin.ask("GET", "/v1/self", token=first).status_code == 200


def test_without_its_file_nothing_that_was_issued_opens_a_door(twin: TwinPlant) -> None:
    secret = token(twin)["secret"]
    twin.ends.unlink()
    twin.open()
    problem(twin.ask("GET", "/v1/self", token=secret), 401, "unauthenticated")
    assert twin.ask("GET", "/v1/self").status_code == 200, "the administrator's token of the folder does"


def test_tokens_are_not_longer_than_elsewhere(twin: TwinPlant) -> None:
    problem(twin.ask("POST", "/v1/users/me/tokens", json={"expires_in": "400d"}), 400, "invalid-request")


def test_a_session_lasts_eight_hours_of_the_world_and_no_longer_than_the_token_it_came_by(
    twin: TwinPlant,
) -> None:
    secret = token(twin, expires_in="1h")["secret"]
    twin.passes(HOUR_US // 2)
    signed_in = twin.ask("POST", "/v1/signin", token="", json={"token": secret})
    assert signed_in.status_code == 204, signed_in.text
    assert "Max-Age=1800" in signed_in.headers["Set-Cookie"]
    cookie = {"Cookie": signed_in.headers["Set-Cookie"].partition(";")[0]}
    assert twin.ask("GET", "/v1/self", token="", headers=cookie).status_code == 200
    twin.passes(HOUR_US // 2)
    problem(twin.ask("GET", "/v1/self", token="", headers=cookie), 401, "unauthenticated")


def test_what_a_replaced_admin_token_got_ends_with_it(twin: TwinPlant) -> None:
    before = token(twin)["secret"]
    twin.passes(S)
    twin.admin = AdminToken(digest(TOKEN), twin.world)
    problem(twin.ask("GET", "/v1/self", token=before), 401, "unauthenticated")
    assert twin.ask("GET", "/v1/self", token=token(twin)["secret"]).status_code == 200


def test_an_invitation_lives_by_the_worlds_time(twin: TwinPlant) -> None:
    twin.ask("POST", "/v1/tenants", json={"id": "acme", "class": "industry"})
    asked = {"tenant": "acme", "role": "member", "expires_in": "1h"}
    codes = [twin.ask("POST", "/v1/invitations", json=asked).json()["code"] for _ in range(2)]
    twin.passes(HOUR_US // 2)
    accepted = twin.ask("POST", "/v1/invitations/accept", token="", json={"code": codes[0], "name": "Ada"})
    assert accepted.status_code == 200, accepted.text
    assert twin.ask("GET", "/v1/self", token=accepted.json()["secret"]).status_code == 200
    states = [one["state"] for one in twin.ask("GET", "/v1/invitations").json()["items"]]
    assert states == ["accepted", "open"]
    twin.passes(HOUR_US // 2)
    late = twin.ask("POST", "/v1/invitations/accept", token="", json={"code": codes[1], "name": "Bob"})
    problem(late, 404, "unknown-invitation")


def test_guesses_are_counted_by_the_worlds_time(twin: TwinPlant) -> None:
    refused = []
    for _ in range(40):
        refused.append(twin.ask("GET", "/v1/self", token="lst_" + "x" * 43).status_code)
        twin.writer.now += HOUR_US
    assert 429 in refused


def test_jobs_are_planned_and_shown_in_the_twins_time(twin: TwinPlant) -> None:
    twin.writer.now = 100 * DAY_US
    made = twin.submit(begin="2h").json()
    assert made["submitted_at"].startswith("1970-04-11T00:00:0")
    assert made["begin_at"].startswith("1970-04-11T02:00:0")
    assert made["reason"] == "begin_time"
