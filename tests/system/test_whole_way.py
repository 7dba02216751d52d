# SPDX-License-Identifier: Apache-2.0
"""The whole way of somebody who comes from outside, on a real control plane: application, checks, approval, token, job,
log, usage; by API, by command line, by browser, each in less than a minute, which the output tells (`pytest -s`)."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leitstand.client import Client
from tests.applicant import AGREEMENT, application, examine
from tests.browser import Visitor, needs_browser, running
from tests.plane import LEITSTAND, Plane

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
WAY_S = 60.0
IDP_STARTS_S = 30
USERS = {
    "grace": {"name": "Grace Hopper", "email": "grace@beta.example", "groups": ["beta-engineers"]},
    "mallory": {"name": "Mallory", "email": "mallory@else.example", "groups": ["somebody-else"]},
}
PROVIDER = {
    "client_id": "leitstand",
    "client_secret": "secret of the client: äöü&=%",
    "group_claim": "groups",
    "title": "House",
}


@contextmanager
def timed(way: str) -> Iterator[None]:
    """Tells the seconds of a way; fails if they are too many."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    print(f"the whole way by {way}: {took:.1f} s")
    assert took < WAY_S, f"by {way} it took {took:.1f} s; the limit is {WAY_S:.0f} s"


def test_the_whole_way_by_api(plane: Plane) -> None:
    operator = Client(plane.url, plane.token)
    with timed("API"):
        filed = Client(plane.url, "").apply(application("api"))
        applicant = Client(plane.url, filed["claim"])
        assert applicant.application(filed["id"])["state"] == "open"
        examine(operator, filed["id"])
        operator.post(f"/v1/applications/{filed['id']}/approve")
        issued = applicant.post(f"/v1/applications/{filed['id']}/token", {}, once=True)
        member = Client(plane.url, issued["secret"])
        job = member.submit({"run": ["echo", "hello from the API"], "resources": {"gpus": 1}})
        assert job["id"] == "api-1"
        assert "".join(member.follow(job["id"])) == "hello from the API\n"
        assert member.job(job["id"])["exit_code"] == 0
        (used,) = member.usage("project")
        assert (used["tenant"], used["jobs"]) == ("api", 1)
        assert used["gpu_s"] > 0
    assert member.whoami()["user"]["name"] == "Ada Lovelace"


