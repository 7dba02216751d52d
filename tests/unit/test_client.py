# SPDX-License-Identifier: Apache-2.0
"""The SDK against the real faces in this process: what a Python user does with it, without a command line."""

import ast
import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand import client as sdk
from leitstand.client import Client, NotLeitstand, Refused, Unreachable
from tests.unit.faces_story import TOKEN, Plant

LEGAL = {
    "name": "Acme AI GmbH",
    "street": "Hauptstr. 1",
    "postcode": "01067",
    "city": "Dresden",
    "country": "DE",
    "size_class": "large",
    "contacts": [{"role": "contract", "name": "Ada", "email": "ada@acme.example"}],
}


class Through(httpx2.BaseTransport):
    """Carries requests into the faces of a plant; `lost`: so many answers get lost on the way back."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.lost = 0
        self.sent: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        content = request.read()
        target = request.url.raw_path.decode()
        self.sent.append(f"{request.method} {target}")
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        answer = self.plant.run(
            lambda client: client.request(request.method, target, content=content, headers=headers), ""
        )
        if self.lost:
            self.lost -= 1
            raise httpx2.ReadError("the answer is lost")
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def through(tmp_path: Path) -> Through:
    return Through(Plant(tmp_path))


@pytest.fixture
def cloud(through: Through) -> Client:
    return client(through)


def client(through: Through, token: str = TOKEN) -> Client:
    return Client("http://test", token, transport=through, sleep=lambda _: None)


def tenant_of(cloud: Client, through: Through) -> tuple[dict[str, Any], Client]:
    """The whole way in: apply, check, approve, fetch the first token; the application, and its client."""
    stranger = client(through, "")
    agreement = stranger.get("/v1/agreement")["version"]
    asked = {"tenant": "acme", "class": "startup", "legal": LEGAL, "agreement": agreement}
    filed = stranger.apply({**asked, "applicant": {"name": "Ada Lovelace", "email": "ada@acme.example"}})
    for check in filed["checks"]:
        if check["outcome"] == "open":
            cloud.post(sdk.path("applications", filed["id"], "checks", check["name"]), {"outcome": "passed"})
    cloud.post(sdk.path("applications", filed["id"], "approve"))
    holder = client(through, filed["claim"])
    assert holder.application(filed["id"])["state"] == "approved"
    secret = holder.post(sdk.path("applications", filed["id"], "token"), {})["secret"]
    return filed, client(through, secret)


def test_the_whole_way_from_application_to_job(cloud: Client, through: Through) -> None:
    filed, ours = tenant_of(cloud, through)
    assert [one["id"] for one in cloud.applications(state="approved")] == [filed["id"]]
    who = ours.whoami()
    assert (who["user"]["name"], who["home"]) == ("Ada Lovelace", {"tenant": "acme", "project": "default"})
    job = ours.submit({"run": ["true"]})
    assert job["id"] == "acme-1"
    assert job["user"]["name"] == "Ada Lovelace"
    assert [one["id"] for one in ours.jobs()] == ["acme-1"]
    assert ours.cancel("acme-1")["id"] == "acme-1"
    assert [one["id"] for one in ours.tenants()] == ["acme"]
    assert ours.tenant("acme")["stage"] == "active"
    with pytest.raises(Refused) as caught:
        ours.tenant("operator")
    assert (caught.value.status, caught.value.code) == (404, "unknown-tenant")


def test_what_one_may_do_comes_with_its_policies(cloud: Client, through: Through) -> None:
    _, ours = tenant_of(cloud, through)
    assert ours.can_i("job:submit", tenant="acme", project="default")["allowed"]
    assert not ours.can_i("tenant:suspend", tenant="acme")["allowed"]
    assert cloud.can_i("tenant:suspend", tenant="acme")["policies"][0]["id"] == "operator"


def test_tokens_are_issued_once_listed_and_revoked(cloud: Client, through: Through) -> None:
    _, ours = tenant_of(cloud, through)
    issued = ours.issue_token(expires_in="1d", scopes=["read"])
    narrow = client(through, issued["secret"])
    assert narrow.whoami()["token"]["scopes"] == ["read"]
    with pytest.raises(Refused):
        narrow.submit({"run": ["true"]})
    assert issued["token"]["id"] in [one["id"] for one in ours.tokens()]
    ours.revoke_token(issued["token"]["id"])
    with pytest.raises(Refused) as caught:
        narrow.whoami()
    assert caught.value.status == 401


def test_what_would_be_done_twice_is_sent_once(cloud: Client, through: Through) -> None:
    _, ours = tenant_of(cloud, through)
    before = len(ours.tokens())
    through.lost = 1
    with pytest.raises(Unreachable) as caught:
        ours.issue_token()
    assert caught.value.sent
    assert len(ours.tokens()) == before + 1  # the one whose answer was lost, and no other
    through.lost = 1
    with pytest.raises(Unreachable):
        ours.invite("viewer", tenant="acme")


def test_a_submission_and_an_application_are_one_however_often_they_are_sent(
    cloud: Client, through: Through
) -> None:
    through.lost = 2
    cloud.submit({"run": ["true"]})
    assert len(list(cloud.jobs())) == 1
    through.lost = 2
    agreement = cloud.get("/v1/agreement")["version"]
    through.lost = 2
    applicant = {"name": "Ada", "email": "ada@acme.example"}
    asked = {"tenant": "acme", "class": "startup", "legal": LEGAL, "agreement": agreement}
    assert client(through, "").apply({**asked, "applicant": applicant})["claim"].startswith("lsa_")
    assert len(cloud.applications()) == 1


def test_secrets_go_in_and_never_come_out(cloud: Client, through: Through) -> None:
    assert cloud.set_secret("HF_TOKEN", "hf_planted") == {"name": "HF_TOKEN", "version": 1}
    assert cloud.set_secret("a.b", "x", tenant="operator", project="default")["version"] == 1
    listed = cloud.secrets(tenant="operator")
    assert [one["name"] for one in listed] == ["HF_TOKEN", "a.b"]
    assert "hf_planted" not in str(listed)
    cloud.delete_secret("a.b")
    assert [one["name"] for one in cloud.secrets()] == ["HF_TOKEN"]


def test_who_is_invited_comes_in(cloud: Client, through: Through) -> None:
    tenant_of(cloud, through)
    invited = cloud.invite("viewer", tenant="acme", email="bob@acme.example", expires_in="1d")
    accepted = client(through, "").post("/v1/invitations/accept", {"code": invited["code"], "name": "Bob"})
    guest = client(through, accepted["secret"])
    assert guest.whoami()["roles"][0]["role"] == "viewer"


def test_a_plan_that_was_agreed_to_is_what_is_submitted(cloud: Client, through: Through) -> None:
    asked = {"run": ["true"], "resources": {"gpus": 4}}
    plan = cloud.plan(asked)
    assert plan["price"] == {"eur": None, "note": "no price plan is in force"}
    for _ in range(2):
        through.plant.submit(resources={"gpus": 4})
    with pytest.raises(Refused) as caught:
        cloud.submit(asked, expected=plan["expected"])
    assert caught.value.code == "plan-changed"
    cloud.submit(asked, expected=cloud.plan(asked)["expected"])


def test_a_tenant_is_exported_whole(cloud: Client, through: Through) -> None:
    tenant_of(cloud, through)
    file = io.BytesIO()
    cloud.export("acme", file)
    with zipfile.ZipFile(file) as archive:
        assert {"tenant.json", "legal.json", "acts.jsonl"} <= set(archive.namelist())
    with pytest.raises(Refused) as caught:
        cloud.export("nobody", io.BytesIO())
    assert caught.value.status == 404


class Interrupted(httpx2.BaseTransport):
    """Streams that stand for `quiet_s` of the clock and break; `away`: then nothing answers any more."""

    def __init__(self, quiet_s: float, breaks: int, away: bool = False) -> None:
        self.now = 0.0
        self.quiet_s = quiet_s
        self.breaks = breaks
        self.away = away

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.breaks == 0 and self.away:
            raise httpx2.ConnectError("refused")
        content = self._broken() if self.breaks else b"event: end\ndata: {}\n\n"
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    def _broken(self) -> Iterator[bytes]:
        yield b": keep-alive\n\n"
        self.now += self.quiet_s
        self.breaks -= 1
        raise httpx2.ReadError("broken")


def test_a_job_that_is_quiet_for_long_is_followed_across_a_lost_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Interrupted(sdk.OUTAGE_MAX_S * 2, breaks=3)
    monkeypatch.setattr("leitstand.client.time.monotonic", lambda: broken.now)
    slept: list[float] = []
    cloud = Client("http://test", TOKEN, transport=broken, sleep=slept.append)
    assert list(cloud.follow("acme-1")) == []
    assert len(slept) == 3


@pytest.mark.parametrize("endless", [lambda cloud: cloud.follow("acme-1"), lambda cloud: cloud.watch()])
def test_who_follows_gives_up_after_long_without_contact(endless: Callable[[Client], Iterator[Any]]) -> None:
    slept: list[float] = []
    cloud = Client("http://test", TOKEN, transport=Interrupted(0.0, 1, away=True), sleep=slept.append)
    with pytest.raises(Unreachable):
        list(endless(cloud))
    assert sdk.OUTAGE_MAX_S < sum(slept) < sdk.OUTAGE_MAX_S + 60


@pytest.mark.parametrize("word", ["..", ".", "../../v1/tenants", "a/b"])
def test_the_id_of_a_job_leads_to_no_other_path(cloud: Client, through: Through, word: str) -> None:
    for ask in (cloud.job, cloud.cancel, cloud.log):
        with pytest.raises(Refused):
            ask(word)
    assert all(one.split(" ")[1].startswith("/v1/jobs/") for one in through.sent)
    assert all(".." not in one for one in through.sent)


def test_usage_is_summed_by_tenant_project_or_job(cloud: Client, through: Through) -> None:
    cloud.submit({"run": ["true"], "resources": {"gpus": 1}})
    through.plant.finish("operator-1.1")
    assert [row["tenant"] for row in cloud.usage()] == ["operator"]
    assert [row["job"] for row in cloud.usage("job", tenant="operator")] == ["operator-1"]


def test_a_refusal_names_every_fault_and_the_hint(cloud: Client) -> None:
    with pytest.raises(Refused) as caught:
        cloud.submit({"run": ["true"], "num_nodes": 0, "nome": "x"})
    assert caught.value.code == "invalid-request"
    assert "/num_nodes" in str(caught.value)
    assert "/nome" in str(caught.value)


def test_what_is_no_control_plane_is_told() -> None:
    other = httpx2.MockTransport(lambda _: httpx2.Response(200, text="<html>"))
    with pytest.raises(NotLeitstand):
        Client("http://test", "x", transport=other).whoami()


@pytest.mark.parametrize("word", ["..", ".", "a/b", "a?b#c", "ü", "%2e%2e"])
def test_no_word_leads_to_another_path(cloud: Client, through: Through, word: str) -> None:
    with pytest.raises(Refused):
        cloud.tenant(word)
    assert len(through.sent) == 1
    assert through.sent[0].startswith("GET /v1/tenants/")
    assert "/" not in through.sent[0].removeprefix("GET /v1/tenants/")


def test_the_file_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(sdk.__file__).read_text())
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names - sys.stdlib_module_names == {"httpx2"}
