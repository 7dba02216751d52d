# SPDX-License-Identifier: Apache-2.0
"""A Slurm cluster of a test's own: the real daemons, with nodes that are processes of this machine and GPUs that are
device files. All of it is below one folder, on loopback, and goes with it."""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

GPUS: Final = 8  # of a node
PORTS_MAX: Final = 1_300  # of one cluster
PARTITION: Final = "main"
NEEDED: Final = ("slurmctld", "slurmd", "squeue", "slurmrestd", "munged")
PACKAGES: Final = "slurmctld slurmd slurm-client slurmrestd slurm-wlm-jwt-plugin munge"


def require() -> None:
    """Skip the test by name where there is no Slurm, or nobody who may start one."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    if any(shutil.which(program, path=path) is None for program in NEEDED):
        pytest.skip(f"Slurm is not installed (Debian: apt install {PACKAGES})")
    if os.geteuid() != 0:
        pytest.skip("only root can make the device files of a Slurm cluster")


class Cable:
    """A network of its own, with a cable to it that can be cut. `there`: the address at its other end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.there = "10.213.0.2"

    def lay(self) -> None:
        near, far = f"{self.name}-a", f"{self.name}-b"
        _ip("netns", "add", self.name)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        _ip("addr", "add", "10.213.0.1/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", self.name, "addr", "add", f"{self.there}/30", "dev", far)
        _ip("-n", self.name, "link", "set", "lo", "up")
        self.mend()

    def cut(self) -> None:
        """Nothing arrives at the other end any more, and nobody is told."""
        _ip("-n", self.name, "link", "set", f"{self.name}-b", "down")

    def mend(self) -> None:
        _ip("-n", self.name, "link", "set", f"{self.name}-b", "up")

    def remove(self) -> None:
        _ip("netns", "del", self.name)


@contextlib.contextmanager
def cabled() -> Iterator[Cable]:
    """A network that can be cut off; skips the test where none can be made."""
    require()
    if shutil.which("ip") is None:
        pytest.skip("the command ip is not installed (Debian: apt install iproute2)")
    cable = Cable(f"ls{os.getpid()}")
    try:
        cable.lay()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
    try:
        yield cable
    finally:
        cable.remove()


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def running(
    *, nodes: int = 4, cores: int = 64, leaf: int = 0, extra: str = "", cable: Cable | None = None
) -> Iterator["Cluster"]:
    """A cluster that is up, in a folder that its daemons may enter; skips the test where there can be none. `cable`: to
    the network in which it is."""
    require()
    with tempfile.TemporaryDirectory(prefix="leitstand-slurm-", ignore_cleanup_errors=True) as made:
        base = Path(made)
        base.chmod(0o755)
        cluster = Cluster(base, nodes=nodes, cores=cores, leaf=leaf, extra=extra)
        if cable is not None:
            cluster.network, cluster.address = cable.name, cable.there
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.close()