def test_the_whole_way_by_command_line(plane: Plane, tmp_path: Path) -> None:
    def typed(*arguments: str, **environment: str) -> str:
        """What a command prints that somebody types who is no administrator of the machine."""
        known = {name: value for name, value in os.environ.items() if not name.startswith("LEITSTAND_")}
        done = subprocess.run(
            [LEITSTAND, *arguments],
            env={**known, "XDG_CONFIG_HOME": str(tmp_path), "NO_COLOR": "1", "LC_ALL": "C", **environment},
            capture_output=True,
            text=True,
            timeout=WAY_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    operator = {"LEITSTAND_URL": plane.url, "LEITSTAND_TOKEN": plane.token}
    about = {
        "--tenant": "cli", "--class": "startup", "--legal-name": "Beta GmbH", "--street": "Weg 2",
        "--postcode": "10115", "--city": "Berlin", "--country": "DE", "--size-class": "micro",
        "--applicant": "Bob", "--email": "bob@beta.example", "--accept-agreement": AGREEMENT,
    }  # fmt: skip
    with timed("command line"):
        said = typed(
            "apply", "--url", plane.url, "--json", *[word for pair in about.items() for word in pair]
        )
        number = json.loads(said)["id"]
        assert number in typed("applications", "list", **operator)
        for check in ("identity", "sanctions", "export_control", "size_class"):
            typed("applications", "check", number, check, "passed", **operator)
        typed("applications", "approve", number, **operator)
        typed("application", "claim")
        assert typed("run", "--gpus", "1", "--", "echo", "hello from a terminal") == "hello from a terminal\n"
        assert typed("logs", "cli-1") == "hello from a terminal\n"
        (used,) = json.loads(typed("usage", "--json"))
        assert (used["tenant"], used["jobs"]) == ("cli", 1)


@needs_browser
def test_the_whole_way_by_browser(plane: Plane) -> None:
    with running() as browser:
        applicant = Visitor(browser, plane.url)
        operator = Visitor(browser, plane.url)
        operator.sign_in(plane.token)
        with timed("browser"):
            apply(applicant, "web")
            approve(operator, "web")
            applicant.page.get_by_role("button", name="Sign in to web").click()
            run_the_example(applicant, "web-1")
            applicant.page.get_by_role("link", name="Usage", exact=True).click()
            row = applicant.page.get_by_role("row").filter(has_text="web / default")
            assert re.search(r"\b5(\.\d)? GPU-s", row.inner_text())
            applicant.page.get_by_text("of 100 GPU-h are left").wait_for()
        assert applicant.errors + operator.errors == []


@needs_browser
def test_somebody_of_a_house_with_an_identity_provider_comes_to_a_job_with_its_groups_role(
    tmp_path: Path,
) -> None:
    users = tmp_path / "users.json"
    users.write_text(json.dumps(USERS))
    command = [sys.executable, "-m", "tests.idp", "--port", "0", "--users", str(users)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as provider:
        try:
            assert provider.stdout is not None
            issuer = provider.stdout.readline().strip()
            file = tmp_path / "provider.json"
            mapping = [{"group": "beta-engineers", "role": "member", "tenant": "beta", "project": "default"}]
            file.write_text(json.dumps({"issuer": issuer, **PROVIDER, "mapping": mapping}))
            with Plane(tmp_path / "data", command=(LEITSTAND, "up", "--oidc", str(file))) as plane:
                Client(plane.url, plane.token).post("/v1/tenants", {"id": "beta"})
                with running() as browser, timed("browser with the house's own sign-in"):
                    grace = sign_in_by_house(Visitor(browser, plane.url), "grace")
                    grace.page.get_by_role("link", name="Run a job", exact=True).first.click()
                    run_the_example(grace, "beta-1")
                    mallory = sign_in_by_house(Visitor(browser, plane.url), "mallory")
                    mallory.page.get_by_text("There is no job yet.").wait_for()
                    mallory.page.goto("/#job/beta-1")
                    mallory.page.get_by_text("there is no job 'beta-1'").wait_for()
                    assert grace.errors + mallory.errors == []
        finally:
            provider.terminate()


# ── what people do ────────────────────────────────────────────────────────────────────────────────────────────────
def apply(visitor: Visitor, tenant: str) -> None:
    """Fill in the form of a stranger and send it."""
    page = visitor.page
    page.goto("/")
    page.get_by_role("link", name="Apply for access").click()
    given = {
        "Legal name": "Gamma AG", "Id of the tenant": tenant, "Street and number": "Platz 3", "Postcode": "80331",
        "City": "München", "Country": "DE", "Your name": "Ada Lovelace", "Your e-mail address": "ada@gamma.example",
    }  # fmt: skip
    for label, value in given.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("I accept this contract").check()
    page.get_by_role("button", name="Send the application").click()
    page.get_by_role("heading", name=f"Application for {tenant}").wait_for()
    assert page.get_by_label("Claim").input_value().startswith("lsa_")


def approve(visitor: Visitor, tenant: str) -> None:
    """Record every check of the one that waits, and approve it."""
    page = visitor.page
    page.get_by_role("link", name="Applications").click()
    page.get_by_role("row").filter(has_text=tenant).get_by_role("link").click()
    for check in ("Identity", "Sanctions lists", "Export control", "Declaration of the size class"):
        page.get_by_role("button", name=f"{check}: passed").click()
        page.get_by_role("listitem").filter(has_text=check).get_by_text("passed", exact=True).wait_for()
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("dialog").get_by_role("button", name="Approve").click()
    page.get_by_text("approved", exact=True).wait_for()


def run_the_example(visitor: Visitor, job: str) -> None:
    """One click, and the log to its end."""
    page = visitor.page
    page.get_by_role("button", name="Run the example now").click()
    page.get_by_role("heading", name=job).wait_for()
    log = page.get_by_role("log")
    log.get_by_text("step 1 of 5").wait_for()
    page.get_by_text("succeeded", exact=True).wait_for()
    log.get_by_text("done").wait_for()


def sign_in_by_house(visitor: Visitor, name: str) -> Visitor:
    """By the button of the provider, there and back again."""
    page = visitor.page
    page.goto("/")
    page.get_by_role("link", name="Sign in with House").click()
    page.locator("input[name=username]").fill(name)
    page.locator("input[name=username]").press("Enter")
    page.get_by_role("heading", name="Jobs", level=1).wait_for()
    return visitor
