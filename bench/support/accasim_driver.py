# SPDX-License-Identifier: Apache-2.0
"""Runs AccaSim 1.1.3 on one workload and writes what came of it as JSON. Called by bench/simulators.py with the
interpreter of an environment that has AccaSim; imports nothing of this project.

`python accasim_driver.py TRACE.swf RULES NODES GPUS_PER_NODE OUT.json`. CPU seconds count from opening the trace to the
end, imports excluded, as those of a replay do. Its files are switched off.
"""

import collections
import collections.abc
import json
import sys
import tempfile
import time
from pathlib import Path

for name in (
    "Mapping",
    "MutableMapping",
    "Iterable",
    "Sequence",
    "Callable",
):  # where they were before Python 3.10
    setattr(collections, name, getattr(collections.abc, name))

from accasim.base.allocator_class import FirstFit  # noqa: E402
from accasim.base.event_class import EventManager  # noqa: E402
from accasim.base.scheduler_class import FirstInFirstOut, ShortestJobFirst  # noqa: E402
from accasim.base.simulator_class import Simulator  # noqa: E402

RULES = {"fifo-strict": FirstInFirstOut, "sjf": ShortestJobFirst}


def main(trace: str, rules: str, nodes: str, gpus: str, out: str) -> None:
    starts: dict[str, int] = {}
    finish = EventManager.finish_event

    def noted(manager: EventManager, job: object) -> None:
        starts[job.id] = job.start_time  # type: ignore[attr-defined]
        finish(manager, job)

    EventManager.finish_event = noted
    with tempfile.TemporaryDirectory() as folder:
        system = Path(folder) / "system.json"
        cores = {"groups": {"g": {"core": int(gpus)}}, "resources": {"g": int(nodes)}}
        system.write_text(json.dumps({**cores, "equivalence": {"processor": {"core": 1}}, "start_time": 0}))
        begun_s = time.process_time()
        simulator = Simulator(
            trace, str(system), RULES[rules](FirstFit()), scheduling_output=False, statistics_output=False,
            show_statistics=False, RESULTS_FOLDER_PATH=folder, LOG_LEVEL="ERROR",
        )  # fmt: skip
        simulator.start_simulation()
        cpu_s = time.process_time() - begun_s
    waits = simulator.mapper.wtimes
    answer = {"jobs": len(waits), "mean_wait_s": sum(waits) / len(waits), "cpu_s": cpu_s, "starts": starts}
    Path(out).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
