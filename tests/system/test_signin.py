# SPDX-License-Identifier: Apache-2.0
"""Coming in through a real control plane: with a real identity provider as a browser goes, over restarts, and out."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx2
import pytest

from tests.plane import LEITSTAND, Plane

ROOT = Path(__file__).resolve().parents[2]
START_S = 30
SECRET = "secret of the client: äöü&=%"
USERS = {"ada": {"name": "Ada Lovelace", "email": "ada@example.org", "groups": ["operators"]}}
OURS = {"sec-fetch-site": "same-origin"}

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    users = tmp_path_factory.mktemp("idp") / "users.json"
    users.write_text(json.dumps(USERS))
    command = [sys.executable, "-m", "tests.idp", "--port", "0", "--users", str(users)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        late = threading.Timer(START_S, process.kill)
        late.start()
        assert process.stdout is not None
        found = process.stdout.readline().strip()
        late.cancel()
        assert found, f"the identity provider did not start within {START_S} s"
        try:
            yield found
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("signin")
    settings = {
        "issuer": issuer,
        "client_id": "leitstand",
        "client_secret": SECRET,
        "title": "Example University",
        "mapping": [{"group": "operators", "role": "operator"}],
    }
    file = folder / "oidc.yaml"
    file.write_text(json.dumps(settings))
    with Plane(folder / "data", gpus=2, command=(LEITSTAND, "up", "--oidc", str(file))) as running:
        yield running


def sign_in(browser: httpx2.Client, plane: Plane) -> httpx2.Response:
    """From the sign-in page to the provider's form, and back."""
    begun = browser.get(f"{plane.url}/v1/signin/oidc", params={"return": "/jobs"})
    assert begun.status_code == 302, begun.text
    form = browser.get(begun.headers["location"])
    fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form.text)
    filled = {unescape(name): unescape(value) for name, value in fields} | {"username": "ada"}
    back = browser.post(str(form.url.copy_with(query=None)), data=filled)
    assert back.status_code == 303, back.text
    return browser.get(back.headers["location"])


def test_a_browser_signs_in_survives_a_restart_and_signs_out(plane: Plane) -> None:
    with httpx2.Client() as browser:
        assert browser.get(f"{plane.url}/v1/signin").json()["provider"] == "Example University"
        came = sign_in(browser, plane)
        assert came.status_code == 200, came.text
        assert 'url=/jobs"' in came.text
        me = browser.get(f"{plane.url}/v1/self").json()
        assert (me["user"]["name"], me["token"]["kind"]) == ("Ada Lovelace", "session")
        assert [one["role"] for one in me["roles"]] == ["operator"]
        plane.stop()
        plane.start()
        assert browser.get(f"{plane.url}/v1/self").json()["user"] == me["user"]
        again = sign_in(browser, plane)  # known by now
        assert again.status_code == 200
        assert browser.get(f"{plane.url}/v1/self").json()["user"]["id"] == me["user"]["id"]
        foreign = browser.post(f"{plane.url}/v1/signout", headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert browser.post(f"{plane.url}/v1/signout", headers=OURS).status_code == 204
        assert browser.get(f"{plane.url}/v1/self").status_code == 401


def test_an_answer_that_another_browser_began_signs_nobody_in(plane: Plane) -> None:
    with httpx2.Client() as evil, httpx2.Client() as victim:
        begun = evil.get(f"{plane.url}/v1/signin/oidc")
        form = evil.get(begun.headers["location"])
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form.text)
        filled = {unescape(name): unescape(value) for name, value in fields} | {"username": "ada"}
        back = evil.post(str(form.url.copy_with(query=None)), data=filled)
        met = victim.get(back.headers["location"])
        assert (met.status_code, met.headers["location"]) == (302, "/?signin=state_unknown")
        assert "leitstand_session" not in victim.cookies


def test_a_command_line_is_let_in_by_a_browser(plane: Plane) -> None:
    with httpx2.Client() as browser, httpx2.Client() as device:
        sign_in(browser, plane)
        begun = device.post(f"{plane.url}/v1/login", json={"client": "leitstand on test"}).json()
        shown = browser.get(f"{plane.url}/v1/login/{begun['user_code']}").json()
        assert (shown["client"], shown["source"]) == ("leitstand on test", "127.0.0.1")
        answer = {"user_code": begun["user_code"], "allow": True}
        assert browser.post(f"{plane.url}/v1/login/confirm", json=answer, headers=OURS).status_code == 200
        came = device.post(f"{plane.url}/v1/login/token", json={"device_code": begun["device_code"]}).json()
        bearer = {"Authorization": f"Bearer {came['secret']}"}
        assert device.get(f"{plane.url}/v1/self", headers=bearer).json()["user"]["name"] == "Ada Lovelace"
        token = f"{plane.url}/v1/tokens/{came['token']['id']}"
        assert device.delete(token, headers=bearer).status_code == 204
        assert device.get(f"{plane.url}/v1/self", headers=bearer).status_code == 401


def test_a_wrong_provider_file_is_refused_with_every_fault(tmp_path: Path) -> None:
    file = tmp_path / "oidc.yaml"
    file.write_text("issuer: http://id.example.org\nclient_secret: hunter2\nmaping: []\n")
    command = [LEITSTAND, "up", "--data", str(tmp_path / "data"), "--oidc", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    for named in ("client_id", "issuer", "maping", "mapping"):
        assert named in done.stderr
    assert "hunter2" not in done.stderr
    assert not (tmp_path / "data").exists()
