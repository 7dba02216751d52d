# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind `make up`: a control plane on this machine, four tenants, the examples running for them.

Called as `python -m leitstand.app.demo` from a clone. It is `leitstand up` with a data folder in the clone and, once
it serves, the requests that a tenant would send over HTTP; nothing here knows more than a user does.
"""

import argparse
import hashlib
import json
import shlex
import sys
from pathlib import Path
from typing import Final, NamedTuple

import click

from leitstand.app.preflight import BUSY
from leitstand.app.settings import Settings
from leitstand.app.up import start
from leitstand.cli import jobfile, workdir
from leitstand.cli.client import Client

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "examples"
GPUS: Final = 8


class Part(NamedTuple):
    """One tenant of the demonstration and the example that runs for it; `envs`: made longer, so that there is
    something to see."""

    tenant: str
    tenant_class: str
    example: str
    envs: dict[str, str]


PARTS: Final = (
    Part("werk-nord", "industry", "refused-input", {}),
    Part("funke-ai", "startup", "data-parallel", {"EPOCHS": "300"}),
    Part("uni-sued", "research", "heat", {"CELLS": "64"}),
    Part("stadt-see", "public", "digits", {"EPOCHS": "300"}),
)


def main() -> int:
    """Start, populate, serve until a signal comes; the exit code of `leitstand up`."""
    parser = argparse.ArgumentParser(
        prog="make up", description="Leitstand with four tenants and examples running."
    )
    parser.add_argument(
        "--data", type=Path, default=Path("build/up"), help="data folder (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8640, help="port on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=GPUS, help="logical GPUs (default: %(default)s)")
    parser.add_argument("--python", type=Path, help="the Python that jobs find first (default: this one)")
    wanted = parser.parse_args()
    settings = Settings(data=wanted.data.absolute(), port=wanted.port, gpus=wanted.gpus, python=wanted.python)
    try:
        return start(
            settings, on_ready=lambda: populate(settings), next_lines=next_lines(wanted.data, wanted.port)
        )
    except click.ClickException as refused:
        refused.show()
        if refused.exit_code == BUSY:
            click.echo(f"  With make: make up PORT={wanted.port + 1}", err=True)
        return refused.exit_code


def next_lines(data: Path, port: int) -> list[str]:
    """What to type in a second terminal, in the folder of the clone: sign in, run a job, read."""
    here = f"LEITSTAND_URL=http://127.0.0.1:{port} LEITSTAND_TOKEN=$(cat {shlex.quote(str(data / 'admin.token'))})"
    return [
        f'export PATH="$PWD/.venv/bin:$PATH" {here}',
        "leitstand run examples/digits/job.yaml",
        "leitstand jobs && leitstand usage",
    ]


def populate(settings: Settings) -> None:
    """Four tenants and a job for each, once: a second start with the same data finds them there."""
    client = Client(f"http://{settings.host}:{settings.port}", settings.admin_token.read_text().strip())
    known = {tenant["id"] for tenant in client.get("/v1/tenants")["items"]}
    for part in PARTS:
        if part.tenant not in known:
            client.post("/v1/tenants", {"id": part.tenant, "class": part.tenant_class})
            client.post(f"/v1/tenants/{part.tenant}/budgets", {"gpu_hours": 1000, "expires_in": "365d"})
        job = submit(client, part)
        click.echo(
            f"  {part.tenant:<10} {part.tenant_class:<9} {part.example:<14} {job['id']}: {job['state']}"
        )


def submit(client: Client, part: Part) -> dict[str, str]:
    """The job of this part; the same one for the same example within the life of an Idempotency-Key."""
    read = jobfile.read(EXAMPLES / part.example / "job.yaml")
    body = {**read.body, "tenant": part.tenant, "envs": {**read.body.get("envs", {}), **part.envs}}
    if read.workdir is not None:
        body["workdir"] = workdir.send(client, read.workdir, tenant=part.tenant)
    content = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return client.submit(body, key=f"demo-{part.tenant}-{content[:16]}")


if __name__ == "__main__":
    sys.exit(main())
