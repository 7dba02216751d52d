# SPDX-License-Identifier: Apache-2.0
"""The job file: what it becomes, and that every fault is told with its line, all at once."""

import os
from pathlib import Path
from textwrap import dedent

import pytest

from leitstand.api.jobs import jobrequest
from leitstand.cli import jobfile, jobfile_faults, jobfile_keys
from leitstand.cli.jobfile_faults import BadJobFile, JobFile
from leitstand.core import facts


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


def parse(text: str, folder: Path = Path()) -> JobFile:
    return jobfile.parse(dedent(text), folder / "job.yaml")


def faults(text: str, folder: Path = Path()) -> list[tuple[int, str]]:
    with pytest.raises(BadJobFile) as caught:
        parse(text, folder)
    return [(fault.line, fault.what) for fault in caught.value.faults]


def test_every_key_of_the_first_form_becomes_the_body_of_a_submission(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    job = parse(
        """\
        name: train
        tenant: acme
        project: vision
        resources:
          accelerators: GPU:2
          cpus: 4+
          memory: 64GB
        num_nodes: 2
        envs: {EPOCHS: 3}
        workdir: src
        setup: pip list
        run: |
          echo one
          echo two
        max_duration: 1h30m
        expected_duration: 600
        priority: 5
        """,
        tmp_path,
    )
    assert job.body == {
        "name": "train",
        "tenant": "acme",
        "project": "vision",
        "resources": {"gpus": 2, "cpus": 4, "memory_gb": 64},
        "num_nodes": 2,
        "envs": {"EPOCHS": "3"},
        "setup": "pip list",
        "run": "echo one\necho two\n",
        "max_duration": 5400,
        "expected_duration": 600,
        "priority": 5,
    }
    assert job.workdir == tmp_path / "src"


def test_what_is_not_said_is_left_to_the_control_plane() -> None:
    assert parse("run: hostname\n").body == {"run": "hostname"}


def test_run_may_be_a_list_of_words() -> None:
    assert parse("run: [python, train.py, 3]\n").body["run"] == ["python", "train.py", "3"]


def test_an_environment_variable_is_exactly_the_text_in_the_file() -> None:
    envs = parse("run: x\nenvs: {A: 0123, B: true, C: 1e3, D: '', E: 12:30, F: ~user}\n").body["envs"]
    assert envs == {"A": "0123", "B": "true", "C": "1e3", "D": "", "E": "12:30", "F": "~user"}


@pytest.mark.parametrize(
    ("text", "gpus"), [("3", 3), ("0", 0), ("GPU:4", 4), ("gpu:1", 1), ("GPU", 1), ('"2"', 2)]
)
def test_accelerators_are_a_count_whatever_their_form(text: str, gpus: int) -> None:
    assert parse(f"run: x\nresources: {{accelerators: {text}}}\n").body["resources"] == {"gpus": gpus}


@pytest.mark.parametrize(
    ("text", "accelerators"),
    [
        ("H100:8", ["H100:8"]),
        ("H100", ["H100:1"]),
        ("A100-80GB:2", ["A100-80GB:2"]),
        ("{H100: 8}", ["H100:8"]),
        ("[H100:8, A100:8, H100:8]", ["H100:8", "A100:8"]),
        ("[H100:8, GPU:8]", ["H100:8", "8"]),
        ("{L4: 1, T4: 1}", ["L4:1", "T4:1"]),
    ],
)
def test_gpu_types_are_asked_for_in_the_order_of_preference(text: str, accelerators: list[str]) -> None:
    job = parse(f"run: x\nresources:\n  accelerators: {text}\n")
    assert job.body["resources"] == {"accelerators": accelerators}
    assert job.notices == ()


@pytest.mark.parametrize(
    ("text", "accelerators"),
    [
        ("H100:3g.40gb", ["H100:3g.40gb"]),
        ("3g.40gb:1", ["3g.40gb"]),
        ("[H100:1g.10gb+me, A30:1g.6gb]", ["H100:1g.10gb+me", "A30:1g.6gb"]),
    ],
)
def test_a_mig_instance_is_asked_for_by_its_profile(text: str, accelerators: list[str]) -> None:
    assert parse(f"run: x\nresources:\n  accelerators: {text}\n").body["resources"] == {
        "accelerators": accelerators
    }


def test_a_job_may_say_that_it_may_go_to_a_partner() -> None:
    assert parse("run: x\nresources: {partners: true}").body["resources"] == {"partners": True}


def test_sites_and_jurisdiction_are_asked_for() -> None:
    job = parse("run: x\nresources: {sites: [aachen, dresden], jurisdiction: DE}\ndata_sites: graz\n")
    assert job.body["resources"] == {"sites": ["aachen", "dresden"], "jurisdiction": "DE"}
    assert job.body["data_sites"] == ["graz"]
    ((line, what),) = faults("run: x\nresources: {sites: [[1]]}\n")
    assert line == 2
    assert "text" in what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("H100:0.5", "a type and a count"),
        ("[H100:8, A100:4]", "different counts"),
        ("{H100: many}", "a whole number"),
        ("[]", "different counts"),
        ("tpu-v5e-8", "no TPUs"),
        ("H100:80GB:8", "a type and a count"),
        ("[[1]]", "not a list"),
        ("{}", "different counts"),
        ("H100:3g.40gb:2", "a task has one MIG instance; say num_nodes: 2"),
        ("[H100:3g.40gb, H100:1]", "a MIG instance like H100:3g.40gb, in every alternative"),
    ],
)
def test_what_is_no_number_of_gpus_is_refused(text: str, said: str) -> None:
    ((line, what),) = faults(f"run: x\nresources:\n  accelerators: {text}\n")
    assert line == 3
    assert said in what


