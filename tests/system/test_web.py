# SPDX-License-Identifier: Apache-2.0
"""The pages in a real browser: nothing of a stranger is executed, every fault stands at its field, they can be used by
everybody (axe-core, keyboard, 360 px, two languages), and a session ends when it should."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Route, expect

from leitstand.client import Client, Refused
from tests.applicant import admitted, application
from tests.browser import WAIT_MS, Visitor, needs_browser, relay, running
from tests.plane import LEITSTAND, Plane

pytestmark = [pytest.mark.system, needs_browser]

AXE = find_spec("axe_playwright_python")
PHONE = {"width": 360, "height": 740}
PLANTED = (
    "<script>window.executed=1</script><svg onload=window.executed=1>"
    "<img src=x onerror='window.executed=1'> \"javascript:window.executed=1"
)
Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, plane: Plane) -> Iterator[Visit]:
    """Somebody comes, with a browser of their own; at the end none of their pages may have had an error."""
    came: list[Visitor] = []

    def come(**more: Any) -> Visitor:
        came.append(Visitor(browser, plane.url, **more))
        return came[-1]

    yield come
    errors = [error for visitor in came for error in visitor.errors]
    for visitor in came:
        visitor.context.close()
    assert errors == []


@pytest.fixture(scope="module")
def operator(plane: Plane) -> Client:
    return Client(plane.url, plane.token)


@pytest.fixture(scope="module")
def member(operator: Client) -> Client:
    """The first administrator of the tenant acme."""
    return Client(operator.url, admitted(operator, "acme"))


# ── security ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_nothing_that_a_stranger_plants_is_executed_on_the_operators_pages(
    visit: Visit, operator: Client
) -> None:
    planted = PLANTED
    person = {"name": planted, "email": "x@example.org"}
    filed = operator.apply(
        {
            **application(
                "planted",
                name=planted,
                street=planted,
                postcode=planted[:20],
                city=planted,
                contacts=[{"role": "contract", **person}, {"role": "billing", **person}],
                linked_enterprises=[{"name": planted, "relation": "linked"}],
            ),
            "applicant": person,
            "purpose": planted,
        }
    )
    operator.post(f"/v1/applications/{filed['id']}/checks/identity", {"outcome": "failed", "note": planted})
    job = operator.submit({"name": planted, "run": ["printf", "%s", planted]})["id"]
    assert planted in "".join(operator.follow(job))

    guard = visit()
    guard.sign_in(operator_token(operator))
    assert_harmless(guard, "/#jobs", planted)
    assert_harmless(guard, f"/#job/{job}", planted)
    expect(guard.page.get_by_role("log")).to_contain_text(planted)
    assert_harmless(guard, "/applications", planted)
    assert_harmless(guard, f"/applications#{filed['id']}", planted)
    assert guard.page.get_by_text(planted, exact=True).count() >= 3
    begun = Client(operator.url, "").post("/v1/login", {"client": planted[:100]})
    assert_harmless(guard, f"/device?code={begun['user_code']}", planted[:100])

    operator.post(f"/v1/applications/{filed['id']}/refuse", {"reason": "other", "note": planted})
    applicant = visit()
    applicant.page.goto("/application")
    applicant.page.get_by_label("Claim").fill(filed["claim"])
    applicant.page.get_by_role("button", name="Show my application").click()
    applicant.page.get_by_role("heading", name="Why it was refused").wait_for()
    assert_no_markup(applicant)


def test_a_page_cannot_make_markup_of_text_nor_run_what_is_not_a_file_of_ours(visit: Visit) -> None:
    visitor = visit()
    visitor.page.goto("/")
    visitor.page.get_by_label("Token").wait_for()
    tried = visitor.page.evaluate(
        """async () => {
            const told = [];
            const attempt = (name, act) => { try { act(); } catch (error) { told.push(name); } };
            attempt("innerHTML", () => { document.createElement("p").innerHTML = "<b>x</b>"; });
            attempt("script", () => { document.createElement("script").textContent = "window.executed = 1"; });
            attempt("handler", () => {
                const button = document.createElement("button");
                button.setAttribute("onclick", "window.executed = 1");
                button.click();
                if (window.executed === undefined) throw new Error("it did nothing");
            });
            const stopped = new Promise((resolve) => {
                document.addEventListener("securitypolicyviolation", (event) => {
                    if (event.blockedURI.startsWith("http://127.0.0.1:9/")) resolve("elsewhere");
                });
            });
            fetch("http://127.0.0.1:9/elsewhere").catch(() => {});
            told.push(await stopped);
            return told;
        }"""
    )
    assert tried == ["innerHTML", "script", "handler", "elsewhere"]
    assert len(visitor.errors) >= 2, "the browser says what it stopped"
    visitor.errors.clear()


def test_the_cookie_of_a_session_is_out_of_reach_of_scripts_and_ends_with_sign_out(
    visit: Visit, operator: Client
) -> None:
    visitor = visit()
    visitor.sign_in(operator_token(operator))
    (cookie,) = [one for one in visitor.context.cookies() if one["name"] == "leitstand_session"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert visitor.page.evaluate("document.cookie") == ""
    held = visitor.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert cookie["value"] not in held
    visitor.page.get_by_role("button", name="Sign out").click()
    visitor.page.get_by_label("Token").wait_for()
    with pytest.raises(Refused) as refused:
        Client(operator.url, cookie["value"]).whoami()
    assert refused.value.status == 401


def test_a_session_that_is_over_leads_back_to_sign_in(visit: Visit, operator: Client, member: Client) -> None:
    token = member.issue_token(expires_in="1h")
    visitor = visit()
    visitor.sign_in(token["secret"])
    session = next(one for one in visitor.context.cookies() if one["name"] == "leitstand_session")["value"]
    Client(operator.url, session).post("/v1/signout")
    visitor.page.get_by_role("link", name="Usage").click()
    visitor.page.get_by_role("heading", name="Your session is over").wait_for()
    for _ in range(
        12
    ):  # the cookie of a session that is over is no guess of a token, however often it is shown
        visitor.page.goto("/")
        visitor.page.get_by_label("Token").wait_for()
    assert visitor.context.cookies() == []
    visitor.sign_in(token["secret"])


# ── what people do ────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_fault_of_an_application_stands_at_its_field_all_at_once(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.goto("/register")
    page.get_by_label("Legal name").wait_for()
    page.get_by_label("Your e-mail address").fill("nobody")
    page.get_by_label("VAT id").fill("DE123456789")
    page.get_by_label("Country").fill("DE")
    page.get_by_label("Leitweg-ID").fill("991-1-1")
    page.get_by_label("Heads").fill("-1")
    page.get_by_role("button", name="Add a contact").click()
    page.get_by_label("Telephone").fill("x")
    page.get_by_role("button", name="Send the application").click()
    expect(page.locator(".faults")).to_be_focused()
    for label in (
        "Legal name", "Id of the tenant", "Street and number", "Postcode", "City", "VAT id", "Leitweg-ID",
        "Heads", "Your name", "Your e-mail address", "Telephone", "I accept this contract",
    ):  # fmt: skip
        field = page.get_by_label(label).first
        expect(field).to_have_attribute("aria-invalid", "true")
        described = field.get_attribute("aria-describedby") or ""
        told = page.locator(f"#{described.split()[-1]}")
        expect(told).not_to_be_empty()
    expect(page.get_by_label("Country")).not_to_have_attribute("aria-invalid", "true")
    page.locator(".faults").get_by_role("link", name="VAT id").click()
    expect(page.get_by_label("VAT id")).to_be_focused()


def test_a_refused_applicant_reads_why_and_a_claim_opens_it_again(visit: Visit, operator: Client) -> None:
    filed = operator.apply(application("refused"))
    guard = visit()
    guard.sign_in(operator_token(operator))
    guard.page.goto(f"/applications#{filed['id']}")
    guard.page.get_by_text("Refuse with a reason").click()
    guard.page.get_by_label("Reason").select_option("sanctions")
    guard.page.get_by_label("Note to the applicant").fill("Listed since May.")
    guard.page.get_by_role("button", name="Refuse", exact=True).click()
    guard.page.get_by_role("dialog").get_by_role("button", name="Refuse").click()
    guard.page.get_by_text("refused", exact=True).first.wait_for()
    visitor = visit()
    visitor.page.goto("/application")
    visitor.page.get_by_label("Claim").fill(filed["claim"])
    visitor.page.get_by_label("Claim").press("Enter")
    visitor.page.get_by_text("A sanctions list stands against it.").wait_for()
    visitor.page.get_by_text("Listed since May.").wait_for()
    visitor.page.reload()
    visitor.page.get_by_text("Listed since May.").wait_for()


def test_a_command_line_is_let_in_by_its_user_in_the_browser(
    visit: Visit, plane: Plane, member: Client, tmp_path: Path
) -> None:
    environment = {**plane.environment, "XDG_CONFIG_HOME": str(tmp_path), "LC_ALL": "C", "BROWSER": "true"}
    del environment["LEITSTAND_TOKEN"]
    login = subprocess.Popen(
        [LEITSTAND, "login", "--url", plane.url],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert login.stdout is not None
        code, said = None, ""
        while code is None:
            line = login.stdout.readline()
            assert line, said
            said += line
            code = re.search(r"\b[A-Z0-9]{4}-[A-Z0-9]{4}\b", said)
        visitor = visit()
        visitor.sign_in(member.issue_token()["secret"])
        visitor.page.goto(f"/device?code={code[0]}")
        visitor.page.get_by_text("administrator of acme").wait_for()
        visitor.page.get_by_role("button", name="Let it in").click()
        visitor.page.get_by_text("The command line is signed in.").wait_for()
        assert login.wait(WAIT_MS / 1000) == 0, login.stdout.read()
    finally:
        login.kill()
        login.communicate()
    saved = json.loads((tmp_path / "leitstand" / "credentials.json").read_text())
    assert Client(plane.url, saved["planes"][plane.url]["token"]).whoami()["user"]["name"] == "Ada Lovelace"


def test_an_invited_person_joins_runs_a_job_and_cancels_it(visit: Visit, member: Client) -> None:
    admin = visit()
    admin.sign_in(member.issue_token()["secret"])
    admin.page.get_by_role("link", name="Account").click()
    admin.page.get_by_label("Role").select_option("member")
    admin.page.get_by_role("button", name="Invite").click()
    code = admin.page.get_by_label("Invitation code").input_value()
    visitor = visit()
    page = visitor.page
    page.goto("/join")
    page.get_by_label("Invitation code").fill(code)
    page.get_by_label("Your name").fill("Charles")
    page.get_by_role("button", name="Accept").click()
    page.get_by_text("You are now member of acme.").wait_for()
    assert page.get_by_label("Token").input_value().startswith("lst_")
    page.get_by_role("link", name="Run a job").last.click()
    page.get_by_label("Command or script").fill("sleep 600")
    page.get_by_role("button", name="What would happen?").click()
    page.get_by_text("It would start at once").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("running", exact=True).wait_for()
    admin.page.get_by_role("link", name="Jobs").click()
    row = admin.page.get_by_role("row").filter(has_text="running")
    row.wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    page.get_by_text("cancelled", exact=True).wait_for()
    admin.page.get_by_role("row").filter(has_text="cancelled").first.wait_for()  # without a reload


def test_who_presses_a_button_that_does_nothing_is_told_why(visit: Visit, member: Client) -> None:
    job = member.submit({"run": ["sleep", "600"]})["id"]
    token = member.issue_token()
    visitor = visit()
    visitor.sign_in(token["secret"])
    visitor.page.goto(f"/#job/{job}")
    visitor.page.get_by_text("running", exact=True).wait_for()
    visitor.page.route("**/cancel", lambda route: route.abort())
    visitor.page.get_by_role("button", name="Cancel").click()
    visitor.page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    visitor.page.get_by_text("The server cannot be reached.").wait_for()
    member.cancel(job)
    visitor.errors.clear()  # the browser says that the request failed


def test_a_long_list_of_jobs_is_shown_in_steps_and_stays_as_long_while_more_come(
    visit: Visit, operator: Client
) -> None:
    for _ in range(102):
        operator.post("/v1/jobs", {"run": ["true"], "resources": {"cpus": 0}})
    visitor = visit()
    visitor.sign_in(operator_token(operator))
    rows = visitor.page.locator("tbody tr")
    expect(rows).to_have_count(100)
    last = operator.submit({"run": ["true"]})["id"]
    expect(rows.first).to_contain_text(last)
    expect(rows).to_have_count(100)
    visitor.page.get_by_role("button", name="Show more").click()
    expect(rows.nth(102)).to_be_visible()


def test_a_job_that_comes_while_the_list_is_being_made_is_shown(visit: Visit, operator: Client) -> None:
    """Between the answer that lists the jobs and the events that tell of changes."""
    made: list[str] = []

    def submit_meanwhile(route: Route) -> None:
        if not made:
            made.append(operator.submit({"run": ["true"]})["id"])
            operator.wait(made[0])
        route.continue_()

    visitor = visit()
    visitor.page.route("**/v1/sites", submit_meanwhile)
    visitor.sign_in(operator_token(operator))
    expect(visitor.page.locator("tbody tr").first).to_contain_text("operator-")
    expect(visitor.page.locator("tbody")).to_contain_text(made[0])


def test_a_job_that_can_never_run_is_refused_at_the_form_with_its_reason(
    visit: Visit, member: Client
) -> None:
    visitor = visit()
    visitor.sign_in(member.issue_token()["secret"])
    visitor.page.goto("/#run")
    visitor.page.get_by_label("Command or script").fill("true")
    visitor.page.get_by_label("GPUs per node").fill("9")
    visitor.page.get_by_role("button", name="Run", exact=True).click()
    expect(visitor.page.locator(".faults")).to_contain_text("asks for 9 GPUs")
    visitor.page.get_by_label("Nodes").fill("0")
    visitor.page.get_by_role("button", name="Run", exact=True).click()
    expect(visitor.page.get_by_label("Nodes")).to_have_attribute("aria-invalid", "true")


def test_a_log_is_followed_across_a_loss_of_the_connection(
    browser: Browser, operator: Client, member: Client
) -> None:
    job = member.submit({"run": "for i in $(seq 1 25); do echo line $i; sleep 0.2; done"})["id"]
    with relay(urlsplit(operator.url).port or 0) as (port, cut):
        visitor = Visitor(browser, f"http://127.0.0.1:{port}")
        visitor.sign_in(member.issue_token()["secret"])
        followed: list[str] = []
        visitor.page.on(
            "request", lambda request: followed.append(request.url) if "/logs?" in request.url else None
        )
        visitor.page.goto(f"/#job/{job}")
        log = visitor.page.get_by_role("log")
        log.get_by_text("line 2").wait_for()
        cut()
        visitor.page.get_by_text("succeeded", exact=True).wait_for()
        expect(log).to_have_text("".join(f"line {i}\n" for i in range(1, 26)))
        assert len(followed) > 1, "the connection was never lost"
        visitor.context.close()


# ── everybody ─────────────────────────────────────────────────────────────────────────────────────────────────────
def everywhere(visitor: Visitor, job: str, number: str) -> Iterator[str]:
    """Each page in turn, loaded."""
    places = {
        "/#jobs": "table", f"/#job/{job}": "pre", "/#run": "form", "/#usage": "table", "/#account": "form",
        "/applications": "table", f"/applications#{number}": ".checks", "/device": "form", "/join": "form",
        "/register": "form", "/application": "form",
    }  # fmt: skip
    for path, there in places.items():
        visitor.page.goto("about:blank")
        visitor.page.goto(path)
        visitor.page.locator(f"main {there}").first.wait_for()
        yield path


@pytest.mark.skipif(AXE is None, reason="axe-core is missing (pip install axe-playwright-python)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(visit: Visit, operator: Client, member: Client, scheme: str) -> None:
    assert AXE is not None
    assert AXE.origin
    axe = Path(AXE.origin).with_name("axe.min.js")
    job, number = worked(operator)
    stranger = visit(color_scheme=scheme)
    stranger.page.goto("/")
    stranger.page.get_by_label("Token").wait_for()
    found = {"/ of a stranger": stranger.accessible(axe)}
    visitor = visit(color_scheme=scheme)
    visitor.sign_in(operator_token(operator))
    found |= {path: visitor.accessible(axe) for path in everywhere(visitor, job, number)}
    visitor.page.goto("/register")
    visitor.page.get_by_role("button", name="Send the application").click()
    visitor.page.locator(".faults ul").wait_for()
    found["/register with faults"] = visitor.accessible(axe)
    assert {path: faults for path, faults in found.items() if faults} == {}


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_every_page_fits_a_phone(visit: Visit, operator: Client, member: Client, locale: str) -> None:
    job, number = worked(operator)
    visitor = visit(viewport=PHONE, locale=locale)
    visitor.page.goto("/")
    visitor.page.locator("input[type=password]").fill(operator_token(operator))
    visitor.page.locator("form button").first.click()
    visitor.page.locator(".tiles li").first.wait_for()
    too_wide = {path: visitor.overflow() for path in everywhere(visitor, job, number)}
    assert {path: pixels for path, pixels in too_wide.items() if pixels > 0} == {}


def test_a_german_browser_reads_german_and_the_switch_changes_it_for_good(visit: Visit) -> None:
    visitor = visit(locale="de-DE")
    page = visitor.page
    page.goto("/")
    page.get_by_role("heading", name="Anmelden").wait_for()
    assert page.evaluate("document.documentElement.lang") == "de"
    page.get_by_role("button", name="English").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    page.goto("/register")
    page.get_by_role("heading", name="Apply for a tenant").wait_for()
    assert page.evaluate("document.documentElement.lang") == "en"


def test_one_can_sign_in_and_run_the_example_with_the_keyboard_alone(visit: Visit, member: Client) -> None:
    visitor = visit()
    page = visitor.page
    page.goto("/")
    page.get_by_label("Token").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    tab_to(visitor, "Token")
    page.keyboard.type(member.issue_token()["secret"])
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Jobs", level=1).wait_for()
    tab_to(visitor, "Run a job")
    page.keyboard.press("Enter")
    page.get_by_label("Command or script").wait_for()
    tab_to(visitor, "Run the example now")
    page.keyboard.press("Enter")
    page.get_by_role("log").get_by_text("step 1 of 5").wait_for()


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_that_waits_says_by_when_it_probably_starts_in_both_languages(
    visit: Visit, operator: Client
) -> None:
    job = operator.submit({"run": ["true"], "held": True})["id"]
    now = datetime.now(UTC)
    forecast = {
        "p50": (now + timedelta(hours=3)).isoformat(),
        "p90": None,
        "deadline_chance": 0.25,
        "at": now.isoformat(),
        "until": (now + timedelta(days=7)).isoformat(),
    }

    def foretold(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        for one in found.get("items", [found]):
            if one["id"] == job:
                one["forecast"] = forecast
        route.fulfill(response=answer, json=found)

    said = {
        "en-GB": ("starts in 3 hours (50 %), not within 7 d (90 %)", "early enough for its deadline: 25 %"),
        "de-DE": (
            "beginnt in 3 Stunden (50 %), nicht binnen 7 T (90 %)",
            "rechtzeitig für seine Frist: 25 %",
        ),
    }
    for locale, parts in said.items():
        visitor = visit(locale=locale)
        visitor.page.route("**/v1/jobs?*", foretold)
        visitor.page.route(f"**/v1/jobs/{job}", foretold)
        visitor.page.goto("/")
        visitor.page.get_by_label("Token").fill(operator_token(operator))
        visitor.page.get_by_label("Token").press("Enter")
        row = visitor.page.get_by_role("row").filter(has_text=job)
        for part in parts:
            expect(row).to_contain_text(part)
        visitor.page.goto(f"/#job/{job}")
        for part in parts:
            expect(visitor.page.get_by_role("main")).to_contain_text(part)
    operator.cancel(job)


def operator_token(operator: Client) -> str:
    """A token of the administrator that a session can be ended of."""
    return str(operator.issue_token()["secret"])


def worked(operator: Client) -> tuple[str, str]:
    """A job that ran and an application that waits, to look at."""
    job = operator.submit(
        {"run": ["echo", "hello"], "name": "a-name-without-any-place-to-break-it-" + "x" * 60}
    )["id"]
    operator.wait(job)
    waiting = [one["id"] for one in operator.applications(state="open")]
    number = waiting[0] if waiting else operator.apply(application("waiting"))["id"]
    return job, number


def assert_harmless(visitor: Visitor, path: str, planted: str) -> None:
    """The page shows the text as text, and nothing came of it."""
    visitor.page.goto("about:blank")
    visitor.page.goto(path)
    visitor.page.get_by_text(planted).first.wait_for()
    assert_no_markup(visitor)


def assert_no_markup(visitor: Visitor) -> None:
    """No element that our modules do not make, and no planted code has run."""
    assert visitor.page.evaluate("window.executed") is None
    assert visitor.page.locator("main script, main img, main svg, main iframe, main style").count() == 0
    assert visitor.page.locator('a[href^="javascript"]').count() == 0


def tab_to(visitor: Visitor, name: str) -> None:
    """Press Tab until what is called so has the focus, as the first of that name after where one is."""
    for _ in range(40):
        visitor.page.keyboard.press("Tab")
        focused = visitor.page.evaluate(
            "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"
        )
        if focused == name:
            return
    raise AssertionError(f"forty times Tab did not reach {name!r}")
