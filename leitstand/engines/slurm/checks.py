# SPDX-License-Identifier: Apache-2.0
"""Whether a Slurm site can be used, look by look, before it is added: each with what it found. Called by the API.

Nothing is changed but a file in the site's folder, which is gone again. What an earlier look would have to be well for
is skipped.
"""

import base64
import binascii
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from leitstand.engines.sitefile import SiteFile
from leitstand.engines.slurm.commands import Commands, SlurmNode
from leitstand.engines.slurm.folder import RunFolders
from leitstand.engines.slurm.rest import Refused, Rest
from leitstand.engines.slurm.site import DIRECTED
from leitstand.engines.slurm.slots import sized
from leitstand.engines.slurm.topology import Partitions

TOOLS: Final = ("sinfo", "squeue", "scontrol", "scancel")
VERSION_MIN: Final = (22, 5)
TIMEOUT_S: Final = 10.0
OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
SOON_S: Final = 7 * 86_400  # in which a token that ends is worth a word
END_MAX_S: Final = 253_402_300_800  # the year 10,000
SHOWN_MAX: Final = 10


class Check(msgspec.Struct, frozen=True):
    """One look. `outcome`: ok, warning (it works, not well), failed, or skipped; `said`: what was found, and where it
    helps what to do."""

    name: str
    outcome: str
    said: str


class _Bad(Exception):
    """It is not so; `warning`: it can be lived with."""

    def __init__(self, said: str, *, warning: bool = False) -> None:
        super().__init__(said)
        self.warning = warning


def run(file: SiteFile, journal: str) -> list[Check]:
    """All looks, in order. `journal`: the id of the control plane's. Takes up to a minute where nobody answers."""
    return _Looks(file, journal).run()


def well(checks: list[Check]) -> bool:
    """Whether the site can be used."""
    return all(check.outcome != FAILED for check in checks)


