# SPDX-License-Identifier: Apache-2.0
"""The commands about sites. Loaded by `leitstand.cli.root`.

`add` tests first, by the control plane, which alone can reach the site; what failed is named, and nothing is added.
"""

import time
from pathlib import Path
from typing import Any, Final

import click

from leitstand.cli import exits
from leitstand.cli.amounts import show_time
from leitstand.cli.asking import confirm, yes_option
from leitstand.cli.client import Client, connect
from leitstand.cli.fleet import say_logical
from leitstand.cli.nouns import Nouns
from leitstand.cli.refusals import CommandFailed
from leitstand.cli.table import as_json, plain, print_fields, print_json, print_table
from leitstand.cli.text import t
from leitstand.client import path

SITES: Final = "/v1/sites"
OPEN_S: Final = 30.0  # how long `add` waits for the first answer of a site
LOOK_S: Final = 0.5
STATUS: Final = {
    "ok": t("ok"),
    "opening": t("opening"),
    "unwell": t("not well"),
    "leaving": t("leaving"),
}
OUTCOMES: Final = {
    "ok": t("ok"),
    "warning": t("warning"),
    "failed": t("FAILED"),
    "skipped": t("skipped"),
}


@click.group(cls=Nouns, help=t("List, show, add, test and remove sites."))
def sites() -> None:
    pass


@sites.command("list", help=t("List the sites."))
@as_json
def list_(json_wanted: bool) -> None:
    rows = connect().get(SITES)["items"]
    if json_wanted:
        print_json(rows)
        return
    headers = [
        t("SITE"),
        t("ENGINE"),
        t("JURISDICTION"),
        t("NODES"),
        t("GPU TYPE"),
        t("GPUS"),
        t("FREE"),
        t("STATUS"),
    ]
    print_table(headers, [_row(site) for site in rows], t("No sites."))
    say_logical(rows)
    for site in rows:
        _say_unwell(site)


@sites.command(help=t("Show a site: how it is, and how it was added."))
@click.argument("name")
@as_json
def show(name: str, json_wanted: bool) -> None:
    found = connect().get(path("sites", name))
    if json_wanted:
        print_json(found)
        return
    site = found["site"]
    print_fields([*_how(site), (t("runs"), found["runs"]), *_described(found["description"])])


@sites.command(help=t("Test a site that a file describes, then add it, or change the one of that name."))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--anyway", is_flag=True, help=t("Also if a test fails: the site may be well later."))
@as_json
def add(file: Path, anyway: bool, json_wanted: bool) -> None:
    described = _read(file)
    client = connect()
    tested = client.post(f"{SITES}/test", described)
    _print_test(tested, bad_only=True, err=True)
    if not tested["well"] and not anyway:
        raise CommandFailed(
            t("Site {name} was not added: a test failed.", name=described["name"]),
            hint=t("Mend what failed, or add it with --anyway if it will be well later."),
        )
    where = path("sites", described["name"])
    client.request("PUT", where, json=described)
    found = _opened(client, where)
    if json_wanted:
        print_json(found)
        return
    site = found["site"]
    click.echo(
        t(
            "site {name} is there: {nodes} nodes with {gpus} GPUs in service",
            name=plain(site["id"]),
            nodes=site["nodes"],
            gpus=site["gpus"],
        )
    )
    _say_unwell(site)


@sites.command(help=t("Test a site that a file describes, or one that was added, by its name."))
@click.argument("file_or_name", metavar="FILE|NAME")
@as_json
@click.pass_context
def test(ctx: click.Context, file_or_name: str, json_wanted: bool) -> None:
    client = connect()
    tested = client.post(f"{SITES}/test", _meant(client, file_or_name))
    if json_wanted:
        print_json(tested)
    else:
        _print_test(tested)
    ctx.exit(exits.OK if tested["well"] else exits.ERROR)


@sites.command(help=t("Remove a site where no run lives."))
@click.argument("name")
@yes_option
def remove(name: str, yes: bool) -> None:
    confirm(t("Remove site {name}?", name=name), yes)
    connect().delete(path("sites", name))
    click.echo(t("site {name} is removed", name=plain(name)))


