# SPDX-License-Identifier: Apache-2.0
"""A real control plane to test or measure against: started, asked through its CLI and HTTP, ended. Used by system
tests and by bench."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LEITSTAND = str(Path(sys.executable).parent / "leitstand")
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0


class Plane:
    """`leitstand up` on the folder `data`, as a child process; `with` starts and ends it.

    `gpus` None: none are asked for. `command` replaces `leitstand up`; it gets the same arguments. What it prints goes
    to DIR/../DIR.up.log.
    """

    def __init__(
        self, data: Path, gpus: int | None = 8, command: tuple[str, ...] = (LEITSTAND, "up")
    ) -> None:
        self.data = data
        self.port = free_port()
        self.command = (*command, "--data", str(data), "--port", str(self.port))
        if gpus is not None:
            self.command += ("--gpus", str(gpus))
        self.output = data.with_name(data.name + ".up.log")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return (self.data / "admin.token").read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        """What a user exports in the second terminal, on top of this process's environment."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **os.environ,
            "PATH": path,
            "LEITSTAND_URL": self.url,
            "LEITSTAND_TOKEN": self.token,
            "NO_COLOR": "1",
            "COLUMNS": "120",
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> float:
        """Returns when it serves; the wall seconds that took. RuntimeError with its output if it ends or hangs."""
        began = time.monotonic()
        with self.output.open("ab") as output:
            before = output.tell()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        while not (self.says_ready(before) and self.healthy()):
            if self.process.poll() is not None or time.monotonic() - began > READY_WITHIN_S:
                self.stop()
                raise RuntimeError(f"{' '.join(self.command)} did not come up:\n{self.output.read_text()}")
            time.sleep(0.01)
        return time.monotonic() - began

    def says_ready(self, after: int) -> bool:
        """Whether it said so beyond the first `after` bytes of its output: a predecessor may still answer."""
        return self.url.encode() in self.output.read_bytes()[after:]

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self) -> int:
        """Ends it as Ctrl-C does; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise

    def cli(
        self, *arguments: str, timeout: float = 120, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`leitstand ARGUMENTS` as a user of this control plane; stdout and stderr as text."""
        return subprocess.run(
            [LEITSTAND, *arguments],
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """What a reading command prints with --json."""
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def http(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """One request with the admin token: status and decoded JSON (or text)."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, kind, content = answer.status, answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as refused:
            status, kind, content = refused.code, refused.headers.get_content_type(), refused.read()
        return status, json.loads(content) if kind.endswith("json") else content.decode()


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
