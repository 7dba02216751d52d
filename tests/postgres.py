# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of a test's own: on a Unix socket and a loopback port, in a folder that goes with it."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

START_S = 30.0


class Server:
    """Real, with its files in a `folder` that another user may enter; `url`: of a database in which a test may do what
    it wants. Not `durable`: quicker, and nothing is left of it after a crash. `archives`: it keeps its log for
    `restored_to`; `base`: a base backup that it goes on from, with these `settings`."""

    def __init__(
        self,
        durable: bool = True,
        *,
        archives: bool = False,
        base: Path | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        self._settings = [*settings, *([] if durable else ["fsync=off"])]
        self.binaries = binaries()
        self._made = tempfile.TemporaryDirectory(prefix="leitstand-postgres-")
        Path(self._made.name).chmod(0o711)
        self.folder = Path(self._made.name) / "data"
        self.port = _free_port()
        self.url = f"postgresql://leitstand@127.0.0.1:{self.port}/postgres"
        self._databases = [self.url]
        self.user = "postgres" if os.getuid() == 0 else None
        self.archive = Path(self._made.name) / "archive"
        for folder in (self.folder, self.archive):
            folder.mkdir(mode=0o700)
            if self.user:
                shutil.chown(folder, self.user, self.user)
        if archives:
            self._settings += ["archive_mode=on", f"archive_command=cp %p {self.archive}/%f"]
        if base is not None:
            subprocess.run(["cp", "-a", f"{base}/.", str(self.folder)], check=True)
            (self.folder / "recovery.signal").touch()
        else:
            self._call(
                "initdb", "-D", str(self.folder), "-U", "leitstand", "-A", "trust", "-E", "UTF8", "--no-sync"
            )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Up and answering; a crash before is recovered from."""
        log = (self.folder / "log").open("ab")
        listening = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        small = ["-c", "max_connections=80", "-c", "shared_buffers=16MB"]
        small += [word for setting in self._settings for word in ("-c", setting)]
        self.process = subprocess.Popen(
            [str(self.binaries / "postgres"), "-D", str(self.folder), *listening, *small],
            stdout=log,
            stderr=log,
            user=self.user,
            group=self.user and pwd.getpwnam(self.user).pw_gid,
            extra_groups=[] if self.user else None,
        )
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=1).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text(errors="replace")[-2000:]
                time.sleep(0.05)

    def kill(self) -> None:
        """kill -9 of the server; its sessions notice and end."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stopped for good."""
        self._end(signal.SIGQUIT)
        self._made.cleanup()

    def empty(self) -> None:
        """Nothing of ours is there any more."""
        for url in self._databases:
            with psycopg.connect(url, autocommit=True) as db:
                for name in ("leitstand", "leitstand_lease", "leitstand_stores", "leitstand_keys"):
                    db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE".encode())

    def add_database(self, name: str) -> None:
        """One more beside that of `url`."""
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}".encode())
        self._databases.append(self.url_of(name))

    def url_of(self, name: str) -> str:
        """The URL of another database of this server."""
        return self.url.removesuffix("postgres") + name

    # ── backups ───────────────────────────────────────────────────────────────────────────────────────────────────
    def base_backup(self) -> Path:
        """A base backup as of now."""
        base = self.archive / "base"
        target = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "leitstand", "-D", str(base)]
        self._call("pg_basebackup", *target, "--checkpoint=fast", "--no-sync", "-X", "none")
        return base

    def name_point(self, name: str) -> None:
        """A point in time, by name."""
        self._sql("SELECT pg_create_restore_point(%s)", name)

    def restored_to(self, point: str, base: Path) -> "Server":
        """Another server, as this one was at that point; what this one did so far is in its archive."""
        row = self._sql("SELECT pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + START_S
        while not (self.archive / row).exists():
            assert time.monotonic() < deadline, f"{row} was not archived"
            time.sleep(0.05)
        settings = [f"restore_command=cp {self.archive}/%f %p", f"recovery_target_name={point}"]
        server = Server(base=base, settings=[*settings, "recovery_target_action=promote"])
        while server._sql("SELECT pg_is_in_recovery()") == "True":
            assert time.monotonic() < deadline, "it is still being restored"
            time.sleep(0.05)
        return server

    def _sql(self, query: str, *parameters: object) -> str:
        with psycopg.connect(self.url, autocommit=True) as db:
            row = db.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return str(row[0])

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(START_S)
            self.process = None

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.binaries / program, *arguments], check=True, capture_output=True, user=self.user, cwd="/"
        )


def binaries() -> Path:
    """Where the newest PostgreSQL has its programs; skips the test by name where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    if program is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    return Path(program).resolve().parent


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
