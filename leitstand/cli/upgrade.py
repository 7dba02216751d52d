# SPDX-License-Identifier: Apache-2.0
"""`leitstand upgrade-check`: the rehearsal of an upgrade, on a copy, in one page. Loaded by `leitstand.cli.root`."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from leitstand.cli.journal import data_option, plain_errors
from leitstand.cli.table import as_json, print_fields, print_json
from leitstand.cli.text import t

if TYPE_CHECKING:
    from leitstand.journal.rehearsal import Rehearsal

RUNNING_S: Final = 3600.0  # how long another version may take for the same journal


@click.command(
    help=t("Say whether this version may take over a data folder: on a copy, beside its control plane.")
)
@data_option
@click.option(
    "--copy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=t("Keep the copy of the journal as this new file: with it one goes back."),
)
@click.option(
    "--running",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PROGRAM",
    help=t(
        "The `leitstand` of the version that runs now: it tries the same copy, and its state is compared."
    ),
)
@as_json
@click.pass_context
@plain_errors
def upgrade_check(
    ctx: click.Context, data: Path, copy: Path | None, running: Path | None, json_wanted: bool
) -> None:
    from leitstand.journal.rehearsal import rehearse

    if copy is not None and os.path.lexists(copy):
        raise click.ClickException(t("{path} exists; name a new file.", path=copy))
    beside = copy.absolute().parent if copy is not None else None
    with tempfile.TemporaryDirectory(prefix="leitstand-", dir=beside) as made:
        folder = Path(made)  # readable by its owner alone
        done = rehearse(data, folder)
        other = _asked(running, folder) if running is not None and done.ok else None
        if copy is not None and done.ok:
            os.link(folder / "journal.db", copy)
    ok = done.ok and (other is None or _agrees(done, other) is not False)
    if json_wanted:
        print_json(
            {"ok": ok, **_told(done), "running": other, "copy": str(copy) if copy and done.ok else None}
        )
    else:
        print_fields(_fields(done, other, ok))
        for line in _next_steps(copy) if ok else ():
            click.echo(f"\n{line}")
    if (bad := done.report.bad) is not None:
        raise click.ClickException(
            t("entry {seq}: {what}: {detail}", seq=bad.seq, what=bad.what, detail=bad.detail)
        )
    ctx.exit(0 if ok else 1)


# ── the running version ───────────────────────────────────────────────────────────────────────────────────────────
def _asked(program: Path, folder: Path) -> dict[str, Any]:
    """What another version says of the same copy. ClickException if it says nothing."""
    import msgspec

    words = [str(program.absolute()), "upgrade-check", "--data", str(folder), "--json"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=RUNNING_S, check=False)
        said: dict[str, Any] = msgspec.json.decode(done.stdout)
        return {name: said[name] for name in ("version", "projection_version", "digest", "seq", "hash")}
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        why = (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]
        raise click.ClickException(t("{program} gives no answer: {why}", program=program, why=why)) from error
    except subprocess.TimeoutExpired as error:
        raise click.ClickException(
            t("{program} gives no answer: {why}", program=program, why=error)
        ) from error


def _agrees(done: "Rehearsal", other: dict[str, Any]) -> bool | None:
    """Whether both versions make the same of the copy; None if their digests cannot be compared."""
    if other["hash"] != done.report.hash:
        return False
    if other["projection_version"] != done.projection_version:
        return None
    return bool(other["digest"] == done.digest)


# ── what it says ──────────────────────────────────────────────────────────────────────────────────────────────────
def _told(done: "Rehearsal") -> dict[str, Any]:
    import msgspec

    report = msgspec.to_builtins(done.report)
    del report["ok"]
    own = {name: getattr(done, name) for name in ("version", "projection_version", "digest")}
    return {**own, **report, "witnesses": msgspec.to_builtins(done.witnesses)}


def _fields(done: "Rehearsal", other: dict[str, Any] | None, ok: bool) -> list[tuple[str, Any]]:
    from leitstand.cli.journal import show_time

    report, agree = done.report, [one.agrees for one in done.witnesses]
    chain = t("good, signed up to entry {seq}", seq=report.signed_seq) if report.signed_heads else t("good")
    snapshots = t(
        "{agree} agree, {others} of another projection", agree=agree.count(True), others=agree.count(None)
    )
    state = t("{digest} (projection {projection})", digest=done.digest, projection=done.projection_version)
    verdict = t("version {version} may take over") if ok else t("version {version} MUST NOT take over")
    count = t("{count}, the last of {time}", count=report.seq, time=show_time(report.at))
    return [
        (t("journal"), report.journal or None),
        (t("entries"), count if report.seq else 0),
        (t("chain"), chain if done.digest else None),
        (t("state of this version"), state if done.digest else None),
        (t("snapshots"), snapshots if agree else t("none")),
        (t("running version"), _of_running(done, other)),
        (t("verdict"), verdict.format(version=done.version)),
    ]


def _of_running(done: "Rehearsal", other: dict[str, Any] | None) -> str:
    if other is None:
        return t("not asked: name its program with --running")
    agrees = _agrees(done, other)
    if agrees is None:
        return t(
            "{version} has digests of another projection ({projection}): nothing to compare",
            version=other["version"],
            projection=other["projection_version"],
        )
    if agrees:
        return t("{version} folds the copy to the same state", version=other["version"])
    return t(
        "{version} folds the copy to another state: {digest}",
        version=other["version"],
        digest=other["digest"],
    )


def _next_steps(copy: Path | None) -> list[str]:
    kept = t("No copy was kept: --copy FILE keeps it, `leitstand journal backup` takes one.")
    if copy is not None:
        kept = t("The copy is {path}; take another one once the control plane is stopped.", path=copy)
    return [
        t(
            "To upgrade: stop the control plane (runs go on), install this version, start it on the same folder. Of "
            "leader and standby, the standby first."
        ),
        t(
            "To go back: start the version before on the same folder. It refuses if this one has written facts that "
            "it does not know; then put the copy as journal.db into a new data folder: what was acknowledged after "
            "the copy is lost."
        ),
        kept,
    ]
