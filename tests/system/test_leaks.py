# SPDX-License-Identifier: Apache-2.0
"""Words planted in every place that can carry one, in a control plane that runs, and then looked for byte by byte.

VALUES are secrets: they may stand in no file, no answer, no log, no command line and no environment but the job's own.
PRIVATE words are names, addresses, commands, notes: for those who may read them, and sealed where they are kept.
"""

import base64
import contextlib
import http.client
import json
import os
import re
import socket
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from leitstand.api import app as api
from leitstand.journal.sqlite import SqliteReader
from tests.plane import LEITSTAND, Plane
from tests.unit.onboarding_story import LEGAL, application

WITHIN_S = 60.0
BREATH_S = 0.05
# prints a word of its own and waits; its secrets are in its environment alone
PROGRAM = "import time; print('zqprintedplant', flush=True); time.sleep(600)"


class Answer(NamedTuple):
    status: int
    text: bytes  # headers and body
    body: Any


class Planted:
    """Everything that was planted: `values` and `private` by the place they were planted in."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.values: dict[str, str] = {}
        self.private: dict[str, str] = {}
        self.tokens: dict[str, str] = {"admin": plane.token}
        self.refused: dict[str, Answer] = {}  # answers to requests that held a secret
        self.ids: dict[str, str] = {}

    def value(self, place: str, prefix: str = "") -> str:
        word = prefix + f"Zq{len(self.values):02}{place}SecretPlant".replace("-", "").ljust(43, "x")
        self.values[place] = word
        return word

    def word(self, place: str) -> str:
        self.private[place] = word = f"Zq{place.replace('-', '').capitalize()}Plant"
        return word

    def ask(
        self, method: str, path: str, body: Any = None, token: str | None = None, **headers: str
    ) -> Answer:
        """One request, as it is: redirects are not followed, nothing is encoded."""
        connection = http.client.HTTPConnection("127.0.0.1", self.plane.port, timeout=30)
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        token = self.tokens["admin"] if token is None else token
        if token:
            sent.setdefault("Authorization", f"Bearer {token}")
        try:
            connection.request(method, path, raw, sent)
            answer = connection.getresponse()
            content = answer.read(1024 * 1024)
        finally:
            connection.close()
        text = b"\n".join([str(answer.headers).encode(), content])
        decoded = json.loads(content) if "json" in (answer.headers["content-type"] or "") else None
        return Answer(answer.status, text, decoded)

    def made(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """What a request made that must succeed."""
        answer = self.ask(method, path, body, token)
        assert answer.status < 300, answer.text
        return answer.body

    def refuse(
        self, place: str, method: str, path: str, body: Any = None, token: str | None = None, **headers: str
    ) -> None:
        """A request that holds a secret where it is wrong, or where it tells nobody."""
        self.refused[place] = self.ask(method, path, body, token, **headers)


# ── planting ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("leaks")
    provider = folder / "provider.yaml"
    client_secret = "ZqClientSecretPlant".ljust(43, "x")
    # nobody listens there: signing in fails, in words
    provider.write_text(
        f"issuer: http://127.0.0.1:1/realm\nclient_id: leitstand\nclient_secret: {client_secret}\n"
    )
    command = (LEITSTAND, "up", "--verbose", "--oidc", str(provider))
    with Plane(folder / "data", gpus=4, command=command) as plane:
        planted = Planted(plane)
        planted.values["client-secret"] = client_secret
        _people(planted)
        _papers(planted)
        _jobs(planted)
        _refused(planted)
        _no_http(planted)
        yield planted


def _people(planted: Planted) -> None:
    """Two tenants that do not know each other, and their people."""
    for tenant in ("acme", "bolt"):
        planted.made("POST", "/v1/tenants", {"id": tenant, "class": "industry"})
        budget = {"gpu_hours": 100, "expires_in": "30d", "origin": "grant"}
        planted.made("POST", f"/v1/tenants/{tenant}/budgets", budget)
    roles = {"boss": ("tenant_admin", "acme"), "member": ("member", "acme"), "viewer": ("viewer", "acme"),
             "other": ("tenant_admin", "bolt"), "reviewer": ("reviewer", "")}  # fmt: skip
    for who, (role, tenant) in roles.items():
        word = planted.word(f"user-{who}") if who != "other" else "Other"
        user = planted.made("POST", "/v1/users", {"name": word, "email": f"{word}@example.org"})["id"]
        planted.ids[who] = user
        planted.made("POST", f"/v1/users/{user}/roles", {"role": role, "tenant": tenant})
        issued = planted.made("POST", f"/v1/users/{user}/tokens", {"expires_in": "1d"})
        planted.tokens[who] = planted.values[f"token-{who}"] = issued["secret"]


def _papers(planted: Planted) -> None:
    """Legal identity, an application with notes, an invitation."""
    legal = {**LEGAL, "name": planted.word("legal-name") + " GmbH", "street": planted.word("street") + " 1",
             "city": planted.word("city")}  # fmt: skip
    contact = planted.word("contact")
    legal["contacts"] = [{"role": "contract", "name": contact, "email": f"{contact}@example.org"}]
    planted.made("PUT", "/v1/tenants/acme/legal", legal)
    person = planted.word("applicant")
    names = {"name": planted.word("applied-name") + " GmbH", "street": planted.word("applied-street") + " 2"}
    asked = application(
        "newcomer", legal={**legal, **names}, purpose=planted.word("purpose"),
        applicant={"name": person, "email": f"{person}@example.org"},
    )  # fmt: skip
    filed = planted.made("POST", "/v1/applications", asked, token="")
    planted.ids["application"] = filed["id"]
    planted.values["claim"] = filed["claim"]
    check = {"outcome": "failed", "note": planted.word("check-note")}
    path = f"/v1/applications/{filed['id']}"
    planted.made("POST", f"{path}/checks/identity", check, planted.tokens["reviewer"])
    planted.made("POST", f"{path}/refuse", {"reason": "other", "note": planted.word("refusal-note")})
    invited = {"tenant": "acme", "role": "viewer", "email": f"{planted.word('invited')}@example.org"}
    planted.values["invitation"] = planted.made("POST", "/v1/invitations", invited)["code"]


def _jobs(planted: Planted) -> None:
    """A secret of the project, and a job that holds everything a job can hold and waits; and one that has ended."""
    token = planted.tokens["member"]
    secret = {"value": planted.value("project-secret"), "tenant": "acme"}
    planted.made("PUT", "/v1/secrets/stored", secret, token)
    body = {
        "tenant": "acme",
        "name": planted.word("job-name"),
        "run": [sys.executable, "-c", f"{PROGRAM}  # {planted.word('run')}"],
        "setup": f": {planted.word('setup')}",
        "envs": {"PLAIN": planted.word("envs")},
        "secret_values": {"OWN": planted.value("secret-values")},
        "secrets": {"STORED": "stored"},
        "resources": {"gpus": 1},
    }
    planted.made("POST", "/v1/plan", body, token)
    planted.ids["job"] = planted.made("POST", "/v1/jobs", body, token)["id"]
    short = {
        **body,
        "run": "true",
        "secret_values": {"OWN": planted.value("ended-values")},
    }
    planted.ids["ended"] = planted.made("POST", "/v1/jobs", short, token)["id"]
    _until(planted, planted.ids["ended"], "succeeded")
    _until(planted, planted.ids["job"], "running")
    until(
        lambda: (
            b"zqprintedplant" in planted.ask("GET", f"/v1/jobs/{planted.ids['job']}/logs", None, token).text
        )
    )


def _refused(planted: Planted) -> None:
    """Secrets where they are ill-typed, unknown, too long, or in the place of something else."""
    token, value, refuse = planted.tokens["member"], planted.value, planted.refuse
    job = {"tenant": "acme", "run": "true"}
    ill: dict[str, dict[str, Any]] = {
        "values-list": {"secret_values": [value("values-list")]},
        "values-text": {"secret_values": value("values-text")},
        "values-nested": {"secret_values": {"A": {"B": value("values-nested")}}},
        "values-number": {"secret_values": {"A": 5, "B": value("values-number")}},
        "values-misnamed": {"secret_value": {"A": value("values-misnamed")}},
        "values-nul": {"secret_values": {"A": value("values-nul") + "\0"}},
        "values-as-name": {"secret_values": {"not a name": value("values-as-name")}},
        "values-huge": {"secret_values": {"A": value("values-huge") * 20_000}},
        "envs-list": {"envs": [value("envs-list")]},
        "secrets-value": {"secrets": {"A": [value("secrets-value")]}},
    }
    for place, more in ill.items():
        refuse(place, "POST", "/v1/jobs", {**job, **more}, token)
    whole = json.dumps({**job, "secret_values": {"A": value("not-json")}})
    refuse("not-json", "POST", "/v1/jobs", whole[:-1].encode(), token)
    refuse("bare-json", "POST", "/v1/jobs", json.dumps(value("bare-json")).encode(), token)
    for place, given in {
        "put-list": {"value": [value("put-list")]},
        "put-misnamed": {"valeu": value("put-misnamed")},
        "put-twice": b'{"value":"%s","value":1}' % value("put-twice").encode(),
        "put-bare": json.dumps(value("put-bare")).encode(),
        "put-huge": {"value": value("put-huge") * 5000},
    }.items():
        refuse(
            place,
            "PUT",
            "/v1/secrets/other",
            given,
            token,
        )
    refuse("bearer", "GET", "/v1/jobs", token=value("bearer", "lst_"))
    refuse("basic", "GET", "/v1/jobs", token="", Authorization=f"Basic {value('basic')}")
    refuse("cookie", "GET", "/v1/jobs", token="", Cookie=f"leitstand_session={value('cookie')}")
    refuse("x-token", "GET", "/v1/jobs", token="", X_Auth_Token=value("x-token"))
    refuse("key", "POST", "/v1/jobs", job, token, Idempotency_Key=value("key"))
    refuse("query", "GET", f"/v1/jobs?token={value('query')}")
    refuse("signin", "POST", "/v1/signin", {"token": value("signin", "lst_")}, "")
    refuse("signin-list", "POST", "/v1/signin", {"token": [value("signin-list")]}, "")
    refuse("accept", "POST", "/v1/invitations/accept", {"code": value("accept", "lsi_")}, "")
    refuse(
        "claim-code",
        "POST",
        f"/v1/applications/{planted.ids['application']}/token",
        {},
        value("claim-code", "lsa_"),
    )
    refuse("device", "POST", "/v1/login/token", {"device_code": value("device")}, "")
    refuse(
        "callback",
        "GET",
        f"/v1/signin/oidc/callback?code={value('callback')}&state={value('state')}",
        None,
        "",
    )
    refuse("oidc", "GET", "/v1/signin/oidc?return=/jobs", None, "")
    # a session of a browser, which ends again
    session = planted.ask("POST", "/v1/signin", {"token": planted.tokens["viewer"]}, "")
    found = re.search(rb"leitstand_session=(lst_[\w-]+)", session.text)
    assert found, session.text
    planted.values["session"] = found[1].decode()
    # and a login of a command line, whose code only its command line knows
    begun = planted.made("POST", "/v1/login", {"client": planted.word("client")}, "")
    planted.values["device-code"] = begun["device_code"]


def _no_http(planted: Planted) -> None:
    """Bytes that are no request, or end in the middle of one."""
    word = planted.value("no-http").encode()
    for raw in (
        b"GET /" + word + b" HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization Bearer " + word + b"\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n" + word,
        b"POST /v1/signin HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n" + word,
        b"POST /v1/signin HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz" + word + b"\r\n",
        b"GET /\xff" + word + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nCookie: leitstand_session=\xff" + word + b"\r\n\r\n",
        b"\x16\x03\x01" + word,
    ):
        with socket.create_connection(("127.0.0.1", planted.plane.port), 10) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            told = b""
            with contextlib.suppress(OSError):
                while part := connection.recv(65536):
                    told += part
        assert b" 500 " not in told.split(b"\r\n")[0], told
        assert word not in told, told
    assert planted.ask("GET", "/healthz").status == 200


# ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────
def forms(word: str) -> list[bytes]:
    """The word as it may stand in bytes: plain, in base64 at any place, in hexadecimal, as UTF-16."""
    plain = word.encode()
    inner = [base64.b64encode(b"\0" * at + plain)[4:-4] for at in range(3)]
    return [plain, *inner, plain.hex().encode(), word.encode("utf-16-le")]


def told(words: dict[str, str], data: bytes) -> list[str]:
    """The places whose words stand in `data`."""
    return [place for place, word in words.items() if any(form in data for form in forms(word))]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below with its content, and of databases their rows, which pages may have cut."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        name = str(path.relative_to(folder))
        with contextlib.suppress(FileNotFoundError):
            yield name, path.read_bytes()
        if path.suffix == ".db":
            database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            with contextlib.closing(database):
                yield f"{name} (rows)", "\n".join(database.iterdump()).encode("utf-8", "replace")


def holding(words: dict[str, str], found: Iterable[tuple[str, bytes]]) -> list[str]:
    return [f"{name}: {place}" for name, data in found for place in told(words, data)]


def processes() -> dict[int, tuple[bytes, bytes]]:
    """Command line and environment of all processes: supervisors belong to nobody."""
    found: dict[int, tuple[bytes, bytes]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = (
                    (entry / "cmdline").read_bytes(),
                    (entry / "environ").read_bytes(),
                )
    return found


def until(met: Any) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not met():
        assert time.monotonic() < deadline
        time.sleep(BREATH_S)


def _until(planted: Planted, job: str, state: str) -> None:
    """Wait for the job to be in that state; it fails at once if the job has ended otherwise."""

    def there() -> bool:
        found = planted.made("GET", f"/v1/jobs/{job}")
        assert found["state"] in (state, "pending", "starting", "running", "stopping"), found
        return bool(found["state"] == state)

    until(there)


def reading(planted: Planted) -> list[str]:
    """Every GET of the API, filled in with what is acme's."""
    ids = {"job_id": planted.ids["job"], "tenant_id": "acme", "application_id": planted.ids["application"],
           "user_id": planted.ids["member"], "user_code": "BCDF-GHJK", "site_id": "local"}  # fmt: skip
    query = {"/v1/events": "?after=0", "/v1/can-i": "?action=job:read&kind=job&job=" + planted.ids["job"]}
    query |= dict.fromkeys(("/v1/users", "/v1/invitations", "/v1/acts", "/v1/secrets"), "?tenant=acme")
    found = []
    for path, handler in api.routes():
        if "GET" in handler.http_methods and path != "/v1/events":
            filled = re.sub(r"{(\w+):\w+}", lambda part: ids[part[1]], path)
            found.append(filled + query.get(path, ""))
    return found


