# SPDX-License-Identifier: Apache-2.0
"""Running it for real: the unit of systemd does what it says, and TLS holds from certificate to renewal."""

import configparser
import http.client
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.plane import LEITSTAND, Plane
from tests.system.test_up import WITHIN_S, until

pytestmark = pytest.mark.system
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNIT = DEPLOY / "leitstand.service"
DROP_INS = sorted(DEPLOY.glob("leitstand.service.d/*.conf"))


# ── the unit ──────────────────────────────────────────────────────────────────────────────────────────────────────
def read(*files: Path) -> dict[str, str]:
    """The last word of [Service] on each name."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(files)
    return dict(parser["Service"])


def started_line(service: dict[str, str], data: Path, options: str) -> tuple[str, ...]:
    """ExecStart as systemd splits it, with the paths of this test in place of the unit's."""
    words = []
    for word in shlex.split(service["ExecStart"]):
        if word == "$LEITSTAND_OPTIONS":
            words += options.split()
        else:
            words.append(
                {"/opt/leitstand/bin/leitstand": LEITSTAND, "/var/lib/leitstand": str(data)}.get(word, word)
            )
    assert not [word for word in words if "$" in word or "/opt/" in word]
    return tuple(words)


class Served(Plane):
    """A control plane whose command is the unit's own, word for word."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.command = started_line(read(UNIT), data, f"--port {self.port} --gpus 2")

    def end(self) -> int:
        """As the unit's KillMode says: SIGTERM to the main process, to nobody else."""
        assert read(UNIT)["KillMode"] == "process"
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGTERM)
        return self.process.wait(float(read(UNIT)["TimeoutStopSec"]))


def test_a_run_outlives_the_stop_of_the_unit_and_is_adopted_by_its_next_start(tmp_path: Path) -> None:
    plane = Served(tmp_path / "state")
    began, go = tmp_path / "began", tmp_path / "go"
    script = f"echo $$ >{began}; until [ -e {go} ]; do sleep 0.05; done; echo lived on; exit 7"
    with plane:
        job = plane.cli("submit", "--gpus", "1", "--", script).stdout.strip()
        until(lambda: began.exists() and began.read_text().strip(), "the run's beginning")
        run = Path("/proc") / began.read_text().strip()
        since = (run / "stat").read_text().split()[21]
        beside = plane.json("upgrade-check", "--data", str(plane.data), "--running", LEITSTAND)
        assert (beside["ok"], beside["running"]["digest"]) == (True, beside["digest"])
        assert plane.end() == 0
        assert (run / "stat").read_text().split()[21] == since, (
            "the very process goes on without a control plane"
        )
        plane.start()
        go.touch()
        until(lambda: plane.json("job", job)["state"] == "failed", "the job's end")
        assert plane.json("job", job)["exit_code"] == 7
        assert "lived on" in plane.cli("logs", job).stdout


def test_the_unit_says_what_its_restart_and_its_runs_need() -> None:
    service = read(UNIT)
    assert service["Restart"] == "always"
    assert service["OOMPolicy"] == "continue", "one run that is out of memory ends no other"
    assert service["TasksMax"] == "infinity"
    assert not {"PrivateTmp", "RuntimeDirectory"} & set(service), "systemd deletes them under runs that go on"
    assert not {"PrivateDevices", "DeviceAllow", "DevicePolicy", "ProtectClock"} & set(service), (
        "they close GPUs"
    )
    assert int(service["LimitNOFILE"].partition(":")[2]) >= 4352
    assert service["StateDirectory"] == "leitstand"
    isolated = read(UNIT, DEPLOY / "leitstand.service.d" / "isolation.conf")
    assert (isolated["User"], isolated["KillMode"], isolated["StateDirectoryMode"]) == (
        "root",
        "process",
        "0711",
    )


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda one: one.stem if one else "alone")
def test_systemd_finds_nothing_wrong_with_the_unit(drop_in: Path | None, tmp_path: Path) -> None:
    assert systemd_says(UNIT.read_text(), drop_in, tmp_path) == ""


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_does_find_what_is_wrong(tmp_path: Path) -> None:
    assert "KilMode" in systemd_says(UNIT.read_text().replace("KillMode", "KilMode"), None, tmp_path)


