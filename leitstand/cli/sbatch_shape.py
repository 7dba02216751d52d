# SPDX-License-Identifier: Apache-2.0
"""From Slurm's counts (nodes, tasks, CPUs, memory, GPUs in their many units) to one shape per node.

Called by `leitstand.cli.sbatch`. A gang has equal nodes: counts that do not divide evenly are refused.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from leitstand.cli import sbatch_values as values
from leitstand.cli.jobfile_faults import quoted
from leitstand.cli.sbatch_options import Given, T, Teller
from leitstand.cli.sbatch_values import Gpus
from leitstand.cli.text import t


class Shape(NamedTuple):
    """`body`: num_nodes and resources of a submission; `envs`: what Slurm says of tasks."""

    body: dict[str, Any]
    envs: dict[str, str]


def of(given: Mapping[str, Given], teller: Teller) -> Shape:
    """The shape that the options describe; `teller` takes faults and notices."""
    return _Counts(given, teller).shape()


class _Counts:
    """The options with numbers, read one by one; what cannot be read is a fault and counts as not given."""

    def __init__(self, given: Mapping[str, Given], teller: Teller) -> None:
        self.given = given
        self.teller = teller
        self.kind = ""  # of GPU, '' any

    def number(self, name: str, reading: Callable[[str], T]) -> T | None:
        return self.teller.guarded(self.given[name], reading) if name in self.given else None

    def shape(self) -> Shape:
        nodes, tasks, per_node = self.tasks()
        cpus_per_task = self.number("cpus-per-task", values.count)
        gpus = self.gpus(nodes, per_node)
        resources: dict[str, Any] = {"gpus": gpus} if gpus else {}
        if gpus and self.kind:
            resources = {"accelerators": [self.accelerator(gpus)]}
        cpus_per_gpu = self.number("cpus-per-gpu", values.count)
        if cpus_per_gpu and gpus and cpus_per_task is None:
            resources["cpus"] = cpus_per_gpu * gpus
        elif cpus_per_task or tasks:
            resources["cpus"] = (cpus_per_task or 1) * per_node
        memory = self.memory(resources.get("cpus", 1), gpus)
        if memory:
            resources["memory_gb"] = int(memory) if memory.is_integer() else memory
        envs = {"SLURM_NTASKS": str(tasks or nodes), "SLURM_NTASKS_PER_NODE": str(per_node)}
        if cpus_per_task or tasks:
            envs["SLURM_CPUS_PER_TASK"] = str(cpus_per_task or 1)
        body: dict[str, Any] = {"num_nodes": nodes} if nodes > 1 else {}
        return Shape({**body, **({"resources": resources} if resources else {})}, envs)

    def tasks(self) -> tuple[int, int, int]:
        """(nodes, tasks of the job or 0 if nothing was said of tasks, tasks per node)."""
        per_node, tasks = self.number("ntasks-per-node", values.count), self.number("ntasks", values.count)
        given = self.number("nodes", values.nodes)
        nodes = given[0] if given else 0
        if given and given[1] > given[0]:
            what = t("the job gets {count} nodes, the fewest that it takes", count=nodes)
            self.teller.notice(self.given["nodes"], what)
        if tasks is None:
            nodes = nodes or 1
            return nodes, nodes * per_node if per_node else 0, per_node or 1
        if not nodes:
            nodes = -(-tasks // per_node) if per_node else 1
            if tasks > 1 and not per_node:
                what = t("all {count} tasks are put on one node; say --nodes for more", count=tasks)
                self.teller.notice(self.given["ntasks"], what)
        if nodes > tasks:
            what = t("{tasks} tasks do not fill {nodes} nodes", tasks=tasks, nodes=nodes)
            self.teller.fault(self.given["ntasks"], what)
        if tasks % nodes:
            what = t(
                "{tasks} tasks are not the same number on each of {nodes} nodes", tasks=tasks, nodes=nodes
            )
            self.teller.fault(self.given["ntasks"], what)
        return nodes, tasks, -(-tasks // nodes)

    def gpus(self, nodes: int, per_node: int) -> int:
        """GPUs per node; what several options say must agree."""
        found: dict[str, Gpus] = {}
        for name in ("gpus-per-node", "gpus-per-task", "gpus"):
            asked = self.number(name, values.gpus)
            if asked is not None:
                found[name] = asked
        gres = self.number("gres", values.gres)
        if gres:
            if gres[0] is not None:
                found["gres"] = gres[0]
            if gres[1]:
                names = ", ".join(quoted(name) for name in gres[1][:4])
                self.teller.notice(self.given["gres"], t("only GPUs are counted, not {names}", names=names))
        counts: dict[str, int] = {}
        for name, asked in found.items():
            per = {"gpus-per-task": per_node}.get(name, 1)
            counts[name] = asked.number * per
            if name == "gpus":
                counts[name] = -(-asked.number // nodes)
                if asked.number % nodes:
                    what = t("{gpus} GPUs are not the same number on each of {nodes} nodes")
                    self.teller.fault(self.given[name], what.format(gpus=asked.number, nodes=nodes))
        if len(set(counts.values())) > 1:
            said = ", ".join(f"--{name}: {count}" for name, count in counts.items())
            what = t("the options disagree about the GPUs per node ({said}); leave one", said=said)
            self.teller.fault(self.given[list(counts)[-1]], what)
        self.kind = next((asked.kind for asked in found.values() if asked.kind), "")
        return max(counts.values(), default=0)

    def accelerator(self, gpus: int) -> str:
        """So many GPUs of the type; a MIG profile, `3g.40gb` or with its GPU `h100_3g.40gb`, is an instance."""
        profile = values.PROFILE.fullmatch(self.kind)
        if profile is None:
            return f"{self.kind}:{gpus}"
        if gpus != 1:
            what = t("a task has one MIG instance, not {count}; say --nodes for more tasks", count=gpus)
            names = [
                name for name in ("gres", "gpus-per-node", "gpus-per-task", "gpus") if name in self.given
            ]
            self.teller.fault(self.given[names[0]], what)
        return profile[1]

    def memory(self, cpus: int, gpus: int) -> float:
        """GB per node; 0: not counted."""
        units = {"mem": 1, "mem-per-cpu": cpus, "mem-per-gpu": gpus}
        said = [name for name in units if name in self.given]
        if len(said) > 1:
            what = t(
                "{options} exclude each other; leave one", options=" and ".join(f"--{name}" for name in said)
            )
            self.teller.fault(self.given[said[-1]], what)
        found = 0.0
        for name in said:
            asked = self.number(name, values.memory_gb)
            if asked is None:
                continue
            if asked == 0:
                what = t("memory is then not counted; the job shares what the node has")
                self.teller.notice(self.given[name], what)
            if name == "mem-per-gpu" and not gpus:
                self.teller.fault(self.given[name], t("the job asks for no GPU"))
            found = asked * units[name]
        return found
