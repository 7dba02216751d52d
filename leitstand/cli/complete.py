# SPDX-License-Identifier: Apache-2.0
"""What a shell offers for a word that is not finished: ids of jobs, tenants, projects. Called by click at every Tab.

The shell waits for it: one short request, and silence about whatever goes wrong.
"""

from collections.abc import Callable
from typing import Any, Final

import click

WITHIN_S: Final = 1.0
OFFERED_MAX: Final = 200

Offer = Callable[[click.Context, click.Parameter, str], list[Any]]


def jobs(ctx: click.Context, _: click.Parameter, begun: str) -> list[Any]:
    """The newest jobs; of those that have not ended, for who wants to end some."""
    live = ctx.info_name == "cancel"
    over = ("succeeded", "failed", "cancelled", "rejected")
    return _offered(
        begun,
        "/v1/jobs",
        lambda job: None if live and job["state"] in over else (job["id"], job["name"] or job["state"]),
    )


def tenants(_: click.Context, __: click.Parameter, begun: str) -> list[Any]:
    """The tenants that one sees."""
    return _offered(begun, "/v1/tenants", lambda tenant: (tenant["id"], tenant["name"]))


def projects(ctx: click.Context, _: click.Parameter, begun: str) -> list[Any]:
    """The open projects of the tenant that stands on the line, else of one's own."""
    tenant = ctx.params.get("tenant") or _own_tenant()
    if not tenant:
        return []
    return _offered(
        begun,
        f"/v1/tenants/{tenant}/projects",
        lambda project: (project["name"], "") if project["open"] else None,
    )


def _offered(begun: str, path: str, offer: Callable[[dict[str, Any]], tuple[str, str] | None]) -> list[Any]:
    from click.shell_completion import CompletionItem

    offers = [found for row in _ask(path).get("items", ()) if (found := offer(row))]
    return [CompletionItem(word, help=what or None) for word, what in offers if word.startswith(begun)]


def _own_tenant() -> str:
    return str((_ask("/v1/self").get("home") or {}).get("tenant", ""))


def _ask(path: str) -> dict[str, Any]:
    """A reading, tried once for a short time; {} if anything is wrong."""
    try:
        import httpx2

        from leitstand.cli.client import connect

        client = connect()
        params = {"limit": OFFERED_MAX} if path != "/v1/self" else {}
        with httpx2.Client(timeout=WITHIN_S, verify=client.url.startswith("https:")) as once:
            answer = once.get(client.url + path, params=params, headers=client.headers())
            return dict(answer.json()) if answer.status_code == 200 else {}
    except Exception:
        # Whatever it is, a message here would land in the middle of the line being typed.
        return {}