OF_APPLICATIONS = ("applicant", "applied-name", "applied-street", "purpose", "check-note", "refusal-note")
OF_ACME = ("job-name", "street", "invited", "user-member")


def hidden_from(planted: Planted, who: str) -> tuple[str, ...]:
    """The places whose words that asker may not read in any answer; what a job runs is told to nobody."""
    more: dict[str, tuple[str, ...]] = {
        "admin": (),
        "reviewer": OF_ACME,
        "boss": (*OF_APPLICATIONS, "user-reviewer"),
        "member": (*OF_APPLICATIONS, "user-reviewer", "street", "contact", "invited"),
        "viewer": (*OF_APPLICATIONS, "user-reviewer", "street", "contact", "invited"),
    }
    return ("run", "setup", "envs", "client", *more[who]) if who in more else tuple(planted.private)


# ── what must not be ──────────────────────────────────────────────────────────────────────────────────────────────
def test_the_search_finds_what_is_there(planted: Planted, tmp_path: Path) -> None:
    word = {"x": "ZqSomePlant"}
    for at, form in enumerate(
        [*forms(word["x"]), b'{"a":"ZqSomePlant"}', base64.b64encode(b"a:ZqSomePlant:b")]
    ):
        (tmp_path / f"{at}.txt").write_bytes(b"before" + form + b"after")
    with contextlib.closing(sqlite3.connect(tmp_path / "one.db")) as database:
        database.execute("CREATE TABLE t (a)")
        database.execute("INSERT INTO t VALUES (?)", ("y" * 4000 + word["x"],))
        database.commit()
    assert len(holding(word, files(tmp_path))) == len(list(tmp_path.iterdir())) + 1
    printed = {"log": "zqprintedplant"}
    assert any(line.startswith("runs/") for line in holding(printed, files(planted.plane.data)))


