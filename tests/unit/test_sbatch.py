# SPDX-License-Identifier: Apache-2.0
"""Batch scripts of Slurm: what they become, what is passed over and told, and what is refused with its line."""

import os
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from leitstand.cli import sbatch
from leitstand.cli.jobfile_faults import BadJobFile, JobFile
from leitstand.cli.jobfile_keys import IGNORED, LATER
from leitstand.cli.sbatch_options import OPTIONS
from leitstand.cli.sbatch_values import moment, time_s

BASH = shutil.which("bash") or ""


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


def parse(*lines: str, body: str = "hostname", arguments: tuple[str, ...] = ()) -> JobFile:
    """The job of a script with these `#SBATCH` lines, from line 2 on."""
    text = "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), body, ""])
    return sbatch.parse(text, Path("job.sbatch"), arguments)


def faults(*lines: str, body: str = "hostname") -> list[tuple[int, str]]:
    with pytest.raises(BadJobFile) as caught:
        parse(*lines, body=body)
    return [(fault.line, fault.what) for fault in caught.value.faults]


def shape(*lines: str) -> dict[str, Any]:
    found = parse(*lines).body
    return {"num_nodes": found.get("num_nodes", 1), **found.get("resources", {})}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-N 2", {"num_nodes": 2}),
        ("-N2", {"num_nodes": 2}),
        ("--nodes=2", {"num_nodes": 2}),
        ("--nodes 2", {"num_nodes": 2}),
        ("-N 2 --ntasks-per-node=4 -c 8", {"num_nodes": 2, "cpus": 32}),
        ("-N 2 -n 8 # eight", {"num_nodes": 2, "cpus": 4}),
        ("-n 8 --ntasks-per-node=4", {"num_nodes": 2, "cpus": 4}),
        ("-n 16", {"num_nodes": 1, "cpus": 16}),
        ("--cpus-per-task=6", {"num_nodes": 1, "cpus": 6}),
        ("-c 4 --mem-per-cpu=2G", {"num_nodes": 1, "cpus": 4, "memory_gb": 8}),
        ("--mem=4000", {"num_nodes": 1, "memory_gb": 3.90625}),
        ("--mem=64G", {"num_nodes": 1, "memory_gb": 64}),
        ("--mem=0", {"num_nodes": 1}),
        ("--gres=gpu:2", {"num_nodes": 1, "gpus": 2}),
        ("--gres=gpu", {"num_nodes": 1, "gpus": 1}),
        ("--gres=gpu:a100:4,nvme:1", {"num_nodes": 1, "accelerators": ["a100:4"]}),
        ("--gres=none", {"num_nodes": 1}),
        ("--gres=gpu:3g.40gb:1", {"num_nodes": 1, "accelerators": ["3g.40gb"]}),
        ("--gres=gpu:h100_1g.10gb+me", {"num_nodes": 1, "accelerators": ["1g.10gb+me"]}),
        ("--gpus=2g.20gb:1", {"num_nodes": 1, "accelerators": ["2g.20gb"]}),
        ("--gpus=8 -N 2", {"num_nodes": 2, "gpus": 4}),
        ("-G h100:2", {"num_nodes": 1, "accelerators": ["h100:2"]}),
        ("--gpus-per-node=a100:8 -N 2", {"num_nodes": 2, "accelerators": ["a100:8"]}),
        ("-N 2 --ntasks-per-node=4 --gpus-per-task=1", {"num_nodes": 2, "gpus": 4, "cpus": 4}),
        ("--gres=gpu:2 --gpus-per-node=2", {"num_nodes": 1, "gpus": 2}),
        (
            "--gpus=2 --cpus-per-gpu=6 --mem-per-gpu=32G",
            {"num_nodes": 1, "gpus": 2, "cpus": 12, "memory_gb": 64},
        ),
        ("-N 1-4", {"num_nodes": 1}),
        ("-N 1 -N 3", {"num_nodes": 3}),
    ],
)
def test_the_counts_of_slurm_become_one_shape_per_node(line: str, expected: dict[str, Any]) -> None:
    assert shape(line) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("30:15", 1815), ("2:30:00", 9000), ("1-0", 86_400), ("1-12", 129_600), ("1-12:30", 131_400),
     ("1-12:30:15", 131_415), ("0", 0), ("UNLIMITED", 0), ("48:00:00", 172_800)],
)  # fmt: skip
def test_every_form_of_a_time_is_read(text: str, seconds: int) -> None:
    assert time_s(text) == seconds
    assert parse(f"-t {text}").body.get("max_duration", 0) == seconds


