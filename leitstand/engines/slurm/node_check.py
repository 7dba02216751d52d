#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at the GPUs of one node and writes what is wrong with them into a file that the control plane reads.

Slurm runs it on every node (`HealthCheckProgram`, `HealthCheckInterval`); it needs Python 3.6, `nvidia-smi` where there
are GPUs, and nothing of Leitstand. It writes FOLDER/NODE.json, whole, at every call: also the time of the file tells
that somebody looks. FOLDER is the one in which this program lies, or --folder.

    {"node": "n0001", "gpus": 8, "troubles": [{"kind": "xid", "code": 79, "gpu": 3, "at_us": 1764028800000000}]}

Xids are read from the kernel's log, the rest is asked of `nvidia-smi`. Times are those of the node's clock, in µs.
"""

import argparse
import errno
import json
import os
import re
import socket
import subprocess
import time

SMI_S = 20.0  # Slurm kills a check after 60 s
TROUBLES_MAX = 100
RECORD_MAX = 8192  # of the kernel's log
XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]+)\): (\d+)")
FIELDS = "index,pci.bus_id,ecc.errors.uncorrected.volatile.total,retired_pages.pending"
ROWS = "gpu_bus_id,remapped_rows.pending,remapped_rows.failure"


def main() -> None:
    given = parsed()
    path = os.path.join(given.folder, given.node + ".json")
    before = previous(path)
    gpus, found = asked(given.smi, int(before.get("gpus", 0)))
    found += xids(given.kmsg, {bus: index for index, bus in gpus})
    known = {key(one): one for one in before.get("troubles", [])}
    now_us = int(time.time() * 1000000)
    for one in found:
        old = known.get(key(one))
        if "at_us" not in one:  # a state: since it was seen first, or grew
            same = old is not None and old.get("value", 0) == one.get("value", 0)
            one["at_us"] = old["at_us"] if same and old is not None else now_us
    written = {"node": given.node, "gpus": max(len(gpus), int(before.get("gpus", 0)))}
    latest = sorted(found, key=lambda one: int(one["at_us"]))[-TROUBLES_MAX:]
    write(path, dict(written, troubles=latest))


def parsed() -> "argparse.Namespace":
    parser = argparse.ArgumentParser(description="Look at the GPUs of this node.")
    parser.add_argument("--folder", default=os.path.dirname(os.path.abspath(__file__)), help="where to write")
    parser.add_argument("--node", default=node_name(), help="what Slurm calls this node")
    parser.add_argument("--kmsg", default="/dev/kmsg", help="the kernel's log")
    parser.add_argument("--smi", default="nvidia-smi", help="the program that tells of GPUs")
    return parser.parse_args()


def node_name() -> str:
    """What Slurm calls this node: as slurmd was told, else as the machine is called."""
    name = os.environ.get("SLURMD_NODENAME", "")
    if not name:
        try:
            with open(f"/proc/{os.getppid()}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            name = words[words.index("-N") + 1]
        except (OSError, ValueError, IndexError):
            pass
    return name or socket.gethostname().split(".")[0]


def previous(path: str) -> "dict":  # type: ignore[type-arg]
    """What the last call wrote; {} if there is none."""
    try:
        with open(path) as file:
            found = json.load(file)
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def key(trouble: "dict") -> "tuple":  # type: ignore[type-arg]
    return trouble.get("kind"), trouble.get("code", 0), trouble.get("gpu", -1)


# ── nvidia-smi ────────────────────────────────────────────────────────────────────────────────────────────────────────
def asked(smi: str, expected: int) -> "tuple":  # type: ignore[type-arg]
    """([(index, bus)], troubles): what `nvidia-smi` says. One that is not installed says nothing."""
    try:
        rows = query(smi, "--query-gpu=" + FIELDS)
    except FileNotFoundError:
        return [], []
    except (OSError, ValueError, subprocess.SubprocessError):
        return [], [{"kind": "gpu_lost", "gpu": -1}]  # it stands still, or says that it lost one
    gpus, troubles = [], []
    for row in rows:
        index, bus = int(row[0]), short(row[1])
        gpus.append((index, bus))
        if row[2].isdigit() and int(row[2]):
            troubles.append({"kind": "ecc_uncorrected", "gpu": index, "value": int(row[2])})
        if row[3] == "Yes":
            troubles.append({"kind": "retired_pages", "gpu": index})
    if len(gpus) < expected:
        troubles.append({"kind": "gpu_lost", "gpu": -1, "value": expected - len(gpus)})
    by_bus = {bus: index for index, bus in gpus}
    try:
        for row in query(smi, "--query-remapped-rows=" + ROWS):
            index = by_bus.get(short(row[0]), -1)
            if row[2] in ("1", "Yes"):
                troubles.append({"kind": "remap_failed", "gpu": index})
            elif row[1] in ("1", "Yes"):
                troubles.append({"kind": "retired_pages", "gpu": index})
    except (OSError, ValueError, subprocess.SubprocessError):
        pass  # an older driver
    return gpus, troubles


def query(smi: str, what: str) -> "list":  # type: ignore[type-arg]
    """The rows of one question."""
    done = subprocess.run(
        [smi, what, "--format=csv,noheader,nounits"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=SMI_S,
        check=True,
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    rows = [[word.strip() for word in line.split(",")] for line in lines if line.strip()]
    if any(len(row) != len(what.split(",")) for row in rows):
        raise ValueError("not what was asked for")
    return rows


def short(bus: str) -> str:
    """A bus id as kernel and nvidia-smi both have it: 00000000:3B:00.0 and 0000:3b:00 are the same."""
    parts = bus.lower().rpartition(".")[0] if "." in bus else bus.lower()
    domain, _, rest = parts.partition(":")
    return f"{int(domain, 16):x}:{rest}"


# ── the kernel's log ──────────────────────────────────────────────────────────────────────────────────────────────────
def xids(path: str, by_bus: "dict") -> "list":  # type: ignore[type-arg]
    """The last of each Xid of each GPU since the machine was booted."""
    booted_us = int((time.time() - uptime_s()) * 1000000)
    found = {}
    for record in records(path):
        head, _, text = record.partition(";")
        xid = XID.search(text)
        stamp = head.split(",")
        if xid is None or len(stamp) < 3 or not stamp[2].isdigit():
            continue
        one = {"kind": "xid", "code": int(xid.group(2)), "gpu": by_bus.get(short(xid.group(1)), -1)}
        one["at_us"] = booted_us + int(stamp[2])
        found[key(one)] = one
    return list(found.values())


def records(path: str) -> "list[str]":
    """What the kernel has in its log now; nothing where it may not be read."""
    found: list[str] = []
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return found
    try:
        while True:
            try:
                said = os.read(file, RECORD_MAX)
            except OSError as error:
                if error.errno == errno.EPIPE:  # it was overwritten meanwhile; the next is there
                    continue
                break  # no more
            if not said:
                break
            found += said.decode(errors="replace").splitlines()  # a device gives one record, a file many
    finally:
        os.close(file)
    return found


def uptime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def write(path: str, what: "dict") -> None:  # type: ignore[type-arg]
    """Whole or not at all."""
    part = f"{path}.{os.getpid()}.part"
    with open(part, "w") as file:
        json.dump(what, file)
    os.rename(part, path)


if __name__ == "__main__":
    main()
