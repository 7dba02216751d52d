# SPDX-License-Identifier: Apache-2.0
"""What a run is on the nodes of a Slurm cluster: the batch script, and the script of each of its tasks.

The batch script claims the run, starts its tasks (by srun, if there are several), ends them at the time limit, when it
is told to, or when it is fenced, and writes how it ended. It needs bash 4.3 and GNU coreutils, nothing of ours; with
bash 5 it asks no program for the time. Nodes start many runs, so a task alone costs few processes.
"""

import os
import shlex
from pathlib import Path
from typing import Final

import msgspec

from leitstand.core.units import SECOND_US
from leitstand.engines.slurm.folder import WORK
from leitstand.engines.surroundings import Work
from leitstand.runtime.ports import StartRun

GRACE_MAX_US: Final = 3_600 * SECOND_US  # that a job may ask for between its signal and KILL
LOOK_S: Final = 5  # between looks at the fence, at most
PORTS: Final = (20_000, 12_000)  # of the rendezvous: first, how many

# $run, $tasks, $gpus, $limit_us, $grace_us and $signal stand above it.
BATCH: Final = """
look() {
    if [ -n "${EPOCHREALTIME:-}" ]; then
        now=${EPOCHREALTIME/[.,]/}
    else
        now=$(date +%s%6N)
    fi
}
look
begun=$now
mark="$SLURM_JOB_ID $begun $$.$RANDOM"
# where the answer to a link was lost, the link tells
ln -sT "$mark" "$run/claim" 2>/dev/null || [ "$(readlink "$run/claim")" = "$mark" ] || exit 0

finish() {
    look
    printf '%s %s %s\\n' "$1" "$2" "$now" >"$run/ended" # one write; whole with the end of its line
    exit "$2"
}
refuse() {
    echo "the run could not start: $2" >>"$run/task-0.log"
    echo "$1" >"$run/refused"
    finish refused 1
}

cd "$run/work" || finish refused 1
if [ -e "$run/secrets" ]; then
    . "$run/secrets"
    rm -f "$run/secrets"
fi
if [ -e "$run/workdir.tar" ]; then
    tar -xf "$run/workdir.tar" || refuse workdir_unreadable "its working directory cannot be unpacked"
fi
told=
trap 'told=1' TERM INT HUP
export MASTER_PORT=$((first_port + SLURM_JOB_ID % ports))
if ((tasks > 1)); then
    LEITSTAND_NODE_IPS=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
    export LEITSTAND_NODE_IPS
    setsid srun --ntasks="$tasks" --ntasks-per-node=1 --kill-on-bad-exit=1 --export=ALL \\
        --output="$run/task-%t.log" --error="$run/task-%t.log" bash "$run/rank.sh" </dev/null &
else
    setsid bash "$run/task.sh" </dev/null >>"$run/task-0.log" 2>&1 &
fi
main=$!

tell() {
    if ((tasks > 1)); then # srun would turn TERM into KILL
        scancel "--signal=$1" "$SLURM_JOB_ID.0" 2>/dev/null
    else
        kill "-$1" -- "-$main" 2>/dev/null
    fi
}
outcome=exited
kill_at=
while :; do
    look
    if [ "$outcome" = exited ]; then
        if [ -e "$run/fence" ]; then
            outcome=fenced kill_at=$now
        elif [ -n "$told" ]; then
            outcome=stopped
        elif ((limit_us > 0 && now >= begun + limit_us)); then
            outcome=time_limit
        fi
        if [ "$outcome" = stopped ] || [ "$outcome" = time_limit ]; then
            kill_at=$((now + grace_us))
            ((grace_us > 0)) && tell "$signal"
        fi
    fi
    pause_us=$((look_s * 1000000))
    if [ -n "$kill_at" ]; then
        if ((now >= kill_at)); then
            tell KILL
            kill_at=$((now + 1000000))
        fi
        ((kill_at - now < pause_us)) && pause_us=$((kill_at - now))
    elif ((limit_us > 0 && begun + limit_us - now < pause_us)); then
        pause_us=$((begun + limit_us - now))
    fi
    ((pause_us < 1000)) && pause_us=1000
    sleep "$(printf '%d.%06d' $((pause_us / 1000000)) $((pause_us % 1000000)))" &
    nap=$!
    wait -n "$main" "$nap"
    got=$?
    kill "$nap" 2>/dev/null
    [ -d "/proc/$main" ] || break
done
kill -KILL -- "-$main" 2>/dev/null
[ "$outcome" = exited ] && [ -n "$told" ] && outcome=stopped # scancel tells both at once
wait "$main" 2>/dev/null
status=$?
((status == 127)) && status=$got # older bashes have forgotten it by now
if ((tasks > 1)); then # that of the task that failed first
    set -- "$run"/status-*
    status=137 # who was killed wrote none
    if [ -e "$1" ]; then
        (($# == tasks)) && status=0
        while read -r _ code; do
            if ((code)); then
                status=$code
                break
            fi
        done < <(sort -n "$@")
    fi
fi
[ -e "$run/refused" ] && finish refused "$status"
finish "$outcome" "$status"
"""