def test_name_retry_signal_and_exports_become_the_body_of_a_submission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINE", "from here")
    monkeypatch.delenv("GONE", raising=False)
    job = parse("-J train --requeue", "--signal=B:USR1@120", "--export=ALL,LEVEL=3,MINE,GONE")
    assert job.body == {
        "name": "train",
        "run": "#!/bin/bash\n#SBATCH -J train --requeue\n#SBATCH --signal=B:USR1@120\n"
        "#SBATCH --export=ALL,LEVEL=3,MINE,GONE\nhostname\n",
        "retry": {"max": 5, "on": ["lost", "start_failed"]},
        "checkpoint": {"path": "checkpoints", "signal": "SIGUSR1", "grace": 120},
        "envs": {
            "LEITSTAND_COMPAT": "slurm",
            "SLURM_NTASKS": "1",
            "SLURM_NTASKS_PER_NODE": "1",
            "LEVEL": "3",
            "MINE": "from here",
        },
    }
    said = [what for _, what in job.notices]
    assert [line for line, _ in job.notices] == [3, 4, 4]
    assert any("GONE is not set here" in what for what in said)
    assert any("your environment is not passed on" in what for what in said)


def test_what_a_script_waits_for_and_an_array_become_the_body_of_a_submission() -> None:
    job = parse(
        "--array=1-9:2%4 -H",
        "-d afterok:17:acme-18,afternotok:3",
        "-b now+2hours --deadline=2099-01-01T00:00:00",
    )
    assert job.body["array"] == 5
    assert job.body["held"] is True
    assert job.body["after"] == ["17:ok", "acme-18:ok", "3:failed"]
    assert job.body["begin"] == "7200s"
    assert job.body["deadline"].startswith("2099-01-01T00:00:00")
    envs = job.body["envs"]
    assert (envs["SLURM_ARRAY_TASK_MIN"], envs["SLURM_ARRAY_TASK_STEP"]) == ("1", "2")
    assert job.notices == ((2, "as many run at once as there is room for, not 4 at most"),)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("now", "2026-03-01T12:30:15+01:00"), ("now+1", "1s"), ("now+3days", "259200s"),
        ("13:00", "2026-03-01T13:00:00+01:00"), ("12:00", "2026-03-02T12:00:00+01:00"),
        ("noon", "2026-03-02T12:00:00+01:00"), ("midnight", "2026-03-02T00:00:00+01:00"),
        ("tomorrow", "2026-03-02T12:30:15+01:00"), ("2026-04-01", "2026-04-01T00:00:00+01:00"),
        ("2026-04-01T08:00:00", "2026-04-01T08:00:00+01:00"),
    ],
)  # fmt: skip
def test_times_are_read_as_slurm_reads_them(text: str, when: str) -> None:
    now = datetime(2026, 3, 1, 12, 30, 15, tzinfo=timezone(timedelta(hours=1)))
    assert moment(text, now) == when


