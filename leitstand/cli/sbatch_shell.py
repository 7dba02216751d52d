# SPDX-License-Identifier: Apache-2.0
"""What a Slurm script finds in its shell where no Slurm is: `srun`, `scontrol show hostnames`, `module`.

Called by `leitstand.cli.sbatch`, which puts the functions that a script mentions before it, on the script's
`srun CMD` runs CMD for every task of this node and waits. The script itself runs on every node of the gang, so that
together they run it once per task, as Slurm does from the first node. A step that is smaller than the job is done on
one node; over several nodes it is refused, since the others would not know of it.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Final

# Options of srun that take a value as the next word, but for those that the function reads itself.
_VALUES: Final = (
    "-c|-t|-p|-A|-J|-w|-x|-m|-C|-D|-G|-d|-i|-o|-e|--cpus-per-task|--time|--partition|--account|--job-name|--nodelist"
    "|--exclude|--distribution|--constraint|--chdir|--gpus|--gres|--gpus-per-task|--gpus-per-node|--gpu-bind|--cpu-bind"
    "|--mem|--mem-per-cpu|--mem-per-gpu|--mem-bind|--mpi|--export|--output|--error|--input|--jobid|--threads-per-core"
    "|--hint|--ntasks-per-node|--container-image|--container-mounts|--container-workdir|--label-width|--signal"
)
# One line when joined: no comments, and every line ends where a blank may stand.
_SRUN: Final = f"""
srun() {{
local per=${{SLURM_NTASKS_PER_NODE:-1}} nodes=${{SLURM_NNODES:-1}} n= N= i code=0 status pids=();
while [ $# -gt 0 ]; do case $1 in
-n|--ntasks) n=${{2-}}; shift 2 || return 2 ;;
-n*) n=${{1#-n}}; shift ;;
--ntasks=*) n=${{1#*=}}; shift ;;
-N|--nodes) N=${{2-}}; shift 2 || return 2 ;;
-N*) N=${{1#-N}}; shift ;;
--nodes=*) N=${{1#*=}}; shift ;;
--multi-prog|--het-group*|--container*|--pty)
echo "leitstand: srun $1 is not supported here" >&2; return 2 ;;
--*=*) shift ;;
{_VALUES}) shift 2 || return 2 ;;
-*) shift ;;
*) break ;;
esac; done;
if [ $# -eq 0 ]; then echo "leitstand: srun has no command" >&2; return 2; fi;
if [ "$nodes" -eq 1 ]; then per=${{n:-$per}};
elif [ "${{n:-$((per * nodes))}}" != $((per * nodes)) ] || [ "${{N:-$nodes}}" != "$nodes" ]; then
echo "leitstand: over several nodes, srun runs all tasks of the job or none: the script runs on every node,"
"so leave srun out and test SLURM_NODEID" >&2; return 2;
fi;
if [ "$per" -eq 1 ]; then _srun_task 0 1 "$nodes" "$@"; return; fi;
for ((i = 0; i < per; i++)); do _srun_task "$i" "$per" "$nodes" "$@" & pids+=($!); done;
for i in "${{pids[@]}}"; do
status=0; wait "$i" || status=$?; if [ "$status" -gt "$code" ]; then code=$status; fi;
done;
return "$code";
}};
_srun_task() {{
local id=$1 per=$2 all=$(($2 * $3)) rank=$((${{SLURM_NODEID:-0}} * $2 + $1)); shift 3;
env SLURM_LOCALID="$id" SLURM_PROCID="$rank" SLURM_NTASKS="$all" SLURM_STEP_ID=0
LOCAL_RANK="$id" LOCAL_WORLD_SIZE="$per" RANK="$rank" WORLD_SIZE="$all" "$@";
}}
"""
_SCONTROL: Final = """
scontrol() {
if [ "${1-}" = show ] && [[ ${2-} == hostname* ]]; then printf '%s\\n' "$LEITSTAND_NODE_IPS"; return 0; fi;
echo "leitstand: scontrol ${1-} is not supported here" >&2; return 1;
}
"""
_MODULE: Final = """
if ! command -v module >/dev/null; then
module() { echo "leitstand: there are no modules here; passed over: module $*" >&2; };
ml() { module "$@"; };
fi
"""
_FUNCTIONS: Final = ((r"\bsrun\b", _SRUN), (r"\bscontrol\b", _SCONTROL), (r"\b(?:module|ml)\b", _MODULE))


def prelude(script: str, letters: str, arguments: Sequence[str]) -> str:
    """One line of bash for before `script`: `set` with the `letters` of its first line, its arguments, and the
    functions that it mentions; '' if it needs none."""
    parts = [f"set -{letters}"] if letters else []
    if arguments:
        parts.append(shlex.join(["set", "--", *arguments]))
    parts += [" ".join(body.split("\n")).strip() for word, body in _FUNCTIONS if re.search(word, script)]
    return "; ".join(parts)
