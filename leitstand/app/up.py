# SPDX-License-Identifier: Apache-2.0
"""`leitstand up`: checks the settings, prepares the data folder, starts writer and faces and keeps them alive.

Called by `leitstand.__main__` by name, and by the demonstration (`leitstand.app.demo`) through `start`.

Exit codes: 0 stopped by a signal · 1 a process could not start · 2 a setting is wrong · 3 the port is busy ·
4 another control plane holds the data folder · 5 a process does not stay alive.
"""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from click.core import ParameterSource

from leitstand import __version__
from leitstand.app.children import ChildFailed, Children, Ends, Event
from leitstand.app.isolation import check_python, here, lines, parse_uids
from leitstand.app.preflight import (
    BUSY,
    LOCKED,
    NO_URLS,
    Urls,
    await_lock,
    await_port,
    check,
    mark_folder,
    prepare_folder,
    scenario_of,
)
from leitstand.app.serving import EXIT_CODES
from leitstand.app.settings import Settings
from leitstand.cli.amounts import parse_bytes, parse_percent, parse_speed, reading
from leitstand.cli.text import t
from leitstand.core.rules import DISCIPLINES
from leitstand.engines.local import process

if TYPE_CHECKING:
    from leitstand.twin.live.scenario import Scenario

GPUS_MAX: Final = 4096  # of one machine
NODES_MAX: Final = 1024
PREDECESSOR_S: Final = 3.0  # a killed predecessor needs a moment to let go of folder and port
DRAIN_S: Final = 10.0  # its faces first answer what they have
FAILED: Final = 1
FAILING: Final = 5
# What the processes end with: after some codes another life is no use; a full disk and a server that is
# away are waited out.
ENDS: Final = Ends(
    hopeless=frozenset(EXIT_CODES[name] for name in ("locked", "unusable", "fenced", "clock")),
    passing=frozenset({EXIT_CODES["full"], EXIT_CODES["away"]}),
)
URL_DEFAULT: Final = "http://127.0.0.1:8640"
SPEED: Final = 1000.0
TWINS: Final = Path("~/.local/share/leitstand-twins")  # a folder for each scenario
OF_MACHINE: Final = (
    "gpus", "nodes", "discipline", "uids", "python", "forecast_cpu", "log_bytes_max", "journal",
    "keys", "standby", "shared", "address",
)  # fmt: skip