def systemd_says(unit: str, drop_in: Path | None, folder: Path) -> str:
    """What `systemd-analyze verify` says of the unit; its program is the one of this installation."""
    placed = folder / "leitstand.service"
    placed.write_text(unit.replace("/opt/leitstand/bin/leitstand", LEITSTAND))
    if drop_in is not None:
        (folder / "leitstand.service.d").mkdir()
        shutil.copy(drop_in, folder / "leitstand.service.d")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(placed)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:", "LC_ALL": "C"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return "\n".join(line for line in done.stderr.splitlines() if "leitstand" in line)


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class Encrypted(Plane):
    """A control plane that does TLS, asked by those who trust `authority`."""

    def __init__(self, data: Path, authority: Authority) -> None:
        super().__init__(data, gpus=1)
        self.authority = authority
        self.cert, self.key = authority.issue("cloud", 11, days=2)
        self.command += ("--tls-cert", str(self.cert), "--tls-key", str(self.key))
        self.trusting = ssl.create_default_context(cafile=str(authority.file))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def healthy(self) -> bool:
        try:
            return self.connect()[1] == 200
        except OSError:
            return False

    def connect(self) -> tuple[int, int]:
        """Over a new connection: the serial number of the certificate, and the status of /healthz."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=WITHIN_S, context=self.trusting
        )
        try:
            connection.connect()
            assert isinstance(connection.sock, ssl.SSLSocket)
            shown = connection.sock.getpeercert()
            assert shown is not None
            connection.request("GET", "/healthz")
            return int(str(shown["serialNumber"]), 16), connection.getresponse().status
        finally:
            connection.close()

    def as_user(self, *words: str, trusting: bool = True) -> subprocess.CompletedProcess[str]:
        trust = {"SSL_CERT_FILE": str(self.authority.file)} if trusting else {}
        return subprocess.run(
            [LEITSTAND, *words], env={**self.environment, "LC_ALL": "C", **trust},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Encrypted]:
    with Encrypted(tmp_path / "data", Authority(tmp_path)) as plane:
        yield plane


def test_tls_from_the_first_job_to_a_renewal_without_a_restart(encrypted: Encrypted, tmp_path: Path) -> None:
    done = encrypted.as_user("run", "--", "echo over TLS")
    assert (done.returncode, "over TLS" in done.stdout) == (0, True), done.stderr
    stranger = encrypted.as_user("jobs", trusting=False)
    assert stranger.returncode != 0
    assert "SSL_CERT_FILE" in stranger.stderr
    until(lambda: "expires on" in encrypted.output.read_text(), "the warning of a certificate that runs out")

    kept = http.client.HTTPSConnection(
        "127.0.0.1", encrypted.port, timeout=WITHIN_S, context=encrypted.trusting
    )
    kept.request("GET", "/healthz")
    assert kept.getresponse().read()
    cert, key = encrypted.authority.issue("renewed", 22)
    os.replace(key, encrypted.key)
    log = encrypted.data / "log" / "faces.log"
    until(lambda: "the one before goes on" in log.read_text(), "half of a renewal is refused")
    assert encrypted.connect() == (11, 200)
    os.replace(cert, encrypted.cert)
    until(lambda: encrypted.connect() == (22, 200), "the renewed certificate")
    kept.request("GET", "/healthz")
    assert kept.getresponse().status == 200, "who was connected stays so"
    kept.close()
    assert encrypted.process is not None
    assert encrypted.process.poll() is None


def test_files_that_cannot_serve_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (cert, _), (_, other) = authority.issue("one", 11), authority.issue("other", 12)
    _, locked = authority.issue("locked", 13, phrase=b"a phrase")
    for key, said in ((other, f"{other} is not the key of {cert}"), (locked, "locked with a pass phrase")):
        began = time.monotonic()
        done = subprocess.run(
            [LEITSTAND, "up", "--data", str(tmp_path / "data"), "--tls-cert", str(cert), "--tls-key", str(key)],
            env={**os.environ, "LC_ALL": "C", "COLUMNS": "1000"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
        assert time.monotonic() - began < 60, "nobody was asked for a pass phrase"
    assert not (tmp_path / "data").exists()
