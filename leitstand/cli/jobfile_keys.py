# SPDX-License-Identifier: Apache-2.0
"""The keys of other platforms in a job file: what is refused and what helps, what is passed over and why, and what
people write for our keys. Read by `leitstand.cli.jobfile`; the same tables stand in docs/jobfile.md.
"""

from typing import Final

_PLACES: Final = "this cloud places jobs itself; remove it"
_IMAGE: Final = "jobs run in the environment of the node; install what is missing in setup"
_FILES: Final = "put small files into workdir and fetch big ones in setup or run"
_SERVE: Final = "only jobs with an end run today"
_ONE: Final = "write one of the alternatives into resources"

# Refused: a job without them would be another job. What helps is the value.
LATER: Final = {
    "accelerator_args": "remove it",
    "any_of": _ONE,
    "cloud": _PLACES,
    "config": "settings of another platform; remove it",
    "file_mounts": _FILES,
    "image": _IMAGE,
    "image_id": _IMAGE,
    "infra": _PLACES,
    "inputs": _FILES,
    "instance_type": "say accelerators, cpus and memory instead",
    "node_pool": _PLACES,
    "ordered": _ONE,
    "outputs": _FILES,
    "pool": _PLACES,
    "ports": _SERVE,
    "region": _PLACES,
    "service": _SERVE,
    "site": _PLACES,
    "storage": _FILES,
    "storage_mounts": _FILES,
    "volumes": _FILES,
    "workspace": "write project",
    "zone": _PLACES,
}

# Passed over with a notice: the job computes the same without them. Why is the value.
IGNORED: Final = {
    "autostop": "nodes are not yours to stop; the job ends by itself or at max_duration",
    "disk_size": "disk space is not counted",
    "disk_tier": "disk space is not counted",
    "event_callback": "nothing is called when the state changes; `leitstand logs -f` waits for the end",
    "labels": "jobs have no labels; name and project tell them apart",
    "local_disk": "disk space is not counted",
    "network_tier": "nodes have one network",
    "spot_policy": "there is no spot market; the job keeps what it got",
    "spot_recovery": "there is no spot market; the job keeps what it got",
    "use_spot": "there is no spot market; the job keeps what it got",
}

# What people write, and what it is called here.
HINTS: Final = {
    "command": "run",
    "commands": "run",
    "cpu": "cpus",
    "depends_on": "after",
    "hold": "held",
    "schedule": "begin",
    "start_time": "begin",
    "env": "envs",
    "environment": "envs",
    "every_s": "every",
    "gpu": "accelerators",
    "gpus": "accelerators",
    "interval": "every",
    "max_retries": "max",
    "max_restarts_on_errors": "max",
    "mem": "memory",
    "nodes": "num_nodes",
    "on_events": "on",
    "reasons": "on",
    "reservation": "booking",
    "retries": "retry",
    "script": "run",
    "time_limit": "max_duration",
    "timeout": "max_duration",
    "working_dir": "workdir",
}
