# SPDX-License-Identifier: Apache-2.0
"""The command group: which commands there are and where their code is. Called by `leitstand.__main__`.

A command's module is imported when the command is used; its one line of help stands here, so that `--help` imports
nothing either.
"""

from importlib import import_module
from typing import Any, NamedTuple

import click

from leitstand import __version__
from leitstand.cli import clicked
from leitstand.cli.text import t

clicked.translate()


class Lazy(NamedTuple):
    """A command not yet loaded: `target` is "module:attribute", `help` one English sentence."""

    target: str
    help: str


COMMANDS: dict[str, Lazy] = {
    "run": Lazy("leitstand.cli.run:run", "Submit a job, follow its log, exit with its exit code."),
    "submit": Lazy("leitstand.cli.run:submit", "Submit a job and print its id."),
    "plan": Lazy("leitstand.cli.run:plan", "Say what would happen to a job; submit nothing."),
    "jobs": Lazy("leitstand.cli.jobs:jobs", "List jobs, newest first."),
    "job": Lazy("leitstand.cli.jobs:job", "Show one job with its runs and what it used."),
    "explain": Lazy("leitstand.cli.explain:explain", "Say why a job waits, and what would start it now."),
    "logs": Lazy("leitstand.cli.jobs:logs", "Print the log of a job."),
    "cancel": Lazy("leitstand.cli.jobs:cancel", "Cancel jobs."),
    "hold": Lazy("leitstand.cli.jobs:hold", "Hold jobs that wait."),
    "release": Lazy("leitstand.cli.jobs:release", "Release jobs that are held."),
    "secrets": Lazy("leitstand.cli.secrets:secrets", "List, set and delete secrets of a project."),
    "nodes": Lazy(
        "leitstand.cli.fleet:nodes",
        "List the nodes and what is free on them; report trouble of one, return one to service.",
    ),
    "sites": Lazy("leitstand.cli.sites:sites", "List, show, add, test and remove sites."),
    "alerts": Lazy(
        "leitstand.cli.alerts:alerts",
        "List what people have to know, and who was told; test the way to them.",
    ),
    "status": Lazy(
        "leitstand.cli.status:status",
        "Say how the control plane is; of several that take turns, which one leads.",
    ),
    "availability": Lazy(
        "leitstand.cli.availability:availability",
        "Show how much of each site served, and how much of each guarantee could be had.",
    ),
    "usage": Lazy("leitstand.cli.fleet:usage", "Show what was used, in GPU-hours and CPU-hours."),
    "quota": Lazy(
        "leitstand.cli.entitlements:quota",
        "Show what a tenant has: guarantees, limits, commitments, budgets, and what it used.",
    ),
    "login": Lazy(
        "leitstand.cli.login:login", "Sign in through the browser, or with a token on standard input."
    ),
    "logout": Lazy(
        "leitstand.cli.login:logout", "Forget the token of `login`, and revoke it if it was made for this."
    ),
    "whoami": Lazy("leitstand.cli.login:whoami", "Show who you are: user, token, roles."),
    "can-i": Lazy("leitstand.cli.can_i:can_i", "Say whether you may do something, and by which policy."),
    "apply": Lazy("leitstand.cli.apply:apply", "Apply for a tenant of your own."),
    "application": Lazy(
        "leitstand.cli.application:application", "Follow your application, and fetch the first token."
    ),
    "agreement": Lazy("leitstand.cli.apply:agreement", "Print the data-processing contract."),
    "join": Lazy("leitstand.cli.invitations:join", "Accept an invitation by its code."),
    "tokens": Lazy("leitstand.cli.tokens:tokens", "List, issue and revoke tokens."),
    "tenant": Lazy("leitstand.cli.tenant:tenant", "Show a tenant; read and change its legal identity."),
    "projects": Lazy("leitstand.cli.projects:projects", "List, add and close projects of a tenant."),
    "members": Lazy("leitstand.cli.people:members", "List who has which role in a tenant."),
    "invite": Lazy("leitstand.cli.invitations:invite", "Invite somebody into a tenant or project."),
    "invitations": Lazy("leitstand.cli.invitations:invitations", "List and withdraw invitations."),
    "roles": Lazy("leitstand.cli.people:roles", "List, grant and revoke roles."),
    "users": Lazy("leitstand.cli.people:users", "List, show, add and erase users."),
    "audit": Lazy("leitstand.cli.audit:audit", "List who did which administrative act."),
    "tenants": Lazy(
        "leitstand.cli.tenants:tenants", "List and add tenants; suspend, resume, exit, export, erase."
    ),
    "budgets": Lazy("leitstand.cli.projects:budgets", "List and grant budgets of a tenant."),
    "entitlements": Lazy(
        "leitstand.cli.entitlements:entitlements", "Show the entitlement tree of a pool, and change it."
    ),
    "maintenance": Lazy(
        "leitstand.cli.maintenance:maintenance",
        "List, plan and cancel maintenance: times in which nodes are out of service.",
    ),
    "bookings": Lazy(
        "leitstand.cli.bookings:bookings",
        "List, show, book and cancel bookings: capacity from a time to a time.",
    ),
    "commitments": Lazy(
        "leitstand.cli.entitlements:commitments",
        "List, make and end commitments: guarantees with a time window and a price.",
    ),
    "applications": Lazy(
        "leitstand.cli.applications:applications", "Examine, approve and refuse applications."
    ),
    "journal": Lazy("leitstand.cli.journal:journal", "Verify, show, export or back up the journal."),
    "upgrade-check": Lazy(
        "leitstand.cli.upgrade:upgrade_check",
        "Say whether this version may take over a data folder: on a copy, beside its control plane.",
    ),
    "twin": Lazy(
        "leitstand.cli.twin:twin",
        "Recorded workloads: look at them, convert them, replay them through the real scheduler.",
    ),
    "completion": Lazy("leitstand.cli.completion:completion", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group whose commands are named in a map and imported on use."""

    def __init__(self, *args: Any, lazy: dict[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy)

    def add_lazy(self, name: str, command: Lazy) -> None:
        """Add a command at the head of the list."""
        self.lazy = {name: command, **self.lazy}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = self.lazy.get(cmd_name)
        if found is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = found.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command), f"{found.target} is not a click command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(t("Commands")):
            formatter.write_dl([(name, t(command.help)) for name, command in self.lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """The names of commands, without importing them."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=t(command.help))
            for name, command in self.lazy.items()
            if name.startswith(incomplete)
        ]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.lazy, n=1)
            hint = " " + t('Did you mean "{near}"?', near=near[0]) if near else ""
            raise click.UsageError(t('There is no command "{name}".', name=args[0]) + hint, ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help=t("Leitstand: the control plane of an Industrial AI Cloud."),
    epilog=t(
        "Clients go where `leitstand login` signed in; LEITSTAND_URL (default http://127.0.0.1:8640) and "
        "LEITSTAND_TOKEN go before that. Every reading command takes --json."
    ),
)
@click.version_option(__version__, "-V", "--version", prog_name="leitstand", message="%(prog)s %(version)s")
def cli() -> None:
    pass