@click.command(help=t("Start the control plane on this machine."))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="LEITSTAND_DATA",
    default=Path("~/.local/share/leitstand"),
    show_default=True,
    help=t("The data folder."),
)
@click.option(
    "--journal",
    envvar="LEITSTAND_JOURNAL",
    metavar="URL",
    help=t("The PostgreSQL database that holds the journal.  [default: a file in the data folder]"),
)
@click.option(
    "--keys",
    envvar="LEITSTAND_KEYS",
    metavar="URL",
    help=t(
        "The PostgreSQL database, of another server, that holds the keys of people and tenants; names, commands and "
        "secrets are then in that of the journal.  [default: files in the data folder]"
    ),
)
@click.option(
    "--standby",
    is_flag=True,
    help=t(
        "One of several on the journal: one leads, the others stand by. Runs are on the sites that were added."
    ),
)
@click.option(
    "--shared",
    type=click.Path(path_type=Path),
    callback=lambda _ctx, _option, path: path and path.absolute(),
    metavar="DIR",
    help=t("With --standby: the folder that all of them have, for work directories and sites."),
)
@click.option(
    "--address",
    metavar="URL",
    default="",
    help=t("With --standby: where the others are told that this one is."),
)
@click.option("--host", default="127.0.0.1", show_default=True, help=t("The address to listen on."))
@click.option("--port", type=click.IntRange(1, 65535), default=8640, show_default=True, help=t("The port."))
@click.option(
    "--gpus",
    type=click.IntRange(0, GPUS_MAX),
    help=t("Logical GPUs of this machine.  [default: its real ones, else one per core]"),
)
@click.option(
    "--nodes",
    type=click.IntRange(1, NODES_MAX),
    default=1,
    show_default=True,
    help=t("Logical nodes that share the GPUs evenly."),
)
@click.option("--tls-cert", type=click.Path(path_type=Path), help=t("The certificate chain, PEM."))
@click.option("--tls-key", type=click.Path(path_type=Path), help=t("Its key, PEM."))
@click.option(
    "--oidc",
    type=click.Path(path_type=Path),
    callback=lambda _ctx, _option, path: path and path.absolute(),
    help=t("Sign-in with the identity provider of this file."),
)
@click.option("--behind-proxy", is_flag=True, help=t("A proxy in front of this one does the TLS."))
@click.option(
    "--discipline",
    type=click.Choice(DISCIPLINES),
    help=t("Who starts next.  [default: as before, at first fifo-greedy]"),
)
@click.option(
    "--twin",
    type=click.Path(path_type=Path),
    callback=lambda _ctx, _option, path: path and path.absolute(),
    metavar="SCENARIO",
    help=t("Simulate the cloud of this file in place of this machine."),
)
@click.option(
    "--speed",
    callback=reading(parse_speed),
    metavar="N",
    help=t("How much faster than the world time goes in a twin, like 1000x.  [default: 1000x]"),
)
@click.option(
    "--forecast-cpu",
    callback=reading(parse_percent),
    metavar="PERCENT",
    default="10%",
    show_default=True,
    help=t("How much of a core forecasts of starts may use, 0 for none."),
)
@click.option(
    "--burn-in",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=lambda _ctx, _option, path: path and path.absolute(),
    metavar="FILE",
    help=t("The bash script that a repaired node has to pass.  [default: one that comes with Leitstand]"),
)
@click.option(
    "--alerts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=lambda _ctx, _option, path: path and _alerts(path.absolute()),
    metavar="FILE",
    help=t("Who is told by webhook and mail what is wrong: the file that says so."),
)
@click.option(
    "--disk-reserve",
    "disk_reserve_bytes",
    callback=reading(parse_bytes),
    metavar="SIZE",
    default="64M",
    show_default=True,
    help=t("With less free disk than this, submissions are refused."),
)
@click.option(
    "--log-limit",
    "log_bytes_max",
    callback=reading(parse_bytes),
    metavar="SIZE",
    default="64M",
    show_default=True,
    help=t("The largest log of one task of a job."),
)
@click.option(
    "--uids",
    callback=parse_uids,
    metavar="FIRST-LAST",
    default="200000-265535",
    show_default=True,
    help=t("User ids for the runs of tenants, if root starts this."),
)
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    help=t("The Python that jobs find first.  [default: this one]"),
)
@click.option("-v", "--verbose", is_flag=True, help=t("Show the logs of the processes."))
@click.pass_context
def up(
    ctx: click.Context,
    /,
    verbose: bool,
    data: Path,
    journal: str | None,
    keys: str | None,
    speed: float | None,
    **options: Any,
) -> None:
    if options["twin"] is not None:
        data, options = _of_twin(ctx, data, options)
    elif speed is not None:
        raise click.UsageError(t("--speed is for a twin: name its scenario with --twin"))
    settings = Settings(data=data.expanduser().absolute(), speed=speed or SPEED, **options)
    ctx.exit(start(settings, verbose=verbose, urls=Urls(journal, keys)))