@pytest.mark.parametrize(
    ("text", "gb"),
    [("64", 64), ("256+", 256), ("64GB", 64), ("32Gi", 32), ("512MB", 0.5), ("1.5TB", 1536), ("8G", 8)],
)
def test_memory_has_the_units_of_the_field(text: str, gb: float) -> None:
    assert parse(f"run: x\nresources: {{memory: {text}}}\n").body["resources"] == {"memory_gb": gb}


def test_secrets_checkpoint_and_retry_become_the_body_of_a_submission() -> None:
    job = parse(
        """\
        run: x
        secrets: {HF_TOKEN: null, WANDB_API_KEY: , KEY: s3-key@4, OTHER: other_key}
        checkpoint: {path: ckpt, every: 30m, signal: usr1, grace: 2m}
        retry: {max: 3, on: [lost, exit_code]}
        """
    )
    assert job.body == {
        "run": "x",
        "secrets": {"HF_TOKEN": None, "WANDB_API_KEY": None, "KEY": "s3-key@4", "OTHER": "other_key"},
        "checkpoint": {"path": "ckpt", "every": 1800, "signal": "SIGUSR1", "grace": 120},
        "retry": {"max": 3, "on": ["lost", "exit_code"]},
    }
    assert job.notices == ()
    assert parse("run: x\nretry: 2\n").body["retry"] == {"max": 2}


@pytest.mark.parametrize(
    "value",
    ["hf_abc", "sk-12345", "two words", "[x]", "name@0", "x" * 41, "12", "ghp_x", "a/b"],
)
def test_a_secret_in_the_file_is_refused_with_the_way_to_give_it(value: str) -> None:
    ((line, what),) = faults(f"run: x\nsecrets:\n  TOKEN: {value}\n")
    assert line == 3
    assert "--secret TOKEN" in what
    assert value not in what


def test_numbers_over_their_limits_are_faults_of_the_file_beside_all_others() -> None:
    assert (jobfile.PRIORITY_MAX, jobfile.RETRIES_MAX) == (jobrequest.PRIORITY_MAX, facts.RETRIES_MAX)
    with pytest.raises(BadJobFile) as caught:
        parse("run: x\npriority: 101\nretry:\n  max: 1000\nnum_nodes: many\n")
    assert [fault.line for fault in caught.value.faults] == [2, 4, 5]
    assert caught.value.faults[0].what == '"priority" is 101; it goes from 0 to 100'
    for wrong in ("retry: -1", "retry: 101", "priority: -1"):
        with pytest.raises(BadJobFile):
            parse(f"run: x\n{wrong}\n")
    assert parse("run: x\npriority: 100\nretry: 100\n").body["retry"] == {"max": 100}


def test_faults_inside_checkpoint_and_retry_have_their_lines() -> None:
    found = faults(
        """\
        run: x
        checkpoint:
          every: soon
          sginal: TERM
          signal: KILL
        retry:
          on: [failure]
        """
    )
    assert [line for line, _ in found] == [3, 3, 4, 5, 7, 7]
    said = " ".join(what for _, what in found)
    for part in (
        "path is missing",
        "not a duration",
        'mean "signal"',
        "not a signal to use",
        "max is missing",
    ):
        assert part in said


def test_a_variable_without_a_value_is_taken_from_the_command_line() -> None:
    text = "run: x\nenvs: {A: 1, B: null}\n"
    ((line, what),) = faults(text)
    assert (line, "--env B" in what) == (2, True)
    job = jobfile.parse(text, Path("job.yaml"), frozenset({"B"}))
    assert job.body["envs"] == {"A": "1"}