def test_a_script_without_options_is_a_plain_script_named_after_its_file() -> None:
    assert sbatch.parse("echo hello\n", Path("hello.sh")).body == {"name": "hello.sh", "run": "echo hello\n"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--array=1,3", '"1,3" is not a range of numbers'),
        ("-a 4-2", '"4-2" holds no number'),
        ("-a 1-20000", "20000 jobs in one array; the limit is 10000"),
        ("--dependency=after:12", '"after:12" is not a dependency to use'),
        ("-d afterok:1?afterany:2", "is not a dependency to use"),
        ("hetjob", "several parts"),
        ("--begin=teatime", '"teatime" is not a time'),
        ("--deadline=25:00", '"25:00" is not a time'),
        ("--nodse=2", 'unknown option "--nodse"; did you mean "--nodes"?'),
        ("--quux=2", 'unknown option "--quux"; docs/jobfile.md'),
        ("--mem-per", "may mean --mem-per-cpu, --mem-per-gpu"),
        ("-Y 3", 'unknown option "-Y"'),
        ("-N", '"-N" has no value'),
        ("--nodes", '"--nodes" has no value'),
        ("--requeue=3", '"--requeue" takes no value'),
        ("-N two", '"two" is not a count from 1 on'),
        ("-N 4-2", "not a number of nodes"),
        ("-N=2", '"=2" is not a count'),
        ("-n 3 -N 2", "3 tasks are not the same number on each of 2 nodes"),
        ("-n 1 -N 2", "1 tasks do not fill 2 nodes"),
        ("--gpus=3 -N 2", "3 GPUs are not the same number"),
        ("--gres=gpu:2 --gpus-per-node=4", "disagree about the GPUs per node (--gpus-per-node: 4, --gres: 2)"),
        ("--gres=shard:2", "a share of a GPU"),
        ("--gres=gpu:3g.40gb:2", "a task has one MIG instance, not 2"),
        ("--gres=gpu:a100:1,gpu:h100:1", "several kinds"),
        ("--gres=gpu:x:y", "not a resource"),
        ("--mem=4G --mem-per-cpu=1G", "--mem and --mem-per-cpu exclude each other"),
        ("--mem=lots", "not an amount of memory"),
        ("--mem-per-gpu=4G", "asks for no GPU"),
        ("-t soon", '"soon" is not a time'),
        ("-t 9999-0", "longer than 3650 days"),
        ("--signal=KILL", "not a signal to use"),
        ("--signal=TERM@99999", "99999 s before the end are too long; the limit is 3600"),
        ("--signal=TERM@x", "not a signal"),
        ("-D nowhere", "no folder nowhere"),
        ("-i data.txt", "no standard input"),
        ("--export=1A=3", "not the name of a variable"),
        ("--job-name='open", "quotation mark"),
        ("train.py", '"train.py" is not an option'),
        ("--licenses=matlab", "licences are not counted"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_with_line_option_and_remedy(line: str, said: str) -> None:
    found = faults("-J x", line)
    assert {number for number, _ in found} == {3}
    assert said in " ".join(what for _, what in found)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_option_is_done_told_or_refused(name: str) -> None:
    option = OPTIONS[name]
    line = f"--{name}" if option.takes != "=" else f"--{name}=1"
    if option.refused:
        ((number, what),) = faults(line)
        assert (number, f'"--{name}" is not supported: {option.refused}') == (2, what)
    elif option.ignored:
        ((number, what),) = parse(line).notices
        assert (number, f'"--{name}" is passed over: {option.ignored}') == (2, what)
    assert not (option.refused and option.ignored)


def test_options_end_at_the_first_command() -> None:
    job = parse("-N 2", "", body="#a comment\n\n##SBATCH -N 4\n# SBATCH -N 5\necho x\n#SBATCH -N 3")
    assert job.body["num_nodes"] == 2
    assert (9, "this line stands after the first command, where Slurm does not read it either") in job.notices


def test_all_faults_are_told_at_once() -> None:
    assert [line for line, _ in faults("--array=1,3", "--nodse=2", "-t soon", "--mem=x")] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("#SBATCH -N 2\nhostname\n", 1, "begins with a line like"),
        ("#!/usr/bin/python3\n#SBATCH -N 2\n", 1, "not for python3"),
        ("#!/usr/bin/env -S zsh -f\n", 1, "not for zsh"),
        ("#!/bin/bash\r\n#SBATCH -N 2\r\n", 1, "dos2unix"),
        ("#!/bin/bash\necho\0\n", 2, "NUL"),
        ("\n \n", 0, "is empty"),
        ("#!\n", 1, "only scripts for bash"),
        ("#!/bin/bash\n#SBATCH -N 2\n# mpirun\nmpirun -np 8 ./a.out\n", 4, "mpirun over several nodes"),
    ],
)
def test_what_is_no_script_for_bash_is_refused(text: str, line: int, said: str) -> None:
    with pytest.raises(BadJobFile) as caught:
        sbatch.parse(text, Path("job.sbatch"))
    assert any(fault.line == line and said in fault.what for fault in caught.value.faults)


def test_a_folder_to_start_in_is_sent_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse("-D src").workdir == Path("src")


def test_the_documentation_names_every_option_and_every_key_with_its_reason() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "jobfile.md").read_text()
    said = {f"`--{name}`": option.ignored or option.refused for name, option in OPTIONS.items()}
    said |= {f"`{name}`": why for name, why in (*LATER.items(), *IGNORED.items())}
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    missing = [word for word, why in said.items() if not any(word in row and why in row for row in rows)]
    assert missing == []


