# SPDX-License-Identifier: Apache-2.0
"""People and tenants by the command line alone, against a real control plane: application, login through the browser,
invitation, secrets that no process list shows, completion."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.plane import LEITSTAND, Plane
from tests.system.test_cli import WITHIN_S, until

SECRET = "hf_PlantedInASecretOfTheProject"
APPLICATION = """tenant: {tenant}
class: research
legal: {{name: Institute, street: Road 1, postcode: 01067, city: Dresden, country: DE, size_class: public}}
applicant: {{name: Ada Lovelace, email: ada@institute.example}}
purpose: protein folding
"""


class User:
    """Somebody with a config folder of its own and nothing in the environment."""

    def __init__(self, plane: Plane, home: Path) -> None:
        self.environment = {
            key: value for key, value in plane.environment.items() if not key.startswith("LEITSTAND_")
        }
        self.environment |= {"XDG_CONFIG_HOME": str(home), "LC_ALL": "C.UTF-8"}
        self.url = plane.url

    def type(self, *words: str, given: str = "") -> str:
        """The output of `leitstand WORDS`, which must succeed."""
        done = self.done(*words, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def done(self, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [LEITSTAND, *words],
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )


def let_in(plane: Plane, user: User, folder: Path, tenant: str) -> None:
    """Apply, examine, approve, and fetch the first token."""
    (folder / "application.yaml").write_text(APPLICATION.format(tenant=tenant))
    agreement = json.loads(user.type("agreement", "--url", plane.url, "--json"))
    words = ["apply", "--url", plane.url, "--file", str(folder / "application.yaml"), "--json"]
    filed = json.loads(user.type(*words, "--accept-agreement", agreement["version"]))
    for check in filed["checks"]:
        if check["outcome"] == "open":
            assert plane.cli("applications", "check", filed["id"], check["name"], "passed").returncode == 0
    assert plane.cli("applications", "approve", filed["id"]).returncode == 0
    user.type("application", "--wait", "--timeout", "30s")
    user.type("application", "claim")


@pytest.fixture(scope="module")
def ada(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> User:
    """The administrator of the tenant `institute`."""
    folder = tmp_path_factory.mktemp("ada")
    user = User(plane, folder / "config")
    let_in(plane, user, folder, "institute")
    return user


def test_who_came_by_an_application_runs_a_job_and_sees_what_it_used(plane: Plane, tmp_path: Path) -> None:
    user = User(plane, tmp_path / "config")
    let_in(plane, user, tmp_path, "quick")
    assert user.type("run", "--gpus", "1", "--", "echo hello") == "hello\n"
    (job,) = json.loads(user.type("jobs", "--json"))
    assert (job["tenant"], job["user"]["name"]) == ("quick", "Ada Lovelace")
    assert user.type("logs", job["id"]) == "hello\n"
    (used,) = json.loads(user.type("usage", "--json"))
    assert used["gpu_us"] > 0
    assert "used so far" in user.type("quota")


def test_what_was_saved_is_for_its_owner_alone(ada: User) -> None:
    path = Path(ada.environment["XDG_CONFIG_HOME"]) / "leitstand" / "credentials.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_browser_lets_a_command_line_in(plane: Plane, ada: User, tmp_path: Path) -> None:
    laptop = User(plane, tmp_path / "config")
    token = ada.type("tokens", "issue", "--expires-in", "1h").strip()
    with (tmp_path / "err").open("wb") as err:
        login = subprocess.Popen(
            [LEITSTAND, "login", "--url", plane.url],
            env=laptop.environment,
            stdin=subprocess.DEVNULL,
            stderr=err,
        )
    try:
        until(lambda: "enter the code" in (tmp_path / "err").read_text(), "the code")
        code = (tmp_path / "err").read_text().split("the code ")[1].split()[0]
        body = {"user_code": code, "allow": True}
        status, _ = plane.http("POST", "/v1/login/confirm", body, {"Authorization": f"Bearer {token}"})
        assert status == 200
        assert login.wait(WITHIN_S) == 0
    finally:
        login.kill()
        login.wait()
    assert "Ada Lovelace" in laptop.type("whoami")
    mine = {one["id"] for one in json.loads(ada.type("tokens", "--json"))}
    laptop.type("logout")
    after = {one["id"] for one in json.loads(ada.type("tokens", "--json"))}
    assert len(mine - after) == 1  # the one that was made for the laptop
    assert laptop.done("jobs").returncode == 1


def test_a_guest_sees_what_the_role_shows_and_no_more(plane: Plane, ada: User, tmp_path: Path) -> None:
    line = ada.type("invite", "viewer", "--project", "default").split()
    bob = User(plane, tmp_path / "config")
    assert bob.type(*line[1:], "--name", "Bob") == "you are viewer of institute/default now\n"
    assert "Bob" in ada.type("members")
    assert bob.done("run", "--", "true").returncode == 1
    assert bob.done("can-i", "job:submit").returncode == 1
    assert bob.done("can-i", "job:list").returncode == 0
    assert [one["id"] for one in json.loads(bob.type("tenants", "--json"))] == ["institute"]
    assert "InvitationAccepted" in ada.type("audit")
    ada.type("roles", "revoke", "Bob", "viewer", "--tenant", "institute", "--project", "default")
    assert json.loads(bob.type("tenants", "--json")) == []


def test_a_secret_reaches_the_job_and_no_process_list(ada: User) -> None:
    setting = subprocess.Popen(
        [LEITSTAND, "secrets", "set", "HF"],
        env=ada.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    seen = Path(f"/proc/{setting.pid}/cmdline")
    arguments = seen.read_bytes() if seen.exists() else b""
    out, _ = setting.communicate(SECRET.encode(), WITHIN_S)
    assert out == b"HF@1\n"
    assert SECRET.encode() not in arguments
    assert ada.type("run", "--secret", "HF=@HF", "--", "echo ${#HF}").strip() == str(len(SECRET))
    for words in (["secrets", "--json"], ["audit", "--json"], ["job", "institute-1", "--json"]):
        assert SECRET not in ada.type(*words)
    assert ada.type("secrets", "delete", "HF", "-y") == ""


def test_completion_offers_ids_without_a_word_on_standard_error(ada: User) -> None:
    ada.type("run", "--", "true")
    asked = {"_LEITSTAND_COMPLETE": "bash_complete", "COMP_WORDS": "leitstand job inst", "COMP_CWORD": "2"}
    done = subprocess.run(
        [LEITSTAND],
        env={**ada.environment, **asked},
        capture_output=True,
        text=True,
        check=True,
        timeout=WITHIN_S,
    )
    assert "plain,institute-1" in done.stdout.splitlines()
    assert done.stderr == ""


def test_operators_suspend_resume_and_export(plane: Plane, ada: User, tmp_path: Path) -> None:
    assert (
        plane.cli("tenants", "suspend", "institute", "--reason", "unpaid").returncode == 2
    )  # nobody said yes
    assert plane.cli("tenants", "suspend", "institute", "--reason", "unpaid", "-y").returncode == 0
    assert json.loads(ada.type("tenant", "--json"))["suspended"] == "unpaid"
    assert plane.cli("tenants", "resume", "institute").returncode == 0
    archive = tmp_path / "institute.zip"
    ada.type("tenants", "export", "institute", "-o", str(archive))
    assert archive.read_bytes()[:2] == b"PK"