def test_keys_that_change_nothing_are_passed_over_with_a_notice() -> None:
    job = parse(
        """\
        run: x
        resources:
          use_spot: true
          disk_size: 512
          autostop: false
          job_recovery:
            strategy: FAILOVER
            max_restarts_on_errors: 2
        """
    )
    assert [(line, what.partition('"')[2].partition('"')[0]) for line, what in job.notices] == [
        (3, "use_spot"),
        (4, "disk_size"),
        (7, "job_recovery"),
    ]
    assert job.body == {
        "run": "x",
        "resources": {},
        "retry": {"max": 2},
        "envs": {"LEITSTAND_COMPAT": "skypilot"},
    }


@pytest.mark.parametrize(
    "text",
    [
        "run: echo $SKYPILOT_NODE_RANK\n",
        'run: x\nsetup: test "$SKYPILOT_NUM_NODES" = 1\n',
        "run: [python, x.py, '${SKYPILOT_NODE_IPS}']\n",
    ],
)
def test_a_file_that_uses_skypilots_variables_gets_them(text: str) -> None:
    assert parse(text).body["envs"] == {"LEITSTAND_COMPAT": "skypilot"}


def test_the_compat_switch_of_the_file_itself_wins() -> None:
    job = parse("run: echo $SKYPILOT_NODE_RANK\nenvs: {LEITSTAND_COMPAT: none}\n")
    assert job.body["envs"] == {"LEITSTAND_COMPAT": "none"}


def test_all_faults_are_told_at_once_in_the_order_of_their_lines() -> None:
    found = faults(
        """\
        nmae: typo
        run: ""
        num_nodes: two
        num_nodes: 3
        image: ubuntu
        priority: 1.5
        resources:
          gpus: 2
          memory: lots
        envs:
          TOKEN:
          LIST: [1]
        max_duration: soon
        name: 12
        """
    )
    assert [line for line, _ in found] == [1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14]
    said = [what for _, what in found]
    assert said[0] == 'unknown key "nmae"; did you mean "name"?'
    assert said[3] == '"num_nodes" is there twice, first in line 3'
    assert said[4].startswith('"image" is not yet supported: jobs run in the environment of the node')
    assert said[6] == 'unknown key "gpus"; did you mean "accelerators"?'
    assert "no value" in said[8]
    assert "not a duration" in said[10]
    assert said[11] == '"name" must be text, not a whole number (12)'


def test_what_a_job_waits_for_and_where_it_stands_become_the_body() -> None:
    text = """\
run: x
begin: 2h
deadline: "2026-03-01T08:00:00Z"
after: [acme-41, acme-42:any, 7]
held: true
array: 10
num_nodes: {min: 2, max: 8}
resources:
  topology: {required: rack, slice_level: rack, slice_nodes: 2}
"""
    assert parse(text).body == {
        "run": "x",
        "begin": "2h",
        "deadline": "2026-03-01T08:00:00Z",
        "after": ["acme-41", "acme-42:any", "7"],
        "held": True,
        "array": 10,
        "num_nodes": 2,
        "num_nodes_max": 8,
        "resources": {"topology": {"required": "rack", "slice_level": "rack", "slice_nodes": 2}},
    }
    body = parse("run: x\nnum_nodes: {min: 2, max: 8, elastic: true}\n").body
    assert body == {"run": "x", "num_nodes": 2, "num_nodes_max": 8, "elastic": True}
    assert parse("run: x\nafter: acme-1:failed\n").body["after"] == ["acme-1:failed"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("after: acme", "must be jobs like acme-42"),
        ("after: [acme-1:soon]", "must be jobs like acme-42"),
        ("held: perhaps", "must be true or false"),
        ("array: 10001", "it goes from 0 to 10000"),
        ("depends_on: acme-1", 'did you mean "after"?'),
        ("schedule: 2h", 'did you mean "begin"?'),
        ("begin: 3", "must be text"),
    ],
)
def test_what_it_waits_for_is_checked_where_it_stands(text: str, said: str) -> None:
    ((line, what),) = faults(f"run: x\n{text}\n")
    assert line == 2
    assert said in what


@pytest.mark.parametrize("key", sorted(jobfile_keys.LATER))
def test_the_keys_of_later_forms_are_refused_with_what_helps(key: str) -> None:
    refusal = f'"{key}" is not yet supported: {jobfile_keys.LATER[key]}'
    assert faults(f"run: x\n{key}: y\n") == [(2, refusal)]
    assert faults(f"run: x\nresources:\n  {key}: y\n") == [(3, refusal)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run: x\ncpus: 4\n", '"cpus" belongs under resources'),
        ("run: x\nresources: {priority: 3}\n", '"priority" belongs to the file itself, not under resources'),
        ("run: x\nenviroment: {}\n", 'unknown key "enviroment"; did you mean "envs"?'),
        (
            "run: x\nworkdir: {url: u}\n",
            '"workdir" is a folder of yours; clone a repository in setup instead',
        ),
    ],
)
def test_what_is_nearly_right_is_told_how_it_is_meant(text: str, said: str) -> None:
    assert faults(text) == [(2, said)]