# ── in the shell ──────────────────────────────────────────────────────────────────────────────────────────────────
def shell(job: JobFile, rank: int = 0) -> subprocess.CompletedProcess[str]:
    """What bash makes of the script as the engine runs it, on the node `rank`."""
    nodes = job.body.get("num_nodes", 1)
    env = {"PATH": os.environ["PATH"], "SLURM_NNODES": str(nodes), "SLURM_NODEID": str(rank)}
    env["LEITSTAND_NODE_IPS"] = "\n".join(f"10.0.0.{i + 1}" for i in range(nodes))
    script = job.body["run"].encode()
    return subprocess.run(
        [BASH, "-c", script],
        env={**env, **job.body.get("envs", {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


needs_bash = pytest.mark.skipif(not BASH, reason="bash is not here")
SHOW = "echo $SLURM_PROCID/$SLURM_NTASKS $SLURM_LOCALID $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE"


@needs_bash
def test_srun_runs_a_command_once_for_every_task_over_all_nodes() -> None:
    job = parse("-N 2 --ntasks-per-node=2", body=f"srun --mpi=pmix -c 4 --label bash -c '{SHOW}'")
    lines = [line for rank in (0, 1) for line in sorted(shell(job, rank).stdout.splitlines())]
    assert lines == ["0/4 0 0/4 0/2", "1/4 1 1/4 1/2", "2/4 0 2/4 0/2", "3/4 1 3/4 1/2"]


@needs_bash
def test_srun_of_one_task_reads_standard_input_and_passes_the_exit_code_on() -> None:
    done = shell(parse("-n 1", body="srun cat <<END\nhello\nEND\nsrun bash -c 'exit 7'"))
    assert (done.stdout, done.returncode) == ("hello\n", 7)


@needs_bash
def test_srun_of_several_tasks_has_the_highest_exit_code() -> None:
    assert shell(parse("-n 3", body="srun bash -c 'exit $SLURM_PROCID'")).returncode == 2


@needs_bash
def test_a_smaller_step_runs_on_one_node_and_is_refused_on_several() -> None:
    assert shell(parse("-n 4", body="srun -n 2 echo x; srun -N1 -n1 echo y")).stdout == "x\nx\ny\n"
    done = shell(parse("-N 2", body="srun -N1 -n1 -w node1 hostname"))
    assert done.returncode == 2
    assert "all tasks of the job or none" in done.stderr


@needs_bash
@pytest.mark.parametrize("words", ["", "--multi-prog x", "--het-group=0 x", "--pty bash", "-n"])
def test_what_srun_cannot_do_here_ends_with_2(words: str) -> None:
    done = shell(parse("-n 2", body=f"srun {words}"))
    assert done.returncode == 2
    assert "Error" not in done.stderr


@needs_bash
def test_modules_are_passed_over_and_hostnames_are_told() -> None:
    body = "set -eu\nmodule load cuda/12\nml gcc\nscontrol show hostnames $SLURM_NNODES | head -n1\nscontrol requeue 1"
    done = shell(parse("-N 2", body=body))
    assert done.stdout == "10.0.0.1\n"
    assert "passed over: module load cuda/12" in done.stderr
    assert "passed over: module gcc" in done.stderr
    assert "scontrol requeue is not supported" in done.stderr
    assert done.returncode == 1


@needs_bash
def test_lines_keep_their_numbers_and_arguments_and_shell_options_arrive() -> None:
    text = '#!/bin/bash -eu\n#SBATCH -n 1\nsrun echo $1 "$2"\necho line $LINENO\nfalse\necho never\n'
    done = shell(sbatch.parse(text, Path("job.sbatch"), ("one", "two words")))
    assert done.stdout == "one two words\nline 4\n"
    assert done.returncode == 1


@needs_bash
def test_a_script_without_a_first_line_of_its_own_loses_nothing() -> None:
    assert shell(sbatch.parse("echo $1; srun echo x\n", Path("a.sh"), ("a",))).stdout == "a\nx\n"


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────
SECRET = "hf_PlantedPlantedPlantedPlantedPlantedPl"


@pytest.mark.parametrize("name", [*sorted(OPTIONS), SECRET])
@pytest.mark.parametrize(
    "form",
    [
        "--{name}={secret}",
        "--{name} {secret}",
        "--{name}={secret},{secret}=x",
        "--{name} '{secret}",
        "{secret} --{name}",
        "--{name}=gpu:{secret}:{secret}",
    ],
)
def test_a_secret_in_the_wrong_place_is_in_no_fault_and_no_notice(name: str, form: str) -> None:
    try:
        job = parse(form.format(name=name, secret=SECRET))
    except BadJobFile as bad:
        said = bad.format_message()
    else:
        said = " ".join(what for _, what in job.notices)
    assert SECRET not in said