def _of_twin(ctx: click.Context, data: Path, options: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The folder and the options of a twin: it has a folder of its own and no forecasts, which would be old before
    they are shown. UsageError for what the scenario says."""
    given = [name for name in OF_MACHINE if _is_given(ctx, name)]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise click.UsageError(
            t("{option} is not for a twin: its scenario says what there is; leave it out", option=option)
        )
    if not _is_given(ctx, "data"):
        data = TWINS / options["twin"].stem
    return data, {**options, "forecast_cpu": 0.0}


def _alerts(path: Path) -> Path:
    """The file, if it can be used; BadParameter."""
    from leitstand.alerts import settings
    from leitstand.runtime.yamlfile import YamlWrong

    try:
        settings.read(path)
    except YamlWrong as wrong:
        raise click.BadParameter(str(wrong)) from wrong
    return path


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not ParameterSource.DEFAULT


def start(
    settings: Settings,
    on_ready: Callable[[], None] | None = None,
    next_lines: Sequence[str] | None = None,
    *,
    verbose: bool = False,
    urls: Urls = NO_URLS,
) -> int:
    """Run a control plane until a signal ends it; the exit code.

    `on_ready` is called once it answers, before the start-up text, which ends with `next_lines` (default: how to run a
    first job). A wrong setting or a folder that cannot be used is a ClickException. `urls`: of the databases that hold
    journal and keys, from now on; they may hold passwords and are no part of the settings, which others may see.
    """
    if settings.standby:
        here_at = settings.address or address(settings)
        settings = msgspec.structs.replace(settings, member=secrets.token_hex(8), address=here_at)
    check(settings)
    scenario = scenario_of(settings)
    isolation = here()
    check_python(settings, isolation)
    if isolation.users and not isolation.namespaces:
        os.umask(0o077)  # tenants pass through the data folder on their way to what is theirs
    mark_folder(settings, scenario)
    prepare_folder(settings, urls)
    await_lock(settings.lock, time.monotonic() + PREDECESSOR_S)
    await_lock(settings.faces_lock, time.monotonic() + DRAIN_S)
    await_port(settings, time.monotonic() + PREDECESSOR_S)
    process.outlast_runs()  # else one run could have the kernel end the writer
    children = Children(settings.data / "log", _commands(settings), verbose=verbose, ends=ENDS)
    with _signals_into(children):
        try:
            if children.start():
                if on_ready is not None:
                    on_ready()
                label, said = t("runs"), lines(settings, isolation)
                if scenario is not None:
                    label, said = t("TWIN"), _of_twin_lines(settings, scenario)
                if settings.standby:
                    label = t("turns")
                    said = [t("with others on its journal: `leitstand status` says who leads")]
                _say_ready(settings, [(label, line) for line in said], next_lines)
                children.watch(_say_death)
            _say(
                t("stopping; running jobs go on and are adopted at the next start")
                if scenario is None
                else t("stopping; the same command goes on from here")
            )
            return 0
        except ChildFailed as failure:
            return _say_failure(settings, failure)
        finally:
            for name in children.stop(signal.SIGTERM):
                _say(t("the {name} did not stop in time and was killed", name=name), err=True)


# ── the processes ─────────────────────────────────────────────────────────────────────────────────────────────────
def _commands(settings: Settings) -> dict[str, Sequence[str]]:
    """In the order of stopping. -P: a file of the folder where somebody stands is never imported."""
    python = [sys.executable, "-P", "-m"]
    return {name: [*python, f"leitstand.app.{name}", settings.to_json()] for name in ("faces", "writer")}


@contextlib.contextmanager
def _signals_into(children: Children) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP become events; a signal that is ignored (nohup) stays ignored."""

    def note(number: int, _: Any) -> None:
        children.events.put(Event("signal", value=number))

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ── what it says ──────────────────────────────────────────────────────────────────────────────────────────────────
def _say(text: str, *, err: bool = False) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        click.echo(text, err=err)


def _say_ready(settings: Settings, runs: Sequence[tuple[str, str]], next_lines: Sequence[str] | None) -> None:
    url = address(settings)
    site = _site(settings)
    _say(t("Leitstand {version} is ready at {url}", version=__version__, url=url))
    if site:
        _say(f"  {t('site'):<6} {site}")
    for label, line in runs:
        _say(f"  {label:<6} {line}")
    _say(f"  {t('data'):<6} {settings.data}")
    _say(f"  {t('token'):<6} {settings.admin_token}")
    _say(t("Type next, in another terminal:"))
    for line in _first_lines(settings) if next_lines is None else next_lines:
        _say(f"  {line}")


def _of_twin_lines(settings: Settings, scenario: "Scenario") -> list[str]:
    """What a twin says of itself instead of where its runs live."""
    from leitstand.runtime.dial import Dial

    here = datetime.fromtimestamp(Dial(settings.dial).read().now_us // 1_000_000, UTC)
    said = t(
        "{name}: simulated, {speed:g}x as fast as the world; it is {time} UTC there",
        name=scenario.name,
        speed=settings.speed,
        time=here.strftime("%Y-%m-%d %H:%M"),
    )
    return [said, t("nothing that is submitted here is executed")]


def _first_lines(settings: Settings) -> list[str]:
    program = "leitstand"
    if not shutil.which(program):  # as it was called
        called = Path(sys.argv[0])
        program = (
            shlex.quote(str(called))
            if called.name == program
            else f"{shlex.quote(sys.executable)} -m leitstand"
        )
    url = "" if address(settings) == URL_DEFAULT else f"LEITSTAND_URL={address(settings)} "
    first = "run -- 'echo Hello from $(hostname)'"
    if settings.standby:
        first = "status"
    elif settings.twin is not None:
        first = "submit --gpus 8 --expected-duration 2h -- python train.py"
    elif settings.gpus != 0:
        first = "run --gpus 1 -- 'echo Hello from GPU $CUDA_VISIBLE_DEVICES'"
    return [
        f"export {url}LEITSTAND_TOKEN=$(cat {shlex.quote(str(settings.admin_token))})",
        f"{program} {first}",
        f"{program} jobs",
    ]


def address(settings: Settings) -> str:
    """The URL of this control plane, as seen from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _site(settings: Settings) -> str:
    """What this machine offers, as the control plane itself answers; '' if it does not."""
    import http.client
    import json
    import ssl

    host, port = (address(settings).partition("://")[2]).rsplit(":", 1)
    connection: http.client.HTTPConnection
    if settings.tls_cert:  # our own certificate is for the outside name; here only our own answer is shown
        connection = http.client.HTTPSConnection(
            host, int(port), timeout=5, context=ssl._create_unverified_context()
        )
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        token = settings.admin_token.read_text().strip()
        connection.request("GET", "/v1/nodes", headers={"Authorization": f"Bearer {token}"})
        nodes = json.loads(connection.getresponse().read())["items"]
        gpus = sum(node["gpus"] for node in nodes)
        if any(node["logical"] for node in nodes):
            return t("{nodes} node(s), {gpus} logical GPU(s): counted, not real", nodes=len(nodes), gpus=gpus)
        kinds = ", ".join(sorted({node["gpu_type"] for node in nodes if node["gpu_type"]}))
        return t("{nodes} node(s), {gpus} GPU(s): {kinds}", nodes=len(nodes), gpus=gpus, kinds=kinds or "-")
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return ""
    finally:
        connection.close()


def _say_death(name: str, status: int) -> None:
    _say(t("the {name} ended ({how}); starting it again", name=name, how=_how(status)), err=True)


def _say_failure(settings: Settings, failure: ChildFailed) -> int:
    message = t(
        "Error: the {name} does not start or stay alive ({how}).", name=failure.name, how=_how(failure.status)
    )
    _say(message, err=True)
    if failure.last_line:
        _say("  " + t("Its last line: {line}", line=failure.last_line), err=True)
    _say("  " + t("Its log: {path}", path=settings.data / "log" / f"{failure.name}.log"), err=True)
    if failure.status == LOCKED or (failure.name, failure.status) == ("faces", BUSY):
        return failure.status
    return FAILING if failure.was_ready else FAILED


def _how(status: int) -> str:
    if status < 0:
        return t("signal {number}", number=-status)
    return t("exit code {code}", code=status)