def test_secrets_reach_their_job_and_no_file(planted: Planted) -> None:
    own = {place: planted.values[place] for place in ("secret-values", "project-secret")}
    environments = [environment for _, environment in processes().values()]
    assert sorted(told(own, b"\n".join(environments))) == sorted(own), "the job did not get its secrets"
    assert holding(planted.values, files(planted.plane.data)) == []
    assert told(planted.values, planted.plane.output.read_bytes()) == []


def test_no_process_but_the_job_holds_a_secret_and_no_command_line_does(planted: Planted) -> None:
    job = planted.ids["job"]
    for process, (command, environment) in processes().items():
        assert told(planted.values, command) == [], process
        if process == os.getpid() or PROGRAM.encode()[:20] in command:
            continue
        assert told(planted.values, environment) == [], f"{process}: {command!r} beside {job}"


def test_what_is_private_stands_in_no_file_but_sealed_and_in_the_order_of_a_run_that_runs(
    planted: Planted,
) -> None:
    of_the_job = ("job-name", "run", "setup", "envs")
    for line in holding(planted.private, files(planted.plane.data)):
        name, _, place = line.partition(": ")
        assert name.startswith(f"runs/{planted.ids['job']}"), line
        assert place in of_the_job, line
    assert told(planted.private, planted.plane.output.read_bytes()) == []


