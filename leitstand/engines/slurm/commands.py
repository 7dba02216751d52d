# SPDX-License-Identifier: Apache-2.0
"""Reads a Slurm cluster by its own command-line tools, as text: one call for everything, never one for each job.

Called by the engine's thread. What the controller does not answer is `SlurmAway`, an OSError: later it may.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

TIMEOUT_S: Final = 30.0
KILL_BATCH: Final = 500  # jobs of one scancel
ASK_BATCH: Final = 500  # jobs of one squeue
US: Final = 1_000_000
_TIMES: Final = {"SLURM_TIME_FORMAT": "%s", "LC_ALL": "C"}  # seconds since 1970, whatever the time zone is


class SlurmAway(OSError):
    """The controller does not answer, or not as it should; a line that says why."""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A job that has not ended. `state` as squeue names it (PENDING, RUNNING, COMPLETING …). `start_us`: when it began
    or is expected to, 0: nobody says."""

    job: int
    state: str
    reason: str
    name: str
    start_us: int = 0


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A job that the controller still remembers. Times in µs, 0: none; `status`: as wait(2) gives it."""

    job: int
    state: str
    name: str
    started_us: int
    ended_us: int
    status: int


class SlurmNode(msgspec.Struct, frozen=True, gc=False):
    """A node as it is configured. `gpus`: of `gpu_type`, '' where the cluster names none; `state` in lower case,
    without flags; `responds`: False once the controller has lost it."""

    name: str
    gpus: int
    gpu_type: str
    cpus: int
    memory_mib: int
    state: str
    responds: bool
    reason: str = ""


class Commands:
    """The tools of the cluster that `conf` describes. `token_file`: as whom they ask, read anew for every call; None:
    as the user of this process, by the cluster's own secret. FileNotFoundError from `run` if they are not installed."""

    def __init__(self, conf: Path, timeout_s: float = TIMEOUT_S, token_file: Path | None = None) -> None:
        self._environment = {**os.environ, **_TIMES, "SLURM_CONF": str(conf)}
        self._timeout_s = timeout_s
        self._token_file = token_file

    def run(self, *argv: str) -> str:
        """What the command says; SlurmAway with its last line if it fails."""
        environment = self._environment
        if self._token_file is not None:
            environment = {**environment, "SLURM_JWT": self._token_file.read_text().strip()}
        try:
            done = subprocess.run(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SlurmAway(f"{argv[0]} did not answer within {self._timeout_s:.0f} s") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            asked = "" if self._token_file is None else f" (asked with the token in {self._token_file})"
            raise SlurmAway((said[-1] if said else f"{argv[0]} ended with {done.returncode}") + asked)
        return done.stdout

    def jobs(self, partitions: Sequence[str], users: Sequence[str] = ()) -> list[Listed]:
        """Every job of the partitions that has not ended; `users`: of these alone."""
        found = []
        asked = ["-p", ",".join(partitions), *(["-u", ",".join(users)] if users else [])]
        for line in self.run("squeue", "-h", *asked, "-o", "%i|%T|%S|%r|%j").splitlines():
            job, state, start, reason, name = line.split("|", 4)
            if job.isdigit():  # not a member of somebody's array
                found.append(Listed(int(job), state, reason, name, _time_us(start)))
        return found

    def finished(self, jobs: Sequence[int]) -> dict[int, Finished]:
        """Of these jobs those that the controller knows, ended or not."""
        found = {}
        for start in range(0, len(jobs), ASK_BATCH):
            asked = ",".join(map(str, jobs[start : start + ASK_BATCH]))
            form = "JobID:|,State:|,StartTime:|,EndTime:|,exit_code:|,Name:|"
            for line in self._ask("squeue", "-h", "-t", "all", "-j", asked, "-O", form).splitlines():
                job, state, started, ended, status, name = line.split("|")[:6]
                found[int(job)] = Finished(
                    int(job), state, name, _time_us(started), _time_us(ended), _number(status)
                )
        return found

    def _ask(self, *argv: str) -> str:
        """As `run`, but a job that the controller does not know is no failure."""
        try:
            return self.run(*argv)
        except SlurmAway as error:
            if "Invalid job id" in str(error):
                return ""
            raise

    def cancel(self, jobs: Sequence[int]) -> None:
        """These jobs end, pending or not; those that are over are left alone."""
        self._kill(jobs)

    def tell(self, jobs: Sequence[int]) -> None:
        """TERM to the script of each of these jobs, and to nothing else."""
        self._kill(jobs, "--batch", "--signal=TERM")

    def _kill(self, jobs: Sequence[int], *options: str) -> None:
        for start in range(0, len(jobs), KILL_BATCH):
            part = map(str, jobs[start : start + KILL_BATCH])
            try:
                self.run("scancel", *options, *part)
            except SlurmAway as error:
                if "Invalid job id" not in str(error) and "already" not in str(error):
                    raise

    def partitions(self) -> dict[str, str]:
        """The nodes of every partition, as host lists."""
        lines = self.run("sinfo", "-h", "-a", "-o", "%R|%N").splitlines()
        found: dict[str, str] = {}
        for line in lines:  # one for each state of its nodes
            name, _, nodes = line.partition("|")
            found[name] = f"{found[name]},{nodes}" if found.get(name) and nodes else found.get(name) or nodes
        return found

    def config(self) -> dict[str, str]:
        """What the controller runs with: by key, as scontrol prints it."""
        found: dict[str, str] = {}
        for line in self.run("scontrol", "show", "config").splitlines():
            key, equals, value = line.partition("=")
            if equals:
                found.setdefault(key.strip(), value.strip())
        return found

    def has_account(self, account: str) -> bool:
        """Whether slurmdbd knows the account. SlurmAway: it does not answer, or there is none."""
        return bool(
            self.run("sacctmgr", "-n", "-P", "show", "account", f"name={account}", "format=account").strip()
        )

    def nodes(self, partition: str) -> list[SlurmNode]:
        """The nodes of the partition, in the cluster's order."""
        form = "%N|%G|%c|%m|%T|%E"
        found = {}
        for line in self.run("sinfo", "-h", "-N", "-p", partition, "-o", form).splitlines():
            name, gres, cpus, memory, state, reason = line.split("|", 5)
            gpus, gpu_type = gpus_of(gres)
            found[name] = SlurmNode(
                name,
                gpus,
                gpu_type,
                _number(cpus),
                _number(memory),
                state.rstrip("*~#!%$@^-+"),
                "*" not in state,
                "" if reason == "none" else reason,
            )
        return list(found.values())

    def switches(self) -> list[tuple[str, int, str]]:
        """(name, level from 0 at the leaves, nodes as a host list) of its topology; [] if it has none."""
        found: list[tuple[str, int, str]] = []
        try:
            said = self.run("scontrol", "-o", "show", "topology")
        except SlurmAway as error:
            if "No topology" in str(error):
                return found
            raise
        for line in said.splitlines():
            fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
            if "SwitchName" in fields:
                found.append(
                    (fields["SwitchName"], _number(fields.get("Level", "0")), fields.get("Nodes", ""))
                )
        return found

    def expand(self, hosts: str) -> list[str]:
        """The names of a host list (`n[1-3]`)."""
        return self.run("scontrol", "show", "hostnames", hosts).split()

    def version(self) -> tuple[int, int]:
        """Major and minor version of the installed tools: (22, 5)."""
        said = self.run("sinfo", "--version").split()[-1].split(".")
        return int(said[0]), int(said[1])

    def drain(self, node: str, reason: str) -> None:
        """The node takes nothing new."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", f"Reason={reason}")

    def resume(self, node: str) -> None:
        """The node is in service again."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")


def gpus_of(gres: str) -> tuple[int, str]:
    """(number, type) of the GPUs in a list like `gpu:h100:8(S:0-1),nic:2`; of several types the first."""
    for part in gres.replace("(null)", "").split(","):
        name, *rest = part.partition("(")[0].split(":")
        if name == "gpu" and rest and rest[-1].isdigit():
            return int(rest[-1]), rest[0] if len(rest) > 1 else ""
    return 0, ""


def _time_us(text: str) -> int:
    return int(text) * US if text.isdigit() else 0


def _number(text: str) -> int:
    digits = text.strip().rstrip("+")
    return int(digits) if digits.isdigit() else 0