class _Looks:
    def __init__(self, file: SiteFile, journal: str) -> None:
        self._file = file
        self._slurm = file.slurm
        token_file = None if file.mode == DIRECTED else file.slurm.token_file
        self._commands = Commands(file.slurm.conf, TIMEOUT_S, token_file)
        self._folders = RunFolders(file.slurm.folder, journal)
        self._config: dict[str, str] = {}
        self._partitions: tuple[str, ...] = ()

    def run(self) -> list[Check]:
        looks: tuple[tuple[str, tuple[str, ...], Callable[[], str]], ...] = (
            ("tools", (), self._tools),
            ("conf", (), self._conf),
            ("slurmctld", ("tools", "conf"), self._controller),
            ("version", ("slurmctld",), self._version),
            ("partition", ("slurmctld",), self._partition),
            ("nodes", ("partition",), self._nodes),
            ("alone", ("partition",), self._alone),
            ("settings", ("slurmctld",), self._settings),
            ("token", (), self._token),
            ("slurmrestd", ("token",), self._rest),
            ("account", ("slurmctld",), self._account),
            ("folder", (), self._folder),
        )
        found: list[Check] = []
        unwell: set[str] = set()
        for name, needs, look in looks:
            missing = [need for need in needs if need in unwell]
            check = (
                Check(name, SKIPPED, f"{missing[0]} has to be well first") if missing else _tried(name, look)
            )
            found.append(check)
            if missing or check.outcome == FAILED:
                unwell.add(name)
        return found

    # ── the cluster ───────────────────────────────────────────────────────────────────────────────────────────────
    def _tools(self) -> str:
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            raise _Bad(
                f"{', '.join(missing)}: not installed where the control plane runs (Debian: slurm-client)"
            )
        major, minor = self._commands.version()
        return f"Slurm {major}.{minor:02}"

    def _conf(self) -> str:
        conf = self._slurm.conf
        if not conf.is_file():
            raise _Bad(f"{conf} is not there; copy the cluster's slurm.conf to the control plane")
        with conf.open("rb") as file:
            file.read(1)
        return str(conf)

    def _controller(self) -> str:
        self._config = self._commands.config()
        return f"cluster {self._config.get('ClusterName', '?')} answers"

    def _version(self) -> str:
        said = self._config.get("SLURM_VERSION", "")
        try:
            major, minor = (int(part) for part in said.split(".")[:2])
        except ValueError:
            raise _Bad(f"the controller says no version that can be read: {said!r}") from None
        if (major, minor) < VERSION_MIN:
            raise _Bad(
                f"Slurm {said} is too old; {VERSION_MIN[0]}.{VERSION_MIN[1]:02} is the oldest that is served"
            )
        return f"Slurm {said}"

    def _partition(self) -> str:
        found = Partitions(self._commands, self._slurm.partition, self._slurm.parts)
        self._partitions = found.names
        return self._slurm.partition + (f", {len(found.names) - 1} parts" if self._slurm.parts else "")

    def _nodes(self) -> str:
        listed = self._commands.nodes(self._slurm.partition)
        gpus = sum(node.gpus for node in listed)
        said = f"{len(listed)} nodes with {gpus} GPUs"
        expect = self._file.expect
        if len(listed) < expect.nodes or gpus < expect.gpus:
            raise _Bad(
                f"{said}, less than the {expect.nodes} nodes with {expect.gpus} GPUs that are expected"
            )
        if not listed:
            raise _Bad("the partition has no nodes")
        if self._file.mode != DIRECTED:
            return self._slots(listed, said)
        down = [
            node.name for node in listed if not node.responds or node.state in ("down", "drained", "fail")
        ]
        if down:
            more = f" and {len(down) - SHOWN_MAX} more" if len(down) > SHOWN_MAX else ""
            raise _Bad(f"{said}; out of service: {', '.join(down[:SHOWN_MAX])}{more}", warning=True)
        return said

    def _slots(self, listed: list[SlurmNode], said: str) -> str:
        """Whether the quota can be had."""
        (per_node, *_), count = sized(self._file.quota, listed)
        slots = f"the quota is {count} nodes with {count * per_node} GPUs"
        if count > len(listed):
            raise _Bad(f"{slots}, and the partition has {said}; lower `quota`")
        return f"{slots} of {said}"

    def _alone(self) -> str:
        if self._file.mode != DIRECTED:
            return ""
        others = [job for job in self._commands.jobs(self._partitions) if not self._folders.is_ours(job.name)]
        if others:
            raise _Bad(
                f"{len(others)} jobs of others are on the partition (first: {others[0].job}); a directed site places "
                "on exact nodes at once, so it needs a partition that nobody else uses",
                warning=True,
            )
        return "no job of others"

    def _settings(self) -> str:
        """What slurm.conf of a directed site should say, so that trouble is noticed in time."""
        if self._file.mode != DIRECTED:
            return ""
        odd = []
        for key, least, most, wanted in (
            ("SlurmdTimeout", 1, 60, "30, so that a dead node is noticed"),
            ("JobRequeue", 0, 0, "0, so that Slurm starts nothing again by itself"),
            ("MinJobAge", 300, 10**9, "300 or more, so that ended jobs are remembered"),
        ):
            digits = self._config.get(key, "").split()[:1]
            value = int(digits[0]) if digits and digits[0].isdigit() else -1
            if not least <= value <= most:
                odd.append(f"{key} is {self._config.get(key, 'not said')}; better {wanted}")
        if odd:
            raise _Bad("; ".join(odd), warning=True)
        return "as a directed site should have them"

    # ── how jobs get there ────────────────────────────────────────────────────────────────────────────────────────
    def _token(self) -> str:
        path = self._slurm.token_file
        if path is None:
            return ""
        try:
            token = path.read_text().strip()
        except OSError as error:
            raise _Bad(f"{path} cannot be read: {error.strerror}") from None
        ends_s, user = _claims(token)
        if user and user != self._slurm.user:
            said = f"{path} holds a token of {user}, and the site says user: {self._slurm.user}"
            raise _Bad(f"{said}; that works if {user} may act for others", warning=True)
        if not ends_s:
            return str(path)
        ends = datetime.fromtimestamp(ends_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        left_s = ends_s - time.time()
        if left_s <= 0:
            raise _Bad(f"the token in {path} expired at {ends}; write a new one there (`scontrol token`)")
        if left_s < SOON_S:
            raise _Bad(f"the token in {path} expires at {ends}; see to it that it is renewed", warning=True)
        return f"until {ends}"

    def _rest(self) -> str:
        rest = Rest(self._slurm.rest, self._slurm.user, self._slurm.token_file, 1, TIMEOUT_S)
        try:
            version = rest.check()
        except Refused as refusal:
            raise _Bad(f"{self._slurm.rest}: {refusal}") from None
        except OSError as error:
            raise _Bad(f"{self._slurm.rest}: {error}") from None
        finally:
            rest.close()
        return f"Slurm {version} at {self._slurm.rest}"

    def _account(self) -> str:
        account, stored = self._slurm.account, self._config.get("AccountingStorageType", "")
        if "slurmdbd" not in stored:
            if account:
                raise _Bad(
                    f"the cluster keeps no accounts ({stored}): {account} is not checked, and nothing is charged to it",
                    warning=True,
                )
            return ""
        if not account:
            if "associations" in self._config.get("AccountingStorageEnforce", ""):
                raise _Bad("the cluster takes no job without an account; name one with account:")
            return ""
        if not self._commands.has_account(account):
            raise _Bad(f"there is no account {account}; `sacctmgr show account` lists them")
        return account

    def _folder(self) -> str:
        folder = self._slurm.folder
        self._folders.check_owner()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise _Bad(f"{there} cannot be written to")
        with tempfile.NamedTemporaryFile(dir=there, prefix=".leitstand-test-"):
            pass
        if there != folder and not there.joinpath(*folder.relative_to(there).parts[:-1]).is_dir():
            return f"{folder} will be made below {there}; the nodes must see it under the same path"
        return f"{folder} can be written to; the nodes must see it under the same path"


def _tried(name: str, look: Callable[[], str]) -> Check:
    try:
        said = look()
    except _Bad as bad:
        return Check(name, WARNING if bad.warning else FAILED, str(bad))
    except (OSError, ValueError) as error:
        return Check(name, FAILED, str(error))
    return Check(name, OK, said) if said else Check(name, SKIPPED, "nothing to look at")


def _claims(token: str) -> tuple[int, str]:
    """(when it ends, in s, whose it is) of a JWT; 0 and '' where it does not say. Not verified: only Slurm can."""
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise _Bad("the token file holds no JWT; `scontrol token` makes one, without `SLURM_JWT=` in front")
    try:
        body = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, msgspec.DecodeError):
        raise _Bad(
            "the token file holds no JWT; `scontrol token` makes one, without `SLURM_JWT=` in front"
        ) from None
    said = body if isinstance(body, dict) else {}
    ends, user = said.get("exp", 0), said.get("sun", "")
    return (ends if isinstance(ends, int) and 0 < ends < END_MAX_S else 0), (
        user if isinstance(user, str) else ""
    )