# Of each task of a gang. It outlives what it starts, so that the first that failed is known; and looks at the fence
# itself, since the batch script may have died with another node.
RANK: Final = """#!/bin/bash
run=${0%/*}
trap : HUP INT QUIT USR1 USR2 ALRM TERM
read -r _ _ _ _ group _ <"/proc/$$/stat"
(while sleep 5; do [ -e "$run/fence" ] && kill -KILL -- "-$group"; done) </dev/null >/dev/null 2>&1 &
watch=$!
bash "$run/task.sh"
status=$?
kill "$watch"
echo "$(date +%s%6N) $status" >"$run/status-${SLURM_PROCID:-0}"
exit "$status"
"""

TASK: Final = """
export NODE_RANK=${SLURM_PROCID:-0} RANK=${SLURM_PROCID:-0} LOCAL_RANK=0 LOCAL_WORLD_SIZE=1
export MASTER_ADDR=127.0.0.1 LEITSTAND_NODE_RANK=$NODE_RANK LEITSTAND_NODE=$site.$SLURMD_NODENAME
[ "$WORLD_SIZE" -gt 1 ] && export MASTER_ADDR=$SLURM_LAUNCH_NODE_IPADDR
[ "$WORLD_SIZE" -gt 1 ] || export LEITSTAND_NODE_IPS=127.0.0.1
refuse() {
    echo "the run could not start: $2"
    echo "$1" >"$run/refused"
    exit 127
}
begin() {
    case $1 in
    */*) found=$1 ;;
    *) found=$(type -P -- "$1") || refuse command_not_found "command '$1' was not found in PATH" ;;
    esac
    [ -e "$found" ] || refuse command_not_found "command '$1' was not found in the working directory"
    [ -x "$found" ] && [ ! -d "$found" ] || refuse command_not_executable "'$1' is not executable"
    exec "$@"
}
"""


class Written(msgspec.Struct, frozen=True):
    """What the scripts need to know of a run beside its order. `run`: its folder; `owner`: the user that it executes
    as, None: ourselves; `checkpoint`: the folder for it that all runs of the job share."""

    run: Path
    site: str
    order: StartRun
    work: Work
    grace_us: int
    checkpoint: Path
    owner: tuple[int, int] | None = None


def batch(of: Written) -> str:
    """The batch script."""
    number, grace_us = _ending(of)
    return "\n".join(
        [
            "#!/bin/bash",
            f"# {of.order.run}: begins once, whoever submits it how often; what became of it stands in its folder",
            f"run={shlex.quote(str(of.run))}",
            f"tasks={len(of.order.tasks)} limit_us={of.order.max_duration_us} grace_us={grace_us} signal={number}",
            f"look_s={LOOK_S} first_port={PORTS[0]} ports={PORTS[1]}",
            BATCH,
        ]
    )


def grace_us(of: Written) -> int:
    """What the run has between its signal and KILL."""
    return _ending(of)[1]