class Cluster:
    """A cluster in `base`, an absolute path that others may enter. `leaf`: nodes below a switch, 0: no topology."""

    def __init__(
        self, base: Path, *, nodes: int = 4, cores: int = 64, leaf: int = 0, extra: str = ""
    ) -> None:
        self.base, self.nodes, self.cores, self.leaf, self.extra = base, nodes, cores, leaf, extra
        self.conf = base / "etc/slurm.conf"
        self.rest = f"unix:{base}/rest.sock"
        self.network, self.address = "", "127.0.0.1"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = -1

    # ── its life ──────────────────────────────────────────────────────────────────────────────────────────────────
    def start(self) -> None:
        """Everything is up and all nodes are idle."""
        for name in ("", "etc", "log", "state", "spool", "munge", "dev", "sbin"):
            (self.base / name).mkdir(mode=0o755, exist_ok=True)
        self._configure()
        self._munge()
        self.start_controller()
        for node in self.names():
            self.start_node(node)
        self.until(self._all_idle, "all nodes register", 60 + self.nodes)
        self.start_rest()

    def names(self) -> list[str]:
        return [f"n{number:04}" for number in range(1, self.nodes + 1)]

    def start_controller(self) -> None:
        """slurmctld, once more after it was killed."""
        self._spawn("slurmctld", self._binary("slurmctld"), "-D", "-i", "-f", str(self.conf))
        self.until(lambda: "is UP" in self.ask("scontrol", "ping"), "slurmctld answers", 90)

    def start_node(self, node: str) -> None:
        """The slurmd of one node."""
        stepd = self._binary("slurmstepd")
        self._spawn(
            f"slurmd-{node}", self._binary("slurmd"), "-D", "-f", str(self.conf), "-d", stepd, "-N", node
        )

    def start_rest(self) -> None:
        """slurmrestd on a Unix socket, which acts as root; and on a port, where it wants a token."""
        unix = self.base / "rest.sock"
        unix.unlink(missing_ok=True)
        program = ["/usr/sbin/slurmrestd", "-t", "4", "-s", "openapi/v0.0.38"]
        self._spawn(
            "slurmrestd",
            *program,
            "-a",
            "rest_auth/local",
            f"unix:{unix}",
            SLURMRESTD_SECURITY="disable_user_check",
        )
        self.until(unix.exists, "slurmrestd listens", 20)
        unix.chmod(0o600)

    def start_rest_with_tokens(self) -> str:
        """The URL of a slurmrestd that wants a token, and acts as the user in it."""
        port = _free_port()
        program = ["/usr/sbin/slurmrestd", "-t", "4", "-s", "openapi/v0.0.38", "-a", "rest_auth/jwt"]
        listens = self.address, port
        self._spawn("slurmrestd-jwt", *program, f"{self.address}:{port}", user="nobody", SLURM_JWT="daemon")
        self.until(lambda: _is_open(*listens), "slurmrestd listens for tokens", 20)
        return f"http://{self.address}:{port}"

    def kill(self, name: str) -> None:
        """kill -9 of a daemon: slurmctld, slurmrestd or `slurmd-` and a node; what it started lives on."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def is_up(self, name: str) -> bool:
        """Whether a daemon was started and not killed."""
        return name in self._processes

    def start_daemon(self, name: str) -> None:
        """slurmctld or slurmrestd, once more."""
        {"slurmctld": self.start_controller, "slurmrestd": self.start_rest}[name]()

    def close(self) -> None:
        """Ended for good, with everything that it started."""
        if "slurmctld" in self._processes:
            subprocess.run(
                ["scancel", "-u", "root", "--signal=KILL", "--full"], env=self.environment(), check=False
            )
            subprocess.run(["scancel", "-u", "root"], env=self.environment(), check=False)
        for name in sorted(self._processes, key=lambda name: name == "munged"):
            self._processes[name].send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        if self._ports >= 0:
            os.close(self._ports)
            self._ports = -1

    # ── use ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def ask(self, *argv: str) -> str:
        """What a command of Slurm says."""
        done = subprocess.run(argv, env=self.environment(), capture_output=True, text=True, check=False)
        return done.stdout

    def until(self, condition: Callable[[], bool], what: str, patience_s: float = 60) -> None:
        """Waits until it is so."""
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {patience_s} s in vain: {what}; see {self.base}/log"
            time.sleep(0.05)

    def token(self, user: str = "root", lives_s: int = 3600) -> str:
        """A JWT as `scontrol token` makes it."""
        now = int(time.time())
        parts = [
            _encoded({"alg": "HS256", "typ": "JWT"}),
            _encoded({"exp": now + lives_s, "iat": now, "sun": user}),
        ]
        key = (self.base / "state/jwt.key").read_bytes()
        signed = hmac.new(key, b".".join(parts), hashlib.sha256).digest()
        return b".".join([*parts, base64.urlsafe_b64encode(signed).rstrip(b"=")]).decode()

    def cpu_s(self, name: str) -> float:
        """CPU seconds that a daemon has used."""
        fields = Path(f"/proc/{self._processes[name].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    # ── how it is made ────────────────────────────────────────────────────────────────────────────────────────────
    def _all_idle(self) -> bool:
        said = self.ask("sinfo", "-h", "-N", "-p", PARTITION, "-o", "%T").split()
        return sum(state in ("idle", "mixed", "allocated") for state in said) >= self.nodes

    def _configure(self) -> None:
        base, host = self.base, socket.gethostname().split(".")[0]
        key = base / "state/jwt.key"
        key.write_bytes(secrets.token_bytes(32))
        key.chmod(0o600)
        first, self._ports = _free_ports(PORTS_MAX)
        ports = f"[{first + 1}-{first + self.nodes}]" if self.nodes > 1 else str(first + 1)
        names = f"n[0001-{self.nodes:04}]"
        lines = f"""
            ClusterName=test
            SlurmctldHost={host}({self.address})
            SlurmctldPort={first}
            SlurmUser=root
            SlurmdUser=root
            {"" if self.network else "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"}
            AuthType=auth/munge
            AuthInfo=socket={base}/munge/munge.sock,cred_expire=5
            AuthAltTypes=auth/jwt
            AuthAltParameters=jwt_key={key}
            CredType=cred/munge
            MpiDefault=none
            SwitchType=switch/none
            ProctrackType=proctrack/linuxproc
            TaskPlugin=task/none
            JobAcctGatherType=jobacct_gather/none
            AccountingStorageType=accounting_storage/none
            PriorityType=priority/basic
            SelectType=select/cons_tres
            SelectTypeParameters=CR_CPU
            GresTypes=gpu
            SlurmdParameters=config_overrides
            StateSaveLocation={base}/state
            SlurmdSpoolDir={base}/spool/%n
            SlurmctldPidFile={base}/slurmctld.pid
            SlurmdPidFile={base}/slurmd-%n.pid
            SlurmctldLogFile={base}/log/slurmctld.log
            SlurmdLogFile={base}/log/slurmd-%n.log
            SlurmdDebug=error
            ReturnToService=2
            SlurmdTimeout={10 if self.nodes < 100 else 300}
            MessageTimeout=60
            InactiveLimit=0
            KillWait=5
            MaxJobCount=100000
            PropagateResourceLimits=NONE
            SchedulerType=sched/backfill
            {"TopologyPlugin=topology/tree" if self.leaf else ""}
            {self.extra}
            NodeName={names} NodeHostname={host} NodeAddr={self.address} Port={ports} Sockets=2 \
                CoresPerSocket={self.cores // 2} ThreadsPerCore=1 RealMemory=512000 Gres=gpu:h100:{GPUS} State=UNKNOWN
            PartitionName={PARTITION} Nodes={names} Default=YES MaxTime=INFINITE State=UP
            {self._parts()}
        """
        self.conf.write_text("\n".join(line.strip() for line in lines.splitlines() if line.strip()) + "\n")
        for number in range(GPUS):  # a device: of a plain file Slurm makes no index
            device = base / f"dev/gpu{number}"
            if not device.exists():
                os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (base / "etc/gres.conf").write_text(
            f"AutoDetect=off\nNodeName={names} Name=gpu Type=h100 File={base}/dev/gpu[0-{GPUS - 1}]\n"
        )
        if self.leaf:
            (base / "etc/topology.conf").write_text(self._topology())

    def _parts(self) -> str:
        """A partition for each leaf."""
        every = self.names()
        leaves = [every[start : start + self.leaf] for start in range(0, self.nodes, self.leaf or self.nodes)]
        parts = enumerate(leaves if self.leaf else [])
        return "\n".join(
            f"PartitionName=leaf{n} Nodes={','.join(nodes)} MaxTime=INFINITE State=UP" for n, nodes in parts
        )

    def _topology(self) -> str:
        every, lines, spines = self.names(), [], []
        leaves = [every[start : start + self.leaf] for start in range(0, self.nodes, self.leaf)]
        lines += [f"SwitchName=leaf{n} Nodes={','.join(nodes)}" for n, nodes in enumerate(leaves)]
        for n in range(0, len(leaves), 8):
            spines.append(f"spine{n // 8}")
            below = ",".join(f"leaf{m}" for m in range(n, min(n + 8, len(leaves))))
            lines.append(f"SwitchName={spines[-1]} Switches={below}")
        return "\n".join([*lines, f"SwitchName=core Switches={','.join(spines)}"]) + "\n"

    def _munge(self) -> None:
        folder = self.base / "munge"
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "munge", "munge")
        options = {
            "socket": "munge.sock",
            "key-file": "munge.key",
            "pid-file": "munged.pid",
            "log-file": "munged.log",
        }
        options["seed-file"] = "munged.seed"
        given = [f"--{option}={folder / name}" for option, name in options.items()]
        self._spawn("munged", "/usr/sbin/munged", "--foreground", *given, user="munge")
        self.until((folder / "munge.sock").exists, "munged listens", 10)

    def _binary(self, name: str) -> str:
        """By its own name, which it looks at to know what it is: started as `slurmctld-wlm`, it forgets all GPUs."""
        link = self.base / "sbin" / name
        if not link.is_symlink():
            target = Path(f"/usr/sbin/{name}-wlm")
            link.symlink_to(target if target.exists() else Path(f"/usr/sbin/{name}"))
        return str(link)

    def _spawn(self, name: str, *argv: str, user: str | None = None, **environment: str) -> None:
        if self.network and name != "munged":  # which is found by its socket, from any network
            drop = [] if user is None else ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"]
            # `ip netns exec` would bring another /sys, in which slurmd finds no CPUs
            argv, user = ("nsenter", f"--net=/run/netns/{self.network}", *drop, *argv), None
        with (self.base / "log" / f"{name.partition('-n')[0]}.out").open("ab") as out:
            self._processes[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**self.environment(), **environment},
                cwd="/",
                user=user,
                group=user and pwd.getpwnam(user).pw_gid,
                extra_groups=[] if user else None,
            )


def _encoded(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def _free_ports(count: int) -> tuple[int, int]:
    """The first of so many neighbouring ports below the ephemeral ones that nobody listens on now, and a lock that
    keeps other tests from taking them, a file descriptor."""
    for first in range(12_000, 32_000 - count, max(count, 50)):
        lock = os.open(
            f"{tempfile.gettempdir()}/leitstand-slurm-ports-{first}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        if not any(_is_open("127.0.0.1", port) for port in range(first, first + count)):
            return first, lock
        os.close(lock)
    raise AssertionError(f"no {count} neighbouring ports are free")


def _is_open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
