# SPDX-License-Identifier: Apache-2.0
"""`leitstand admin reset-token` beside a control plane that runs: the old token is out at once, the new one is in."""

from pathlib import Path

from tests.plane import Plane


def status(plane: Plane, token: str) -> int:
    return plane.http("GET", "/v1/self", headers={"Authorization": f"Bearer {token}"})[0]


def test_a_running_control_plane_takes_the_new_token_and_nothing_that_the_old_one_got(tmp_path: Path) -> None:
    with Plane(tmp_path / "plane", gpus=1) as plane:
        old = plane.token
        issued = plane.json("tokens", "issue")["secret"]
        assert [status(plane, token) for token in (old, issued)] == [200, 200]
        done = plane.cli("admin", "reset-token", "--data", str(plane.data))
        assert done.returncode == 0, done.stderr
        assert plane.token != old
        assert [status(plane, token) for token in (plane.token, old, issued)] == [200, 401, 401]
        plane.stop()
        plane.start()
        assert [status(plane, token) for token in (plane.token, old, issued)] == [200, 401, 401]
