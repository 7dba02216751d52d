# SPDX-License-Identifier: Apache-2.0
"""Applications as stories: from the filing over the checks to the first token, or to a refusal that stays visible."""

from typing import Any

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core import onboarding
from leitstand.core.acts import ClaimApplication, Grant
from leitstand.core.budgets import Budget
from leitstand.core.cycle import Core
from leitstand.core.rules import Onboarding, Rules, check
from leitstand.core.units import HOUR_US, SECOND_US
from tests.unit.story import act, at, cluster, names, refused, sha

NO_DIGEST = "the digest is no fresh SHA-256 in 64 lower-case hex digits"
CHECKS = ("identity", "sanctions", "export_control", "size_class", "agreement")


def s(seconds: int) -> int:
    return seconds * SECOND_US


def filed(tenant: str = "newco", claim: str = "claim", **more: Any) -> a.ApplicationFiled:
    said = {"tenant_class": "startup", "agreement": "2026-11", **more}
    return a.ApplicationFiled("", tenant, digest=sha(claim), **said)


def claim(name: str = "claim", new_token: str = "t", until: int = 500) -> ClaimApplication:
    return ClaimApplication(sha(name), sha(new_token), s(until))


def passed(core: Core, application: str = "a1", second: int = 1) -> None:
    for name in CHECKS[:-1]:
        act(core, second, a.CheckRecorded(application, name, "passed", by="u7"))


def who(core: Core, name: str) -> str:
    found = core.state.people.tokens.get(core.state.digests.get(sha(name), ""))
    return found.user if found else ""


def lapse(seconds: int) -> Rules:
    return Rules(claim_again_us=s(seconds))


def test_the_way_of_an_applicant_from_the_door_to_the_first_token() -> None:
    core = cluster(4)
    facts = at(core, 1, filed())
    assert facts == [
        msgspec.structs.replace(filed(), application="a1"),
        a.CheckRecorded("a1", "agreement", "passed"),
    ]
    assert core.answers[0].made == "a1"
    passed(core, second=2)
    assert at(core, 3, a.ApplicationApproved("a1", "u99", "u7")) == [
        a.ApplicationApproved("a1", "u1", "u7"),
        a.TenantAdded("newco", "startup", "u7"),
        a.UserAdded("u1", "u7"),
        a.RoleGranted("u1", "tenant_admin", "newco", by="u7"),
        a.BudgetGranted("b1", "newco", 100 * HOUR_US, s(3) + Onboarding().first_budget_us, "grant", "u7"),
    ]
    assert core.answers[0].made == "newco"
    assert names(at(core, 4, claim())) == ["ApplicationClaimed", "TokenIssued"]
    assert who(core, "t") == "u1"
    assert core.state.people.users["u1"].grants == [Grant("tenant_admin", "newco")]
    tenant = core.state.tenants["newco"]
    assert tenant.budgets == [Budget("b1", 100 * HOUR_US, s(3) + Onboarding().first_budget_us, "grant")]
    assert names(at(core, 5, f.SubmitJob("newco", "default", f.Resources(1))))[-1] == "RunPlaced"
    application = core.state.onboarding.applications["a1"]
    assert (application.state, application.user, application.by) == ("approved", "u1", "u7")
    assert (application.filed_us, application.decided_us, application.claimed_us) == (s(1), s(3), s(4))


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        (filed("Ünit"), ("invalid", "Ünit startup")),
        (filed(tenant_class="bank"), ("invalid", "newco bank")),
        (filed(agreement="1999"), ("invalid", "agreement '1999'; the one in force is '2026-11'")),
        (filed("acme"), ("exists", "acme")),
        (filed("opened"), ("exists", "opened")),
        (filed(claim="opened"), ("invalid", NO_DIGEST)),
        (a.ApplicationFiled("", "newco", "startup", "x", "2026-11"), ("invalid", NO_DIGEST)),
        (a.CheckRecorded("a9", "identity", "passed"), ("unknown_application", "a9")),
        (
            a.CheckRecorded("a1", "mood", "passed"),
            ("invalid", f"there is no check 'mood'; its checks are {', '.join(CHECKS)}"),
        ),
        (
            a.CheckRecorded("a1", "identity", "so-so"),
            ("invalid", "outcome 'so-so'; known: passed, failed"),
        ),
        (a.ApplicationApproved("a9", ""), ("unknown_application", "a9")),
        (
            a.ApplicationApproved("a1", ""),
            ("conflict", "checks that have not passed: identity, sanctions, export_control, size_class"),
        ),
        (a.ApplicationRefused("a9", "identity"), ("unknown_application", "a9")),
        (
            a.ApplicationRefused("a1", "mood"),
            ("invalid", f"reason 'mood'; known: {', '.join(onboarding.REFUSALS)}"),
        ),
        (a.ApplicationWithdrawn("a9"), ("unknown_application", "a9")),
        (claim("nothing"), ("unknown_application", "")),
        (claim("opened"), ("conflict", "application a1 is open")),
        (a.CheckRecorded("a1", "identity", "passed", "x" * 70_000), None),
        (a.ApplicationRefused("a1", "identity", "x" * 70_000), None),
    ],
)
def test_what_cannot_be_is_refused_without_a_record_and_says_why(
    asked: f.Observation, refusal: tuple[str, str] | None
) -> None:
    core = cluster(4)
    act(core, 0, filed("opened", "opened"))
    said = refused(core, 1, asked)
    assert said == refusal or (refusal is None and said[0] == "invalid")


