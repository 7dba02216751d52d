# SPDX-License-Identifier: Apache-2.0
"""What the core promises about tenants and people on any history of acts, jobs and reports."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core import onboarding, tenancy
from leitstand.core.acts import AcceptInvitation, ClaimApplication, Grant, SignIn
from leitstand.core.cycle import Core
from leitstand.core.people import GRANTS_MAX, ROLES
from leitstand.core.rules import DISCIPLINES, Exit, Onboarding, Rules
from leitstand.core.state import Projection, State
from leitstand.core.tenancy import WORKING
from tests.properties.test_core import check_nothing_oversold, shapes
from tests.unit.story import sha

# Spans of some µs, so that histories of some µs see claims, tokens and stages come and go.
RULES = Rules(
    onboarding=Onboarding(checks={"identity": "reviewer", "agreement": "applicant"}, first_budget_us=40),
    exit=Exit(notice_us=20, transition_us=20, transition_max_us=60, retrieval_us=20),
    token_ttl_max_us=100,
    invitation_ttl_max_us=30,
    claim_again_us=25,
)

soon = st.integers(0, 60)  # µs from now; becomes a time when it is asked
tenants = st.sampled_from(["acme", "acme", "beta", "new1", "nobody"])
projects = st.sampled_from(["", "", "default", "lab"])
users = st.sampled_from(["u1", "u2", "u3", "u4", "u9"])
secrets = st.sampled_from([sha(number) for number in range(20)])
roles = st.sampled_from([*ROLES, "king"])
grants = st.builds(Grant, roles, st.sampled_from(["", "acme", "new1"]), projects)
ids = {kind: st.sampled_from([f"{kind}{number}" for number in range(1, 7)]) for kind in "kia"}

tenant_acts = st.one_of(
    st.builds(a.TenantAdded, tenants),
    st.builds(
        a.TenantSuspended, tenants, st.sampled_from([*a.SUSPENSIONS, "mood"]), st.sampled_from(a.RUNNING)
    ),
    st.builds(a.TenantResumed, tenants),
    st.builds(a.TenantResumed, tenants),
    st.builds(a.TenantExitStarted, tenants, st.integers(0, 22), st.just(0), st.just(0)),
    st.builds(a.TenantExitExtended, tenants, soon, st.just(0), st.sampled_from(tenancy.EXTENDERS)),
    st.builds(a.ProjectAdded, tenants, projects),
    st.builds(a.ProjectClosed, tenants, projects),
    st.builds(a.BudgetGranted, st.just(""), tenants, st.integers(0, 9), soon),
    st.builds(a.SecretSet, tenants, projects, st.just("key"), st.integers(0, 2)),
    st.builds(a.SecretDeleted, tenants, projects, st.just("key")),
    st.builds(a.RecordsErased, users),
    st.one_of(st.builds(a.LegalIdentityChanged, tenants), st.builds(a.TenantExported, tenants)),
)
share_acts = st.one_of(
    st.builds(
        a.EntitlementsChanged,
        st.just("shared"),
        st.builds(
            a.Entitlement, st.sampled_from(["industry/acme", "industry", ""]), st.sampled_from([0, 1000])
        ).map(lambda one: (one,)),
        st.sampled_from([0, 0, 40]),
    ),
    st.builds(
        a.CommitmentMade,
        st.just(""),
        st.just("shared"),
        st.just("industry/acme"),
        st.sampled_from([1000, 2000]),
        soon,
        st.just(10_000),
    ),
    st.builds(a.CommitmentEnded, st.sampled_from(["c1", "c2"])),
    st.builds(a.CommitmentEnded, st.just("c1")),
)
people_acts = st.one_of(
    st.builds(a.UserAdded, st.just("")),
    st.builds(a.UserRemoved, users),
    st.builds(a.RoleGranted, users, roles, st.sampled_from(["", "acme"]), projects),
    st.builds(a.RoleRevoked, users, roles, st.sampled_from(["", "acme"]), projects),
    st.builds(a.TokenIssued, st.just(""), users, secrets, soon, tenant=st.sampled_from(["", "acme"])),
    st.builds(a.TokenRevoked, ids["k"]),
    st.builds(
        a.InvitationIssued, st.just(""), st.sampled_from(["acme", "new1", ""]), roles, secrets, soon, projects
    ),
    st.builds(a.InvitationWithdrawn, ids["i"]),
    st.builds(AcceptInvitation, secrets, secrets, soon, user=st.sampled_from(["", "", "u1"])),
    st.builds(
        SignIn, secrets, soon, st.sampled_from(["", "u1", "u2"]), st.lists(grants, max_size=3).map(tuple)
    ),
)
onboarding_acts = st.one_of(
    st.builds(
        a.ApplicationFiled,
        st.just(""),
        st.sampled_from(["new1", "new2", "acme"]),
        st.just("public"),
        secrets,
        st.just("2026-11"),
    ),
    st.builds(
        a.CheckRecorded, ids["a"], st.just("identity"), st.sampled_from(["passed", "passed", "failed"])
    ),
    st.builds(a.ApplicationApproved, ids["a"], st.just("")),
    st.builds(a.ApplicationRefused, ids["a"], st.just("other")),
    st.builds(a.ApplicationWithdrawn, ids["a"]),
    st.builds(ClaimApplication, secrets, secrets, soon),
)
job_steps = st.one_of(
    st.builds(
        f.SubmitJob,
        tenant=tenants,
        project=st.sampled_from(["default", "default", "lab"]),
        resources=shapes,
        priority=st.integers(0, 2),
        retries=st.integers(0, 3),
        retry_on=st.sampled_from([(), ("lost",), ("exit_code", "signal")]),
    ),
    # tells the n-th live run to start or end, or cancels the n-th live job
    st.tuples(st.sampled_from(["start", "end", "end", "cancel"]), st.integers(0, 30), st.integers(-5, 5)),
    st.builds(
        lambda d: f.RulesSet(msgspec.structs.replace(RULES, discipline=d), ""), st.sampled_from(DISCIPLINES)
    ),
)
# does it to the n-th that there is
VERBS = (
    "suspend",
    "suspend",
    "accept",
    "withdraw",
    "claim",
    "claim",
    "approve",
    "approve",
    "revoke",
    "extend",
)
aimed = st.tuples(st.sampled_from(VERBS), st.integers(0, 30), st.integers(10, 60), secrets)
KINDS = (job_steps, job_steps, aimed, aimed, tenant_acts, share_acts, people_acts, onboarding_acts)
steps = st.sampled_from(KINDS).flatmap(
    lambda kind: kind
)  # `one_of` would say a kind with many acts more often
# by themselves lists are of some five steps, which is too short a life
histories = st.lists(
    st.tuples(st.integers(0, 12), st.lists(steps, min_size=1, max_size=6)), min_size=10, max_size=30
)

TIMES = ("expires_us", "transition_us", "retrieval_us")


def observe(state: State, now: int, step: Any) -> Any:
    """The observation that the step comes to at `now`, or None."""
    if isinstance(step, tuple):
        verb, index, off = step[:3]
        found = FOUND[verb](state)
        if not found:
            return None
        one = found[index % len(found)]
        return about_job(verb, one, index, now + off) if len(step) == 3 else ABOUT[verb](one, step, now)
    due = {name: now + getattr(step, name) for name in TIMES if getattr(step, name, 0)}
    return msgspec.structs.replace(step, **due) if due else step


def about_job(verb: str, one: str, index: int, at_us: int) -> Any:
    if verb == "cancel":
        return f.CancelJob(one)
    if verb == "start":
        return f.RunStarted(one, at_us)
    outcome = f.OUTCOMES[index % len(f.OUTCOMES)]
    return f.RunEnded(one, at_us, outcome, index % 2 if outcome == "exited" else None)


def approve(one: onboarding.Application, step: Any, now: int) -> Any:
    if one.checks[0].outcome != "passed":
        return a.CheckRecorded(one.id, "identity", "passed")
    return a.ApplicationApproved(one.id, "")


def suspend(one: tenancy.Tenant, step: Any, now: int) -> Any:
    if one.suspended:
        return a.TenantResumed(one.id)
    return a.TenantSuspended(one.id, "unpaid", "stop" if step[1] % 3 == 0 else "finish")


# verb → what of the state it is about, and for the acts: what is asked about one of these
FOUND: dict[str, Any] = {
    "cancel": lambda state: list(state.jobs),
    "start": lambda state: list(state.runs),
    "end": lambda state: list(state.runs),
    "accept": lambda state: list(state.people.invitations.values()),
    "withdraw": lambda state: list(state.people.invitations),
    "claim": lambda state: list(state.onboarding.applications.values()),
    "approve": lambda state: [one for one in state.onboarding.applications.values() if one.state == "open"],
    "revoke": lambda state: [
        (user.id, grant) for user in state.people.users.values() for grant in user.grants
    ],
    "suspend": lambda state: list(state.tenants.values()),
    "extend": lambda state: [state.tenants[one] for one in sorted(state.exits)],
}
ABOUT: dict[str, Any] = {
    "accept": lambda one, step, now: AcceptInvitation(
        one.digest, step[3], now + step[2], user="u1" if step[1] % 3 == 0 else ""
    ),
    "suspend": suspend,
    "withdraw": lambda one, step, now: a.InvitationWithdrawn(one),
    "claim": lambda one, step, now: ClaimApplication(one.digest, step[3], now + step[2]),
    "approve": approve,
    "revoke": lambda one, step, now: a.RoleRevoked(one[0], one[1].role, one[1].tenant, one[1].project),
    "extend": lambda one, step, now: a.TenantExitExtended(
        one.id, one.retrieval_us + step[2], 0, tenancy.EXTENDERS[step[1] % 2]
    ),
}


class Doors:
    """Which secrets let somebody in or name something, by the facts alone: digest → when it expires, None: never."""

    def __init__(self) -> None:
        self.open: dict[str, tuple[str, int | None]] = {}
        self.of_user: dict[str, list[str]] = {}

    def apply(self, fact: f.Fact) -> None:
        if isinstance(fact, a.TokenIssued):
            self.open[fact.digest] = fact.token, fact.expires_us
            self.of_user.setdefault(fact.user, []).append(fact.token)
        elif isinstance(fact, a.InvitationIssued):
            self.open[fact.digest] = fact.invitation, fact.expires_us
        elif isinstance(fact, a.ApplicationFiled):
            self.open[fact.digest] = fact.application, None
        elif isinstance(fact, a.TokenRevoked):
            self._shut(fact.token)
        elif isinstance(fact, a.InvitationWithdrawn):
            self._shut(fact.invitation)
        elif isinstance(fact, a.UserRemoved):
            for token in self.of_user.pop(fact.user, []):
                self._shut(token)

    def _shut(self, what: str) -> None:
        self.open = {digest: door for digest, door in self.open.items() if door[0] != what}


def play(history: list[tuple[int, list[Any]]]) -> tuple[Core, list[tuple[int, f.Fact]]]:
    """The core after the history and its journal; everything that has to hold holds after every cycle."""
    core, shadow, doors, journal, now = Core(), State(), Doors(), [], 1000
    opening: list[Any] = [
        f.RulesSet(RULES, ""),
        a.TenantAdded("acme"),
        a.TenantAdded("beta", "research"),
        a.UserAdded(""),
        a.UserAdded(""),
        a.InvitationIssued("", "acme", "member", sha("i"), 30),
        a.InvitationIssued("", "beta", "viewer", sha("j"), 30, "default"),
        a.ApplicationFiled("", "new1", "startup", sha("a"), "2026-11"),
        f.SiteAdded("s", "x"),
        f.NodeAdded("n0", "s", 8, 8000, 64),
        f.NodeAdded("n1", "s", 4, 8000, 64),
    ]
    for wait, said in [(0, opening), *history]:
        now += wait
        observations = [o for o in (observe(core.state, now, step) for step in said) if o is not None]
        facts = core.cycle(now, observations)
        assert len(core.answers) == len(observations)
        for fact in facts:
            check_place(shadow, fact)
            shadow.apply(now, fact)
            doors.apply(fact)
        check_state(core.state, now)
        check_doors(core.state, doors, now)
        due = core.next_wake()
        assert due is None or due > now or is_new_exit(facts)
        journal += [(now, fact) for fact in facts]
    assert shadow.digest() == core.state.digest()
    return core, journal


def is_new_exit(facts: Iterable[f.Fact]) -> bool:
    """Whether a stage may be due in the cycle that set its time."""
    return any(isinstance(fact, a.TenantExitStarted | a.TenantExitExtended) for fact in facts)


def check_place(before: State, fact: f.Fact) -> None:
    if isinstance(fact, f.RunPlaced):
        tenant = before.tenants[before.jobs[fact.job].tenant]
        assert not tenant.suspended
        assert tenant.stage in WORKING
    if isinstance(fact, f.JobRequeued):
        assert before.jobs[fact.job].state != "stopping"


def check_state(state: State, now: int) -> None:
    check_nothing_oversold(state)
    check_queues(state)
    check_people(state)
    assert state.exits == {
        one.id: tenancy.next_stage(one)[1] for one in state.tenants.values() if tenancy.next_stage(one)[0]
    }
    states = Counter(one.state for one in state.onboarding.applications.values())
    assert state.onboarding.open == states["open"]
    assert state.budgets == sum(len(one.budgets) for one in state.tenants.values())


def check_queues(state: State) -> None:
    pending = [job for job in state.jobs.values() if job.state == "pending"]
    assert Counter(job.tenant for job in pending) == {
        one.id: one.pending for one in state.tenants.values() if one.pending
    }
    for name, pool in state.pools.items():
        due = [job.id for job in pending if job.pool == name and not state.tenants[job.tenant].suspended]
        if pool.standing is not None:
            claims = {made.job for made in state.reservations.values() if made.kind == "claim"}
            assert set(pool.standing.waiting) == set(due) - claims
            continue
        keys = [key[2] for heap in pool.queue.classes.values() for key in heap]
        assert sorted(key for key in keys if key in pool.queue.waiting) == sorted(due)
        assert pool.queue.waiting == set(due)
    assert all(state.tenants[job.tenant].stage in WORKING for job in pending)


def check_people(state: State) -> None:
    people = state.people
    for user in people.users.values():
        for grant in user.grants:
            level = "project" if grant.project else "tenant" if grant.tenant else "platform"
            assert level in ROLES[grant.role]
            assert level == "platform" or grant.tenant in state.tenants
            assert not grant.project or grant.project in state.tenants[grant.tenant].projects
        places = [(grant.role, grant.tenant, grant.project) for grant in user.grants]
        assert len(set(places)) == len(places) <= GRANTS_MAX
    held = {token: user.id for user in people.users.values() for token in user.tokens}
    assert held == {token.id: token.user for token in people.tokens.values()}


def check_doors(state: State, doors: Doors, now: int) -> None:
    """What was revoked, withdrawn or removed opens nothing; what was not, and has not expired, does."""
    for digest, what in state.digests.items():
        assert doors.open[digest][0] == what
    for digest, (what, expires_us) in doors.open.items():
        assert state.digests.get(digest) == what or (expires_us is not None and expires_us <= now)


def copy_of(state: State) -> State:
    return State.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(state.project()), type=Projection))


@settings(max_examples=60, deadline=None)
@given(histories)
def test_acts_hold_on_any_history_and_the_journal_and_its_snapshot_give_the_state(history: list[Any]) -> None:
    core, journal = play(history)
    folded = Core()
    folded.fold(journal)
    restored = copy_of(core.state)
    for other in (folded.state, restored):
        assert other.digest() == core.state.digest()
        assert (other.digests, other.exits) == (core.state.digests, core.state.exits)
        for name, pool in core.state.pools.items():
            assert other.pools[name].queue.waiting == pool.queue.waiting
        check_state(other, 0)


@settings(max_examples=40, deadline=None)
@given(histories, st.integers(0, 10**6))
def test_a_snapshot_and_the_tail_give_the_state(history: list[Any], cut: int) -> None:
    core, journal = play(history)
    cut %= len(journal) + 1
    early = Core()
    early.fold(journal[:cut])
    late = Core(copy_of(early.state))
    late.fold(journal[cut:])
    assert late.state.digest() == core.state.digest()
    assert (late.state.digests, late.state.exits) == (core.state.digests, core.state.exits)


@settings(max_examples=40, deadline=None)
@given(histories, histories)
def test_a_restart_in_the_middle_decides_the_same(before: list[Any], after: list[Any]) -> None:
    whole, journal = play(before + after)
    cut, first = play(before)
    core, now, second = Core(copy_of(cut.state)), 1000 + sum(wait for wait, _ in before), []
    for wait, said in after:
        now += wait
        observations = [o for o in (observe(core.state, now, step) for step in said) if o is not None]
        second += [(now, fact) for fact in core.cycle(now, observations)]
    assert first + second == journal
    assert core.state.digest() == whole.state.digest()


def test_the_histories_reach_every_act() -> None:
    """Else the promises above would be promises about nothing."""
    seen: set[type] = set()

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(histories)
    def collect(history: list[Any]) -> None:
        seen.update(type(fact) for _, fact in play(history)[1])

    collect()
    fleet = {a.MaintenancePlanned, a.MaintenanceAdvanced, a.MaintenanceCancelled, a.SiteDescribed}
    assert {*a.ACTS, f.JobRequeued, f.RunStopOrdered} - seen == fleet, "these have histories of their own"
