# SPDX-License-Identifier: Apache-2.0
"""What the API promises about input: every fault at once, with its place, its value, the limit and what was meant."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leitstand.api import decode
from leitstand.api.amounts import cpus_milli, duration_us, memory_mib, moment
from leitstand.api.jobs.jobrequest import JobRequest, observation, run_spec
from leitstand.api.problems import Problem
from leitstand.runtime.spec import Checkpoint

HOUR_US = 3600 * 10**6


def faults(body: Any) -> dict[str, str]:
    """The faults of a body, where -> what."""
    with pytest.raises(Problem) as refused:
        decode.body(json.dumps(body).encode(), JobRequest)
    assert (refused.value.status, refused.value.code) == (400, "invalid-request")
    return {fault.where: fault.what for fault in refused.value.more["errors"]}


def test_all_faults_are_named_at_once() -> None:
    found = faults(
        {
            "nmae": "x",
            "resources": {"gpu": 1, "cpus": -1, "memory_gb": "a lot"},
            "num_nodes": 2.5,
            "envs": {"A": 1, "B": "2"},
            "priority": 101,
            "max_duration": "tomorrow",
            "tenant": "Acme Corp",
        }
    )
    assert set(found) == {
        "/nmae",
        "/run",
        "/resources/gpu",
        "/resources/cpus",
        "/resources/memory_gb",
        "/num_nodes",
        "/envs",
        "/priority",
        "/max_duration",
        "/tenant",
    }
    assert found["/nmae"] == "is unknown; did you mean 'name'?"
    assert found["/run"] == "is missing"
    assert found["/resources/gpu"] == "is unknown; did you mean 'gpus'?"
    assert found["/resources/cpus"] == "is -1.0; the limits are 0 to 65536 cores per node"
    assert found["/resources/memory_gb"].startswith('is "a lot"; expected')
    assert found["/priority"] == "is 101; the limits are 0 to 100"
    assert found["/tenant"].startswith("is 'Acme Corp'; an id is")


def test_one_unknown_key_is_enough_to_refuse() -> None:
    assert faults({"run": ["true"], "gpus": 8}) == {"/gpus": "is unknown here; it belongs into 'resources'"}
    assert faults({"run": ["true"], "resources": {"zzz": 8}}) == {
        "/resources/zzz": "is unknown; known: gpus, cpus, memory_gb, accelerators, topology, sites, jurisdiction, "
        "partners"
    }


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("run", [], "is empty"),
        ("run", "  \n", "is empty"),
        ("run", ["a"] * 4097, "4097 words; the limit is 4096"),
        ("run", ["x" * 131072], "a word of 131072 bytes"),
        ("run", "x" * 262145, "262145 bytes; the limit is 262144"),
        ("run", ["a\0b"], "NUL"),
        ("setup", "x" * 262145, "262145 bytes; the limit is 262144"),
        ("name", "x" * 201, "201 characters; the limit is 200"),
        ("name", "a\nb", "cannot be printed"),
        ("envs", {f"V{i}": "" for i in range(1001)}, "1001 variables; the limit is 1000"),
        ("envs", {"1A": ""}, "has the name '1A'"),
        ("envs", {"A": "x" * 131072}, "in A; the limit is 131072"),
        ("envs", {"A": "x" * 70000, "B": "x" * 70000}, "140006 bytes; the limit is 131072"),
        ("envs", {"A": "\0"}, "NUL"),
        ("num_nodes", 0, "is 0; the limits are 1 to 10000"),
        ("num_nodes", 10001, "is 10001; the limits are 1 to 10000"),
        ("project", "a" * 64, "an id is 1 to 63"),
        ("workdir", "abc", "is the SHA-256"),
        ("max_duration", 0, "is not between"),
        ("max_duration", 1e300, "is not between"),
        ("expected_duration", "1h30", "is not a duration"),
        ("priority", -1, "the limits are 0 to 100"),
        ("secrets", {f"V{i}": None for i in range(101)}, "101 variables; the limit is 100"),
        ("secrets", {"1A": None}, "a name (number 1) that is none"),
        ("secrets", {"A": "two words"}, "no reference in A"),
        ("secrets", {"A": "name@0"}, "no reference in A"),
        ("secret_values", {"A": "\0"}, "NUL character in A"),
        ("secret_values", {"A": "x" * 65537}, "65537 bytes in A; the limit is 65536"),
        ("secret_values", dict.fromkeys("ABC", "x" * 50000), "150000 bytes; the limit is 131072"),
    ],
)
def test_every_limit_is_named(field: str, value: Any, what: str) -> None:
    found = faults({"run": ["true"], field: value})
    assert list(found) == [f"/{field}"]
    assert what in found[f"/{field}"]


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("gpus", -1, "0 to 1024 per node"),
        ("gpus", 1025, "0 to 1024 per node"),
        ("memory_gb", 1e9, "GB per node"),
    ],
)
def test_every_limit_per_node_is_named(field: str, value: Any, what: str) -> None:
    assert what in faults({"run": ["true"], "resources": {field: value}})[f"/resources/{field}"]


@pytest.mark.parametrize(
    ("field", "value", "where", "what"),
    [
        ("checkpoint", {}, "/path", "is missing"),
        ("checkpoint", {"path": "../x"}, "/path", "leads upwards"),
        ("checkpoint", {"path": "x" * 1025}, "/path", "1025 bytes; the limit is 1024"),
        ("checkpoint", {"path": "c", "every": "often"}, "/every", "is not a duration"),
        ("checkpoint", {"path": "c", "signal": "SIGKILL"}, "/signal", "known: SIGTERM, SIGINT"),
        ("checkpoint", {"path": "c", "grace": "2h"}, "/grace", "longer than 3600 s"),
        ("checkpoint", {"path": "c", "evrey": "1h"}, "/evrey", "did you mean 'every'?"),
        ("checkpoint", "c", "", "expected `object"),
        ("retry", {"max": 101}, "/max", "is 101; the limits are 0 to 100 times"),
        ("retry", {"max": 1, "on": ["failure"]}, "/on", "known: exit_code, signal, lost, start_failed"),
        ("retry", {"max": 1, "on": []}, "/on", "leave it out for every reason"),
        ("retry", 3, "", "expected `object"),
    ],
)
def test_every_limit_of_checkpoint_and_retry_is_named(field: str, value: Any, where: str, what: str) -> None:
    found = faults({"run": ["true"], field: value})
    assert list(found) == [f"/{field}{where}"]
    assert what in found[f"/{field}{where}"]


def test_the_faults_of_checkpoint_and_retry_come_with_all_others() -> None:
    found = faults({"run": 1, "checkpoint": {"path": 1, "grace": "x"}, "retry": {"max": -1}, "secrets": []})
    assert set(found) == {"/run", "/checkpoint/path", "/checkpoint/grace", "/retry/max", "/secrets"}


def test_a_variable_has_one_source() -> None:
    found = faults(
        {"run": ["x"], "envs": {"A": "1"}, "secrets": {"A": None, "B": None}, "secret_values": {"B": "v"}}
    )
    assert found == {
        "/secrets": "gives A, which has a value elsewhere; give it once",
        "/secret_values": "gives B, which has a value elsewhere; give it once",
    }


def decoded(**body: Any) -> JobRequest:
    return decode.body(json.dumps({"run": ["true"], **body}).encode(), JobRequest)


def test_references_checkpoint_and_retry_arrive_where_they_belong() -> None:
    asked = decoded(
        secrets={"HF_TOKEN": None, "KEY": "s3-key@7", "OLD": "old.key"},
        secret_values={"PIN": "0123"},
        checkpoint={"path": "ckpt", "every": "1.5s", "grace": "2m", "signal": "SIGUSR1"},
        retry={"max": 3, "on": ["lost", "exit_code"]},
    )
    spec = run_spec(asked)
    assert spec.secrets == {"HF_TOKEN": "HF_TOKEN", "KEY": "s3-key@7", "OLD": "old.key"}
    assert spec.checkpoint == Checkpoint("ckpt", 2, "SIGUSR1", 120)
    assert asked.secret_values == {"PIN": "0123"}
    seen = observation(asked, lambda: 1000, 0)
    assert (seen.retries, seen.retry_on, seen.checkpoint_every_us) == (3, ("exit_code", "lost"), 1_500_000)
    plain = observation(decoded(retry={"max": 2}), lambda: 1000, 0)
    assert (plain.retries, plain.retry_on, plain.checkpoint_every_us) == (2, (), 0)
    assert run_spec(decoded()).checkpoint is None


SECRET = "hf_PlantedPlantedPlantedPlantedPlantedPl"


def test_a_secret_value_is_in_no_spec_repr_or_canonical_form_and_still_tells_requests_apart() -> None:
    asked, other = decoded(secret_values={"A": SECRET}), decoded(secret_values={"A": "another"})
    shown = [repr(asked), str(asked), repr(list(asked.__rich_repr__())), repr(run_spec(asked))]
    assert [text for text in shown if SECRET in text] == []
    assert SECRET.encode() not in asked.canonical()
    assert asked.canonical() != other.canonical()
    assert asked.canonical() == decoded(secret_values={"A": SECRET}).canonical()


@pytest.mark.parametrize("field", ["secret_values", "secrets", "envs"])
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        [SECRET],
        {"A": [SECRET]},
        {"A": {"B": SECRET}},
        {"A": SECRET + " "},
        {"A": SECRET + "\0"},
        {"A": SECRET * 4000},
    ],
)
def test_an_ill_typed_secret_is_in_no_error(field: str, value: Any) -> None:
    for body in ({"run": ["x"], field: value}, {"run": 5, field: value}, [{field: value}]):
        said = ""
        try:
            decode.body(json.dumps(body).encode(), JobRequest)
        except Problem as refused:
            said = refused.response().content.decode()
        assert SECRET not in said


@pytest.mark.parametrize("field", ["secret_values", "secrets"])
def test_a_secret_in_the_place_of_a_name_is_in_no_error(field: str) -> None:
    assert SECRET not in faults({"run": ["x"], field: {f"{SECRET}-": "x"}})[f"/{field}"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"run": ["\xff"]}',
                                 b'{"run": ["\\ud800"]}', b'{"priority": 1e999, "run": "x"}'])  # fmt: skip
def test_what_is_no_object_is_refused_with_a_sentence(raw: bytes) -> None:
    with pytest.raises(Problem) as refused:
        decode.body(raw, JobRequest)
    assert refused.value.status == 400
    assert refused.value.detail


def test_more_faults_than_anybody_reads_are_cut() -> None:
    assert len(faults({f"k{i}": 1 for i in range(500)})) == decode.FAULTS_MAX


LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e30, 1e30) | st.text(max_size=20)
)
KEYS = st.sampled_from([*JobRequest.__struct_fields__, "gpus", "x"])


@given(
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    )
)
@example({"run": "x", "resources": {"gpus": 2**70}})
@example({"run": "x", "resources": None})
@example({"run": "x"})
def test_any_json_is_either_a_request_or_a_problem(value: Any) -> None:
    raw = json.dumps(value).encode()
    with contextlib.suppress(Problem):
        request = decode.body(raw, JobRequest)
        shape = observation(request, lambda: 1000, 0).resources
        assert shape.nodes == request.num_nodes
        assert min(shape.gpus, shape.cpus_milli, shape.memory_mib) >= 0


# ── amounts ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1h30m", 5400 * 10**6),
        ("90s", 90 * 10**6),
        ("2d", 48 * HOUR_US),
        ("1d2h3m4.5s", 93784_500_000),
        ("0.000001s", 1),
        ("10", 10 * 10**6),
        (" 5m ", 300 * 10**6),
        (1.5, 1_500_000),
        (7, 7_000_000),
    ],
)
def test_durations_are_read(text: str | float, us: int) -> None:
    assert duration_us(text) == us


@pytest.mark.parametrize(
    "text", ["", "h", "1x", "-1s", "1m1h", "1.5h", "٣s", "1e3", "inf", "3651d", "0s", -1, 0, 4e9]
)
def test_what_is_no_duration_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"duration|between"):
        duration_us(text)


def test_a_share_of_a_core_or_of_a_gigabyte_is_never_rounded_to_nothing() -> None:
    assert [cpus_milli(c) for c in (0, 0.0001, 0.5, 2.0004)] == [0, 1, 500, 2000]
    assert [memory_mib(m) for m in (0, 0.0001, 0.5, 3)] == [0, 1, 512, 3072]


@given(st.integers(0, 4 * 10**15))
def test_moments_are_exact_to_the_microsecond(us: int) -> None:
    when = moment(us)
    assert (when - moment(0)).days * 86400 * 10**6 + (
        when - moment(0)
    ).seconds * 10**6 + when.microsecond == us