class TestChecks:
    def test_the_latest_outcome_of_a_check_counts(self) -> None:
        core = cluster(4)
        act(core, 0, filed())
        passed(core)
        act(core, 2, a.CheckRecorded("a1", "sanctions", "failed", "n1", "u8"))
        assert refused(core, 3, a.ApplicationApproved("a1", "")) == (
            "conflict",
            "checks that have not passed: sanctions",
        )
        found = core.state.onboarding.applications["a1"].checks[1]
        assert (found.outcome, found.note, found.by, found.at) == ("failed", "n1", "u8", s(2))
        act(core, 4, a.CheckRecorded("a1", "sanctions", "passed"))
        act(core, 5, a.ApplicationApproved("a1", ""))

    def test_an_application_keeps_the_checks_under_which_it_was_filed(self) -> None:
        core = cluster(4)
        act(core, 0, filed())
        at(core, 1, f.RulesSet(Rules(onboarding=Onboarding(checks={"colour": "reviewer"})), ""))
        passed(core, second=2)
        act(core, 3, a.ApplicationApproved("a1", ""))
        assert names(at(core, 4, filed("other", "c2"))) == ["ApplicationFiled"]
        assert [one.name for one in core.state.onboarding.applications["a2"].checks] == ["colour"]

    def test_a_class_without_a_first_budget_gets_none(self) -> None:
        budgets = dict(Onboarding().first_budget_gpu_us, startup=0)
        core = cluster(4, rules=Rules(onboarding=Onboarding(first_budget_gpu_us=budgets)))
        act(core, 0, filed())
        passed(core)
        assert "BudgetGranted" not in names(at(core, 2, a.ApplicationApproved("a1", "")))

    @pytest.mark.parametrize(
        "rules",
        [
            Onboarding(first_budget_gpu_us=dict(Onboarding().first_budget_gpu_us, public=-1)),
            Onboarding(first_budget_gpu_us=dict(Onboarding().first_budget_gpu_us, public=2**63)),
            Onboarding(checks={"x" * 64: "reviewer"}),
            Onboarding(checks={f"c{i}": "reviewer" for i in range(101)}),
            Onboarding(agreement="x" * 64),
            Onboarding(agreement=""),
        ],
    )
    def test_rules_that_no_application_could_follow_are_refused(self, rules: Onboarding) -> None:
        assert check(Rules()) == []
        assert refused(cluster(4), 0, f.RulesSet(Rules(onboarding=rules), ""))[0] == "invalid"