def test_the_journal_has_nothing_of_a_person_and_nothing_of_a_job_but_its_shape(planted: Planted) -> None:
    with SqliteReader(planted.plane.data / "journal.db") as reader:
        entries = [msgspec.json.encode(entry.fact) for entry in reader.read(0)]
    assert len(entries) > 30
    assert told({"id": "newcomer", "nobody": "newcomerer"}, b"\n".join(entries)) == ["id"]
    everything = {**planted.values, **planted.private}
    assert told(everything, b"\n".join(entries)) == []
    assert b"@" not in b"".join(re.sub(rb"stored@\d+|[\w.-]+@\d+", b"", entry) for entry in entries)


def test_no_refusal_tells_the_secret_in_what_was_refused(planted: Planted) -> None:
    assert {place for place, answer in planted.refused.items() if told(planted.values, answer.text)} == set()
    assert len(planted.refused) > 25
    assert all(answer.status < 500 for answer in planted.refused.values())
    done = {place for place, answer in planted.refused.items() if answer.status < 300}
    assert done == {"key"}, "what should be refused was not"


@pytest.mark.parametrize("who", ["admin", "boss", "member", "viewer", "reviewer", "other", ""])
def test_no_reading_tells_a_secret_to_anybody_nor_anything_private_to_who_may_not_know(
    planted: Planted, who: str
) -> None:
    token = planted.tokens.get(who, "")
    answers = {path: planted.ask("GET", path, None, token) for path in reading(planted)}
    assert [path for path, answer in answers.items() if told(planted.values, answer.text)] == []
    hidden = {place: planted.private[place] for place in hidden_from(planted, who)}
    wrong = [
        f"{path}: {told(hidden, answer.text)}"
        for path, answer in answers.items()
        if told(hidden, answer.text)
    ]
    assert wrong == []
    assert all(answer.status < 500 for answer in answers.values())


def test_after_the_end_nothing_of_the_job_is_left_in_the_open(planted: Planted) -> None:
    """Last: it ends the job and the control plane."""
    planted.made("POST", f"/v1/jobs/{planted.ids['job']}/cancel")
    _until(planted, planted.ids["job"], "cancelled")
    planted.plane.stop()
    assert holding({**planted.values, **planted.private}, files(planted.plane.data)) == []
    assert told({**planted.values, **planted.private}, planted.plane.output.read_bytes()) == []
