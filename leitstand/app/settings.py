# SPDX-License-Identifier: Apache-2.0
"""What a control plane is started with; made by `leitstand up`, handed to its two processes as JSON."""

from pathlib import Path

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`data`: the data folder. `gpus`: logical GPUs of this machine, None: real ones through NVML, else as many as
    cores. `nodes`: logical nodes that share them evenly. `disk_reserve_bytes`: below this much free disk, submissions
    are refused so that reports of running work still fit. `uids`: first and last user id for runs of tenants, if root
    starts this; `python`: the interpreter that jobs find first, None: this one. `record_days`: how long names and
    commands of jobs are kept after their last submission; `oidc`: the file of the identity provider; `forecast_cpu`:
    how much of a core forecasts may use, in percent, 0: there are none. `burn_in`: the script that a repaired node has
    to pass, None: the one that comes with us; `alerts`: the file that says who is alerted. `twin`: the scenario that is
    simulated in place of this machine, `speed` times as fast as the world. `standby`: it takes turns with others on its
    journal, of which one leads; `member`: this one, another one at each start, reached by others at `address`;
    `shared`: the folder that all of them have for work directories and sites."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8640
    behind_proxy: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    gpus: int | None = None
    nodes: int = 1
    disk_reserve_bytes: int = 64 * 1024 * 1024
    log_bytes_max: int = 64 * 1024 * 1024
    grace_s: int = 10
    record_days: int = 400
    uids: tuple[int, int] = (200_000, 265_535)
    python: Path | None = None
    oidc: Path | None = None
    forecast_cpu: float = 10.0
    discipline: str | None = None  # None: the rules in force stay
    burn_in: Path | None = None
    alerts: Path | None = None
    twin: Path | None = None
    speed: float = 1000.0
    standby: bool = False
    member: str = ""
    address: str = ""
    shared: Path | None = None

    def to_json(self) -> str:
        """What the two processes get as their only argument."""
        return msgspec.json.encode(self, enc_hook=str).decode()

    @staticmethod
    def from_json(text: str) -> "Settings":
        """The settings that `to_json` wrote; msgspec.DecodeError if it did not."""
        return msgspec.json.decode(text, type=Settings, dec_hook=lambda kind, value: kind(value))

    # the layout of the data folder
    @property
    def journal(self) -> Path:
        return self.data / "journal.db"

    @property
    def snapshots(self) -> Path:
        return self.data / "snapshots"

    @property
    def views(self) -> Path:
        return self.data / "views.db"

    @property
    def records(self) -> Path:
        return self.data / "records.db"

    @property
    def secrets(self) -> Path:
        return self.data / "secrets.db"

    @property
    def people(self) -> Path:
        return self.data / "people.db"

    @property
    def blobs(self) -> Path:
        return (self.shared or self.data) / "blobs"

    @property
    def runs(self) -> Path:
        return self.data / "runs"

    @property
    def sites(self) -> Path:
        return (self.shared or self.data) / "sites"

    @property
    def availability(self) -> Path:
        return self.data / "availability.db"

    @property
    def alerted(self) -> Path:
        return self.data / "alerts.db"

    @property
    def keys(self) -> Path:
        return self.data / "keys"

    @property
    def master_key(self) -> Path:
        return self.keys / "secrets.key"

    @property
    def heads(self) -> Path:
        return self.data / "heads.jsonl"

    @property
    def inbox(self) -> Path:
        return self.data / "inbox.sock"

    @property
    def lock(self) -> Path:
        return self.data / "writer.lock"

    @property
    def faces_lock(self) -> Path:
        return self.data / "faces.lock"

    @property
    def twin_mark(self) -> Path:
        return self.data / "twin.json"

    @property
    def dial(self) -> Path:
        return self.data / "twin.time"

    @property
    def twin_ends(self) -> Path:
        return self.data / "twin.ends"

    @property
    def admin_token(self) -> Path:
        return self.data / "admin.token"