class TestRaces:
    def test_two_open_applications_cannot_want_one_id(self) -> None:
        core = cluster(4)
        at(core, 0, filed("newco", "c1"), filed("newco", "c2"))
        assert [answer.refused for answer in core.answers] == ["", "exists"]
        act(core, 1, a.ApplicationWithdrawn("a1"))
        assert act(core, 2, filed("newco", "c2")) == "a2"

    def test_a_tenant_that_was_added_meanwhile_is_not_approved_again(self) -> None:
        core = cluster(4)
        act(core, 0, filed())
        passed(core)
        act(core, 2, a.TenantAdded("newco"))
        assert refused(core, 3, a.ApplicationApproved("a1", "")) == ("exists", "newco")
        act(core, 4, a.ApplicationRefused("a1", "other"))

    @pytest.mark.parametrize(
        ("end", "state"),
        [
            (a.ApplicationApproved("a1", ""), "approved"),
            (a.ApplicationRefused("a1", "capacity"), "refused"),
            (a.ApplicationWithdrawn("a1"), "withdrawn"),
        ],
    )
    def test_what_is_over_is_over(self, end: f.Observation, state: str) -> None:
        core = cluster(4)
        act(core, 0, filed())
        passed(core)
        act(core, 2, end)
        for asked in (
            a.CheckRecorded("a1", "identity", "failed"),
            a.ApplicationApproved("a1", ""),
            a.ApplicationRefused("a1", "other"),
            a.ApplicationWithdrawn("a1"),
        ):
            assert refused(core, 3, asked) == ("conflict", f"application a1 is {state}")
        if state != "approved":
            assert refused(core, 3, claim()) == ("conflict", f"application a1 is {state}")

    def test_approval_finds_no_room_for_its_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        core = cluster(4)
        act(core, 0, filed())
        passed(core)
        monkeypatch.setattr(onboarding, "USERS_MAX", 0)
        assert refused(core, 1, a.ApplicationApproved("a1", "")) == ("busy", "0")


def test_a_refused_application_stays_listed_with_its_reason() -> None:
    core = cluster(4)
    act(core, 0, filed())
    asked = a.ApplicationRefused("a1", "export_control", "n3", "u7")
    assert at(core, 2, asked) == [asked]
    found = core.state.onboarding.applications["a1"]
    assert (found.state, found.reason, found.note, found.by, found.decided_us) == (
        "refused",
        "export_control",
        "n3",
        "u7",
        s(2),
    )


class TestClaim:
    def approved(self, rules: Rules | None = None) -> Core:
        core = cluster(4, rules=rules)
        act(core, 0, filed())
        passed(core)
        act(core, 2, a.ApplicationApproved("a1", ""))
        return core

    def test_shown_again_within_the_hour_the_token_is_replaced_and_later_it_is_used_up(self) -> None:
        core = self.approved(lapse(60))
        act(core, 10, claim(new_token="lost"))
        assert names(at(core, 69, claim(new_token="kept"))) == ["TokenRevoked", "TokenIssued"]
        assert (who(core, "lost"), who(core, "kept")) == ("", "u1")
        assert refused(core, 70, claim(new_token="late")) == (
            "conflict",
            "the claim is used up: ask an administrator of the tenant for an invitation",
        )

    def test_it_gives_nothing_for_a_user_who_is_gone(self) -> None:
        core = self.approved()
        act(core, 3, a.UserRemoved("u1"))
        assert refused(core, 4, claim()) == ("unknown_user", "u1")

    @pytest.mark.parametrize("asked", [claim(new_token="claim"), claim(until=3), claim(until=10**9)])
    def test_a_token_that_cannot_be_issued_leaves_the_claim_unused(self, asked: ClaimApplication) -> None:
        core = self.approved()
        assert refused(core, 3, asked)[0] == "invalid"
        act(core, 4, claim())


class TestLimits:
    def test_open_applications_have_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onboarding, "OPEN_MAX", 2)
        core = cluster(4)
        for number in (1, 2):
            act(core, 0, filed(f"new{number}", f"c{number}"))
        assert refused(core, 1, filed("new3", "c3")) == ("busy", "2")
        act(core, 2, a.ApplicationWithdrawn("a1"))
        assert act(core, 3, filed("new3", "c3")) == "a3"

    @pytest.mark.parametrize("second", [5, 7])
    def test_of_those_that_are_over_the_one_decided_first_leaves(
        self, second: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not the one that was filed first: it may have been decided just now, and is still to be claimed."""
        monkeypatch.setattr(onboarding, "KEPT_MAX", 2)
        core = cluster(4)
        for number in range(1, 5):
            act(core, number - 1, filed(f"new{number}", f"c{number}"))
        act(core, 5, a.ApplicationRefused("a3", "other"))
        act(core, second, a.ApplicationRefused("a2", "other"))
        passed(core, "a1", second)
        act(core, second, a.ApplicationApproved("a1", ""))
        gone = "3" if second > 5 else "2"  # of two decided at once, the one filed first
        assert f"a{gone}" not in core.state.onboarding.applications
        assert len(core.state.onboarding.applications) == 3
        assert sha(f"c{gone}") not in core.state.digests
        act(core, 8, claim("c1"))
