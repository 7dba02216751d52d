# SPDX-License-Identifier: Apache-2.0
"""The command `can-i`: whether one may do something, and by which policies. Loaded by `leitstand.cli.root`.

Exit code 0 for yes, 1 for no, so that scripts can ask.
"""

from difflib import get_close_matches
from typing import Any, Final

import click

from leitstand.cli import exits
from leitstand.cli.client import Client, connect
from leitstand.cli.table import as_json, plain, print_json, print_table
from leitstand.cli.text import t

# The closed list of the control plane; a test holds it to `leitstand.access.actions`.
ACTIONS: Final = (
    "job:submit",
    "job:plan",
    "job:list",
    "job:read",
    "job:cancel",
    "job:hold",
    "job:release",
    "job:logs",
    "event:watch",
    "blob:write",
    "secret:list",
    "secret:set",
    "secret:delete",
    "node:list",
    "node:report",
    "node:return",
    "alert:list",
    "alert:test",
    "availability:read",
    "site:list",
    "site:read",
    "site:add",
    "site:test",
    "site:remove",
    "maintenance:list",
    "maintenance:plan",
    "maintenance:cancel",
    "booking:list",
    "booking:book",
    "booking:cancel",
    "usage:read",
    "tenant:list",
    "tenant:read",
    "tenant:add",
    "tenant:suspend",
    "tenant:resume",
    "tenant:exit",
    "tenant:extend-exit",
    "tenant:export",
    "tenant:erase",
    "legal:read",
    "legal:write",
    "project:list",
    "project:add",
    "project:close",
    "member:list",
    "role:grant",
    "role:revoke",
    "user:list",
    "user:add",
    "user:read",
    "user:erase",
    "invitation:issue",
    "invitation:list",
    "invitation:withdraw",
    "invitation:accept",
    "token:issue",
    "token:list",
    "token:revoke",
    "application:file",
    "application:list",
    "application:read",
    "application:check",
    "application:approve",
    "application:refuse",
    "application:withdraw",
    "application:claim",
    "budget:list",
    "budget:grant",
    "entitlement:read",
    "entitlement:change",
    "commitment:list",
    "commitment:make",
    "commitment:end",
    "audit:read",
    "access:explain",
    "self:read",
)
KINDS: Final = ("tenant", "project", "job", "user", "application")


@click.command(
    "can-i",
    help=t("Say whether you may do something, and by which policy."),
    epilog=t(
        "ACTION is like job:submit. RESOURCE: tenant=acme, project=vision, job=acme-42, user=u7 or application=a1; "
        "also acme/vision, or a word that the action explains; left out: where you work. Exit code 0 for yes, 1 for no."
    ),
)
@click.argument(
    "action", required=False, shell_complete=lambda *given: [a for a in ACTIONS if a.startswith(given[2])]
)
@click.argument("resource", nargs=-1, metavar="[RESOURCE]...")
@click.option("--list", "everything", is_flag=True, help=t("All actions, where you work."))
@as_json
@click.pass_context
def can_i(
    ctx: click.Context, action: str | None, resource: tuple[str, ...], everything: bool, json_wanted: bool
) -> None:
    if everything:
        _list(connect(), _resource("", (action, *resource) if action else ()), json_wanted)
        return
    if not action:
        raise click.UsageError(t("Name an action, like job:submit; --list shows them all."))
    if action not in ACTIONS:
        near = get_close_matches(action, ACTIONS, n=1)
        hint = " " + t('Did you mean "{near}"?', near=near[0]) if near else ""
        raise click.UsageError(t('There is no action "{name}".', name=action) + hint)
    client = connect()
    answer = client.can_i(action, **(_resource(action, resource) or _home(client)))
    if json_wanted:
        print_json(answer)
    else:
        _print(answer)
    ctx.exit(exits.OK if answer["allowed"] else exits.ERROR)


def _print(answer: dict[str, Any]) -> None:
    resource = answer["resource"]
    place = "/".join(part for part in (resource["tenant"], resource["project"]) if part)
    click.echo((t("yes") if answer["allowed"] else t("no")) + (f" ({plain(place)})" if place else ""))
    if not answer["policies"]:
        click.echo(t("No policy permits it here."))
    for policy in answer["policies"]:
        click.echo()
        click.echo(f"{policy['id']} ({policy['effect']}): {plain(policy['serves'])}")
        text = [line for line in policy["text"].splitlines() if not line.startswith("@")]  # it is said above
        click.echo("\n".join("  " + plain(line) for line in text))


def _list(client: Client, resource: dict[str, str], json_wanted: bool) -> None:
    """Every action on a resource, by default where the asker works."""
    resource = resource or _home(client)
    rows = [client.can_i(action, **resource) for action in ACTIONS]
    if json_wanted:
        print_json(rows)
        return
    cells = [
        (row["action"], row["allowed"], ", ".join(policy["id"] for policy in row["policies"]) or None)
        for row in rows
    ]
    print_table([t("ACTION"), t("ALLOWED"), t("POLICIES")], cells, "")


def _home(client: Client) -> dict[str, str]:
    """Where the asker works, for who names nothing."""
    return {name: value for name, value in (client.whoami()["home"] or {}).items() if value}


def _resource(action: str, words: tuple[str, ...]) -> dict[str, str]:
    """What the words name, as the parameters of the question; UsageError."""
    found: dict[str, str] = {}
    for word in words:
        name, given, value = word.partition("=")
        if given and name in KINDS and value:
            found[name] = value
        elif given:
            known = ", ".join(KINDS)
            raise click.UsageError(t('"{word}" names nothing known; known: {known}', word=word, known=known))
        elif "/" in word:
            found["tenant"], _, found["project"] = word.partition("/")
        else:
            found[_kind(action)] = word
    return found


def _kind(action: str) -> str:
    """What a bare word behind an action is."""
    noun, _, verb = action.partition(":")
    if noun == "job" and verb in ("read", "cancel", "logs"):
        return "job"
    if noun in ("user", "token") and verb != "list":
        return "user"
    return "application" if noun == "application" else "tenant"
