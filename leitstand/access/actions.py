# SPDX-License-Identifier: Apache-2.0
"""Everything that anybody can do, as a closed list. Each route names one; policies speak of them.

An action is `noun:verb`. Its group is the scope a token needs for it. Its kinds say what it can be done to; a listing
names the kind of what it lists, and shows what `Authorizer.scopes_of` allows.
"""

from types import MappingProxyType
from typing import Final, Literal

import msgspec

Group = Literal["read", "jobs", "admin"]
Kind = Literal["platform", "tenant", "project", "job", "application", "user"]

SCOPES: Final[tuple[Group, ...]] = ("read", "jobs", "admin")
KINDS: Final[tuple[Kind, ...]] = ("platform", "tenant", "project", "job", "application", "user")


class Action(msgspec.Struct, frozen=True, cache_hash=True):
    """`name`: `noun:verb`; `does`: in words, for whoever asks what a right means."""

    name: str
    group: Group
    kinds: tuple[Kind, ...]
    does: str


_LIST: Final = (
    Action("job:submit", "jobs", ("project",), "submit a job"),
    Action("job:plan", "jobs", ("project",), "ask what would become of a job"),
    Action("job:list", "read", ("project",), "list jobs"),
    Action("job:read", "read", ("job",), "see a job with its runs and reasons"),
    Action("job:cancel", "jobs", ("job",), "cancel a job"),
    Action("job:hold", "jobs", ("job",), "hold a job that waits"),
    Action("job:release", "jobs", ("job",), "release a job that is held"),
    Action("job:logs", "read", ("job",), "read what a job printed"),
    Action("event:watch", "read", ("project",), "watch what happens to jobs"),
    Action("blob:write", "jobs", ("project",), "upload a work directory"),
    Action("secret:list", "read", ("project",), "list names and versions of secrets"),
    Action("secret:set", "jobs", ("project",), "set the value of a secret"),
    Action("secret:delete", "jobs", ("project",), "delete a secret with all its versions"),
    Action("node:list", "read", ("platform",), "list nodes"),
    Action("node:report", "admin", ("platform",), "report trouble of a node"),
    Action("node:return", "admin", ("platform",), "say that a node is repaired"),
    Action("alert:list", "read", ("platform",), "see alerts, and who was told"),
    Action("alert:test", "admin", ("platform",), "send a test to all who are alerted"),
    Action("availability:read", "read", ("tenant",), "see how much of what is guaranteed could be had"),
    Action("site:list", "read", ("platform",), "list sites"),
    Action("site:read", "read", ("platform",), "see how a site is, and how it is reached"),
    Action("site:add", "admin", ("platform",), "add or change a site"),
    Action("site:test", "admin", ("platform",), "test a site"),
    Action("site:remove", "admin", ("platform",), "remove a site"),
    Action("maintenance:list", "read", ("platform",), "list maintenance windows"),
    Action("maintenance:plan", "admin", ("platform",), "plan maintenance"),
    Action("maintenance:cancel", "admin", ("platform",), "cancel maintenance"),
    Action("booking:list", "read", ("project",), "list bookings"),
    Action("booking:book", "jobs", ("project",), "book capacity for a project"),
    Action("booking:cancel", "jobs", ("project", "platform"), "cancel a booking"),
    Action("usage:read", "read", ("project",), "see usage"),
    Action("tenant:list", "read", ("platform",), "list the tenants one sees"),
    Action("tenant:read", "read", ("tenant",), "see a tenant"),
    Action("tenant:add", "admin", ("platform",), "add a tenant"),
    Action("tenant:suspend", "admin", ("tenant",), "suspend a tenant"),
    Action("tenant:resume", "admin", ("tenant",), "end the suspension of a tenant"),
    Action("tenant:exit", "admin", ("tenant",), "give notice for a tenant"),
    Action("tenant:extend-exit", "admin", ("tenant",), "extend the transition of a tenant that leaves"),
    Action("tenant:export", "admin", ("tenant",), "export all data of a tenant"),
    Action("tenant:erase", "admin", ("tenant",), "erase the data of a tenant that has left"),
    Action("legal:read", "read", ("tenant",), "see the legal identity of a tenant"),
    Action("legal:write", "admin", ("tenant",), "change the legal identity of a tenant"),
    Action("project:list", "read", ("project",), "list projects"),
    Action("project:add", "admin", ("tenant",), "add a project"),
    Action("project:close", "admin", ("project",), "close a project"),
    Action("member:list", "read", ("project",), "list who has which role"),
    Action("role:grant", "admin", ("project", "tenant", "platform"), "grant a role"),
    Action("role:revoke", "admin", ("project", "tenant", "platform"), "revoke a role"),
    Action("user:list", "read", ("tenant", "platform"), "list users"),
    Action("user:add", "admin", ("platform",), "add a user"),
    Action("user:read", "read", ("user",), "see a user"),
    Action("user:erase", "admin", ("user",), "erase what is known about a user"),
    Action("invitation:issue", "admin", ("project", "tenant", "platform"), "invite somebody"),
    Action("invitation:list", "read", ("tenant", "platform"), "list invitations"),
    Action("invitation:withdraw", "admin", ("project", "tenant", "platform"), "withdraw an invitation"),
    Action("invitation:accept", "admin", ("platform",), "accept an invitation by its code"),
    Action("token:issue", "admin", ("user",), "issue a token for a user"),
    Action("token:list", "read", ("user",), "list the tokens of a user"),
    Action("token:revoke", "admin", ("user",), "revoke a token of a user"),
    Action("application:file", "admin", ("platform",), "apply for a tenant"),
    Action("application:list", "read", ("platform",), "list applications"),
    Action("application:read", "read", ("application",), "see an application with its checks"),
    Action("application:check", "admin", ("application",), "record the outcome of a check"),
    Action("application:approve", "admin", ("application",), "approve an application"),
    Action("application:refuse", "admin", ("application",), "refuse an application"),
    Action("application:withdraw", "admin", ("application",), "withdraw an application"),
    Action(
        "application:claim", "admin", ("application",), "fetch the first token of an approved application"
    ),
    Action("budget:list", "read", ("tenant",), "see budgets"),
    Action("budget:grant", "admin", ("tenant",), "grant a budget"),
    Action("entitlement:read", "read", ("tenant",), "see guarantees, shares and use"),
    Action("entitlement:change", "admin", ("platform",), "change entitlements"),
    Action("commitment:list", "read", ("tenant",), "see commitments"),
    Action("commitment:make", "admin", ("platform",), "make a commitment"),
    Action("commitment:end", "admin", ("platform",), "end a commitment before its time"),
    Action("audit:read", "read", ("tenant", "platform"), "read who did which administrative act"),
    Action("access:explain", "read", ("platform",), "ask what one may do, and why"),
    Action("self:read", "read", ("platform",), "see who one is"),
)

ACTIONS: Final = MappingProxyType({action.name: action for action in _LIST})