def test_an_unknown_key_without_a_near_one_gets_the_list() -> None:
    ((_, what),) = faults("run: x\nquux: 1\n")
    assert "known: name, tenant" in what


def test_a_file_without_run_is_refused() -> None:
    ((line, what),) = faults("name: x\n")
    assert line == 0
    assert "`run` is missing" in what


def test_what_is_wrong_with_the_file_as_a_whole_comes_first() -> None:
    assert [line for line, _ in faults("nmae: x\n")] == [0, 1]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "null", "3"])
def test_what_is_no_mapping_is_no_job_file(text: str) -> None:
    ((_, what),) = faults(text)
    assert "mapping" in what


def test_a_syntax_error_names_its_line() -> None:
    ((line, what),) = faults("run: x\nname: [a, b\npriority: 3\n")
    assert line == 3
    assert what


def test_two_documents_are_refused() -> None:
    assert faults("run: x\n---\nrun: y\n") == [(2, "a second document begins here; write one job per file")]


def test_an_object_of_python_is_text_of_the_wrong_kind_never_made() -> None:
    ((line, _),) = faults("run: !!python/object/apply:os.system [echo]\n")
    assert line == 1


def test_deep_nesting_is_refused_not_fatal() -> None:
    ((_, what),) = faults("run: " + "[" * 5000)
    assert what


def test_an_alias_bomb_is_read_in_no_time() -> None:
    rungs = "\n".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}, *a{i}, *a{i}, *a{i}]" for i in range(30))
    found = faults(f"a0: &a0 [x]\n{rungs}\nrun: x\n")
    assert len(found) == 31


def test_a_work_directory_is_relative_to_the_file_and_must_exist(tmp_path: Path) -> None:
    ((line, what),) = faults("run: x\nworkdir: nowhere\n", tmp_path)
    assert line == 2
    assert "nowhere" in what
    assert str(tmp_path) in what


def test_a_file_over_the_limit_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_text("run: x\n#" + "x" * jobfile_faults.SIZE_MAX)
    with pytest.raises(BadJobFile, match=str(jobfile_faults.SIZE_MAX)):
        jobfile.read(path)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"run: x\nname: \xff\n")
    with pytest.raises(BadJobFile) as caught:
        jobfile.read(path)
    assert caught.value.faults[0].line == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadJobFile, match=r"gone\.yaml: No such file"):
        jobfile.read(tmp_path / "gone.yaml")


def test_a_flood_of_faults_is_cut_and_counted() -> None:
    with pytest.raises(BadJobFile) as caught:
        parse("run: x\n" + "".join(f"key{i}: 1\n" for i in range(50)))
    assert caught.value.message.count("\n") == jobfile_faults.FAULTS_SHOWN
    assert "30 more" in caught.value.message
    assert caught.value.exit_code == 2


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fifo.yaml"
    os.mkfifo(path)
    with pytest.raises(BadJobFile, match=r"fifo\.yaml: it is not a regular file"):
        jobfile.read(path)


def test_a_date_is_called_a_date() -> None:
    assert faults("run: 2026-01-01\n") == [(1, '"run" must be text, not a date (2026-01-01)')]


SECRET = "hf_PlantedPlantedPlantedPlantedPlantedPl"


@pytest.mark.parametrize(
    "text",
    [
        "run: x\n{key}: {secret}\n",
        "run: x\n{key}: [{secret}]\n",
        "run: x\n{key}: {{{secret}: {secret}}}\n",
        "run: x\n{key}: {{path: {secret}, max: {secret}, on: {secret}, signal: {secret}, every: {secret}}}\n",
        "run: x\n{key}: {{accelerators: {secret}, cpus: {secret}, memory: '{secret}:8', use_spot: {secret}}}\n",
        "run: x\n{key}: !{secret} x\n",
        "run: x\n{key}: *{secret}\n",
        "run: x\n{key}: &{secret} x\nname: &{secret} y\n",
        "run: x\n{key}: '{secret}\n",
        "run: x\nresources: {{{key}: {secret}}}\n",
        "run: x\n{secret}: {key}\n",
    ],
)
def test_a_secret_in_the_wrong_place_is_in_no_fault_and_no_notice(text: str) -> None:
    for key in ("name", "resources", "num_nodes", "envs", "secrets", "workdir", "setup", "run", "max_duration",
                "priority", "checkpoint", "retry", "image", "accelerators", "memory", "tenant", "quux"):  # fmt: skip
        try:
            job = jobfile.parse(text.format(key=key, secret=SECRET), Path("job.yaml"))
        except BadJobFile as bad:
            said = bad.format_message()
        else:
            said = " ".join(what for _, what in job.notices)
        assert SECRET not in said, (key, said)