def write(of: Written) -> None:
    """Make the run's folder with everything in it, private to the user that it executes as. OSError."""
    of.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    if of.owner is not None:
        of.run.parent.chmod(0o711)
    (of.run / WORK).mkdir(mode=0o700, exist_ok=True)
    files = {"task.sh": _task(of)}
    if len(of.order.tasks) > 1:
        files["rank.sh"] = RANK
    for name, text in (("setup.sh", of.work.spec.setup), ("script.sh", of.work.spec.script)):
        if text:
            files[name] = text
    if of.work.secrets:
        taken = _ours(of)
        lines = (f"export {k}={shlex.quote(v)}" for k, v in of.work.secrets.items() if k not in taken)
        files["secrets"] = "\n".join(lines) + "\n"
    for name, text in files.items():
        fd = os.open(of.run / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(text.encode(errors="surrogateescape"))
    if of.work.workdir is not None:
        _copy(of.work.workdir, of.run / "workdir.tar")
    if of.work.spec.checkpoint is not None:
        of.checkpoint.mkdir(mode=0o700, parents=True, exist_ok=True)
    if of.owner is not None:
        for path in (of.run, *of.run.iterdir(), *([of.checkpoint] if of.work.spec.checkpoint else [])):
            os.chown(path, *of.owner, follow_symlinks=False)


def _copy(source: Path, target: Path) -> None:
    part = target.with_suffix(".part")
    with source.open("rb") as read, part.open("wb") as write:
        while chunk := os.sendfile(write.fileno(), read.fileno(), None, 1 << 24):
            assert chunk > 0
    part.chmod(0o600)
    part.rename(target)


def _task(of: Written) -> str:
    """The script of one task: its environment, then its command."""
    spec = of.work.spec
    argv = ["bash", str(of.run / "script.sh")] if spec.script else list(spec.argv)
    envs = {**spec.envs, **_ours(of)}
    lines = ["#!/bin/bash", f"run={shlex.quote(str(of.run))} site={shlex.quote(of.site)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in envs.items()]
    lines.append(TASK)
    if spec.setup:
        lines.append(f"bash {shlex.quote(str(of.run / 'setup.sh'))} || exit")
    lines.append(f"begin {shlex.join(argv)}\n")
    return "\n".join(lines)


def _ours(of: Written) -> dict[str, str]:
    """The variables that neither job nor secret can set; those of a task stand in `TASK`."""
    order = of.order
    tasks = str(len(order.tasks))
    ours = {
        "WORLD_SIZE": tasks,
        "PYTHONUNBUFFERED": "1",
        "LEITSTAND_JOB_ID": order.job,
        "LEITSTAND_RUN_ID": order.run,
        "LEITSTAND_RUN_ATTEMPT": order.run.rpartition(".")[2],
        "LEITSTAND_TENANT": order.tenant,
        "LEITSTAND_PROJECT": order.project,
        "LEITSTAND_NUM_NODES": tasks,
        "LEITSTAND_GPUS_PER_NODE": str(len(order.tasks[0].gpus)),
        "LEITSTAND_GPUS_LOGICAL": "0",
        "LEITSTAND_SITE": of.site,
        "LEITSTAND_RUN_DIR": str(of.run),
    }
    if order.array:
        ours |= {
            "LEITSTAND_ARRAY_JOB": order.array,
            "LEITSTAND_ARRAY_INDEX": str(order.index),
            "LEITSTAND_ARRAY_COUNT": str(order.size),
        }
    if of.work.spec.checkpoint is not None:
        path = of.work.spec.checkpoint.path
        ours["LEITSTAND_CHECKPOINT_DIR"] = os.path.normpath(os.path.join(of.checkpoint, path))
    return ours


def _ending(of: Written) -> tuple[str, int]:
    """How the run is told that its time is over: which signal, and how long before KILL (µs)."""
    checkpoint = of.work.spec.checkpoint
    if checkpoint is None:
        return "TERM", of.grace_us
    wanted_us = min(checkpoint.grace_s * SECOND_US, GRACE_MAX_US)
    return checkpoint.signal.removeprefix("SIG"), wanted_us or of.grace_us
