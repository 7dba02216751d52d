# SPDX-License-Identifier: Apache-2.0
"""The options of `sbatch`: how each is written, and whether it is done, passed over (and why) or refused (and what
helps). Read by `leitstand.cli.sbatch`; the same tables stand in docs/jobfile.md. Source: the manual of Slurm 24.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeVar

_PLACES: Final = "the scheduler chooses the nodes"
_LAYOUT: Final = "tasks and cores are laid out by the node"
_LOG: Final = "the log is kept for you: `leitstand logs`"
_CALLS: Final = "nobody is called or written to; `leitstand logs -f` waits for the end"
_QUEUE: Final = "there are no such queues here; see --tenant, --project and --priority"
_NODE: Final = "the node stays as it is"
_QUIET: Final = "it changes what sbatch prints"
_USER: Final = "jobs run as the user that the cloud gives them"
_SHAPE: Final = "say --nodes, --ntasks-per-node, --cpus-per-task and --gpus-per-node"
_CONTAINER: Final = "jobs run in the environment of the node"


class Option(NamedTuple):
    """`short`: its letter; `takes`: '' no value, '=' one, '?' perhaps one; `ignored` or `refused`: why, '' for done."""

    short: str = ""
    takes: str = "="
    ignored: str = ""
    refused: str = ""


class Given(NamedTuple):
    """One option as it was written; `value` is None where none was."""

    line: int
    name: str
    value: str | None


T = TypeVar("T")


class Teller(Protocol):
    """Takes what is to be told about options."""

    def fault(self, one: Given, what: str) -> None: ...

    def notice(self, one: Given, what: str) -> None: ...

    def guarded(self, one: Given, reading: Callable[[str], T]) -> T | None:
        """What `reading` makes of the value; None, and a fault, if it raises Wrong."""
        ...


OPTIONS: Final = {
    "array": Option("a"),
    "begin": Option("b"),
    "deadline": Option(),
    "dependency": Option("d"),
    "hold": Option("H", takes=""),
    # done
    "chdir": Option("D"),
    "cpus-per-gpu": Option(),
    "cpus-per-task": Option("c"),
    "export": Option(),
    "gpus": Option("G"),
    "gpus-per-node": Option(),
    "gpus-per-task": Option(),
    "gres": Option(),
    "input": Option("i"),
    "job-name": Option("J"),
    "mem": Option(),
    "mem-per-cpu": Option(),
    "mem-per-gpu": Option(),
    "no-requeue": Option(takes=""),
    "nodes": Option("N"),
    "ntasks": Option("n"),
    "ntasks-per-node": Option(),
    "requeue": Option(takes=""),
    "signal": Option(),
    "time": Option("t"),
    # passed over
    "account": Option("A", ignored=_QUEUE),
    "acctg-freq": Option(ignored=_NODE),
    "batch": Option(ignored=_PLACES),
    "clusters": Option("M", ignored=_PLACES),
    "comment": Option(ignored="jobs have a name and no comment"),
    "constraint": Option("C", ignored=_PLACES),
    "contiguous": Option(takes="", ignored=_PLACES),
    "core-spec": Option("S", ignored=_LAYOUT),
    "cores-per-socket": Option(ignored=_LAYOUT),
    "cpu-freq": Option(ignored=_NODE),
    "delay-boot": Option(ignored=_NODE),
    "distribution": Option("m", ignored=_LAYOUT),
    "error": Option("e", ignored=_LOG),
    "exclude": Option("x", ignored=_PLACES),
    "exclusive": Option(
        takes="?", ignored="a job has what it asks for, not the rest of its nodes; ask by number"
    ),
    "extra": Option(ignored=_PLACES),
    "extra-node-info": Option("B", ignored=_LAYOUT),
    "get-user-env": Option(takes="?", ignored="login files are not read; see --env"),
    "gid": Option(ignored=_USER),
    "gpu-bind": Option(ignored=_LAYOUT),
    "gpu-freq": Option(ignored=_NODE),
    "gres-flags": Option(ignored=_LAYOUT),
    "hint": Option(ignored=_LAYOUT),
    "ignore-pbs": Option(takes="", ignored=_QUIET),
    "kill-on-invalid-dep": Option(ignored=_QUEUE),
    "mail-type": Option(ignored=_CALLS),
    "mail-user": Option(ignored=_CALLS),
    "mcs-label": Option(ignored=_QUEUE),
    "mem-bind": Option(ignored=_LAYOUT),
    "mincpus": Option(ignored=_PLACES),
    "network": Option(ignored=_NODE),
    "nice": Option(takes="?", ignored=_QUEUE),
    "no-kill": Option("k", takes="?", ignored="a gang ends when one of its tasks fails"),
    "nodefile": Option("F", ignored=_PLACES),
    "nodelist": Option("w", ignored=_PLACES),
    "ntasks-per-core": Option(ignored=_LAYOUT),
    "ntasks-per-socket": Option(ignored=_LAYOUT),
    "open-mode": Option(ignored=_LOG),
    "output": Option("o", ignored=_LOG),
    "overcommit": Option("O", takes="", ignored=_LAYOUT),
    "oversubscribe": Option("s", takes="", ignored=_LAYOUT),
    "parsable": Option(takes="", ignored=_QUIET),
    "partition": Option("p", ignored=_QUEUE),
    "power": Option(ignored=_NODE),
    "prefer": Option(ignored=_PLACES),
    "priority": Option(ignored=_QUEUE),
    "profile": Option(ignored=_NODE),
    "propagate": Option(takes="?", ignored=_USER),
    "qos": Option("q", ignored=_QUEUE),
    "quiet": Option("Q", takes="", ignored=_QUIET),
    "reboot": Option(takes="", ignored=_NODE),
    "reservation": Option(ignored=_QUEUE),
    "segment": Option(ignored=_PLACES),
    "sockets-per-node": Option(ignored=_LAYOUT),
    "spread-job": Option(takes="", ignored=_PLACES),
    "stepmgr": Option(takes="", ignored=_NODE),
    "switches": Option(ignored=_PLACES),
    "thread-spec": Option(ignored=_LAYOUT),
    "threads-per-core": Option(ignored=_LAYOUT),
    "time-min": Option(ignored=_QUEUE),
    "tmp": Option(ignored="disk space is not counted"),
    "tres-bind": Option(ignored=_LAYOUT),
    "uid": Option(ignored=_USER),
    "use-min-nodes": Option(takes="", ignored=_PLACES),
    "verbose": Option("v", takes="", ignored=_QUIET),
    "wait": Option("W", takes="", ignored="`leitstand run` waits for the end, `leitstand submit` does not"),
    "wait-all-nodes": Option(ignored="the tasks of a gang start together anyway"),
    "wckey": Option(ignored=_QUEUE),
    # refused: another job would run
    "bb": Option(refused="copy the data in the script"),
    "bbf": Option(refused="copy the data in the script"),
    "container": Option(refused=_CONTAINER),
    "container-id": Option(refused=_CONTAINER),
    "container-image": Option(refused=_CONTAINER),
    "container-mounts": Option(refused=_CONTAINER),
    "container-name": Option(refused=_CONTAINER),
    "container-workdir": Option(refused=_CONTAINER),
    "export-file": Option(refused="write --env NAME, or --export=NAME=VALUE"),
    "gpus-per-socket": Option(refused=_SHAPE),
    "licenses": Option("L", refused="licences are not counted; remove it if the program finds its own"),
    "ntasks-per-gpu": Option(refused=_SHAPE),
    "test-only": Option(takes="", refused="ask with `leitstand plan`"),
    "tres-per-task": Option(refused=_SHAPE),
    "wrap": Option(refused="write the command into the script"),
}
LETTERS: Final = {option.short: name for name, option in OPTIONS.items() if option.short}