def _read(file: Path) -> dict[str, Any]:
    """What a file says of a site, as JSON has it."""
    from leitstand.engines import sitefile
    from leitstand.runtime.yamlfile import YamlWrong

    try:
        return sitefile.described(sitefile.read(file))
    except YamlWrong as wrong:
        raise CommandFailed(str(wrong)) from wrong


def _meant(client: Client, word: str) -> dict[str, Any]:
    """A site to test: a file, or the name of one that was added."""
    file = Path(word)
    if file.is_file():
        return _read(file)
    if file.suffix in (".yaml", ".yml", ".json") or "/" in word:
        raise CommandFailed(t("There is no file {file}.", file=word), exit_code=exits.USAGE)
    described = client.get(path("sites", word))["description"]
    if described is None:
        raise CommandFailed(t("Site {name} was not added; there is nothing to test.", name=word))
    return dict(described)


def _opened(client: Client, where: str) -> dict[str, Any]:
    """The site, once its engine has asked it."""
    deadline = time.monotonic() + OPEN_S
    while True:
        found = client.get(where)
        if found["site"]["status"] != "opening" or time.monotonic() > deadline:
            return found
        client.sleep(LOOK_S)


def _row(site: dict[str, Any]) -> tuple[Any, ...]:
    kind = t("logical") if site["logical"] else t("real")
    engine = f"{site['engine']} {site['mode']}".rstrip()
    place = (site["id"], engine, site["jurisdiction"] or None)
    status = STATUS.get(site["status"], site["status"])
    return (*place, site["nodes"], kind, site["gpus"], site["gpus_free"], status)


def _say_unwell(site: dict[str, Any]) -> None:
    """Why it is not well, since when."""
    health = site["health"]
    if site["status"] == "unwell" and health is not None:
        since = show_time(health["since_at"]) if health["since_at"] else "-"
        why = plain(health["error"])
        click.echo(
            t("{site}: not well since {time}: {why}", site=plain(site["id"]), time=since, why=why), err=True
        )


def _how(site: dict[str, Any]) -> list[tuple[str, Any]]:
    health = site["health"]
    fields = [
        (t("site"), site["id"]),
        (t("engine"), f"{site['engine']} {site['mode']}".rstrip()),
        (t("operator"), site["operator"] or None),
        (t("jurisdiction"), site["jurisdiction"] or None),
        (t("status"), STATUS.get(site["status"], site["status"])),
    ]
    if health is not None:
        fields += [
            (t("error"), health["error"] or None),
            (t("since"), show_time(health["since_at"]) if health["since_at"] else None),
            (t("last answer"), show_time(health["asked_at"]) if health["asked_at"] else None),
            (t("Slurm"), health["version"] or None),
            (t("nodes listed"), health["nodes"]),
        ]
    return [
        *fields,
        (t("nodes in service"), site["nodes"]),
        (t("GPUs in service"), site["gpus"]),
        (t("GPUs free"), site["gpus_free"]),
        (t("levels"), " > ".join(site["levels"]) or None),
    ]


def _described(description: dict[str, Any] | None) -> list[tuple[str, Any]]:
    if description is None:
        return []
    slurm, expect, quota = description["slurm"], description["expect"], description["quota"]
    return [
        *((name, slurm[name] or None) for name in ("conf", "rest", "token_file", "folder", "partition")),
        ("parts", ", ".join(slurm["parts"]) or None),
        *((name, slurm[name] or None) for name in ("account", "user")),
        ("users", ", ".join(f"{tenant}: {user}" for tenant, user in slurm["users"].items()) or None),
        ("expect", _amounts(expect)),
        ("quota", _amounts(quota) if any(quota.values()) else None),
    ]


def _amounts(of: dict[str, int]) -> str:
    return t("{nodes} nodes, {gpus} GPUs", nodes=of["nodes"], gpus=of["gpus"])


def _print_test(tested: dict[str, Any], *, bad_only: bool = False, err: bool = False) -> None:
    rows = [
        (one["name"], OUTCOMES.get(one["outcome"], one["outcome"]), one["said"])
        for one in tested["checks"]
        if not bad_only or one["outcome"] in ("warning", "failed")
    ]
    if rows:
        print_table([t("TEST"), t("OUTCOME"), t("FOUND")], rows, "", err=err)
