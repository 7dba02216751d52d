# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.idp --port N --users FILE`: serves until it is ended; the first line it prints is its issuer.

FILE (JSON): {"ada": {"name": "Ada Lovelace", "email": "ada@example.org", "groups": ["acme-admins"]}, …}.
Port 0 takes a free one. There are no passwords: who types a user name is that user.
"""

import argparse
import json
import socket
from pathlib import Path

import uvicorn

from tests.idp.provider import Client, Idp


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.idp")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--users", type=Path, required=True)
    parser.add_argument("--client-id", default="leitstand")
    parser.add_argument("--client-secret", default="secret of the client: äöü&=%")
    given = parser.parse_args()
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", given.port))
        listening.listen()
        issuer = f"http://127.0.0.1:{listening.getsockname()[1]}"
        idp = Idp(issuer, json.loads(given.users.read_text()), Client(given.client_id, given.client_secret))
        print(issuer, flush=True)
        server = uvicorn.Server(
            uvicorn.Config(idp, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        )
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()
