# SPDX-License-Identifier: Apache-2.0
"""What the command line remembers between two commands: per control plane the token of `login`, and the claims of
applications. Called by `login`, `logout`, `apply`, `application` and `join`; read by `leitstand.client.saved`.

One JSON file in the user's config folder, readable by its owner alone, always written whole.
"""

import json
import os
import tempfile
from collections.abc import Callable
from typing import Any

from leitstand import client as sdk
from leitstand.cli.refusals import CommandFailed
from leitstand.cli.text import t, why


def keep_token(url: str, token: str, token_id: str = "", *, ours: bool = False) -> None:
    """Remember the token for `url`, which is where commands go from now on. `ours`: made for this login alone, so that
    `logout` may revoke it."""

    def change(kept: dict[str, Any], plane: dict[str, Any]) -> None:
        kept["url"] = url
        plane |= {"token": token, "token_id": token_id, "ours": ours}

    _change(url, change)


def drop_token(url: str) -> None:
    """Forget the token for `url`; claims stay, and it is still where commands go."""

    def change(_: dict[str, Any], plane: dict[str, Any]) -> None:
        for name in ("token", "token_id", "ours"):
            plane.pop(name, None)

    _change(url, change)


def keep_claim(url: str, application: str, claim: str) -> None:
    """Remember the claim of an application filed at `url`; it becomes the last one. Who is nowhere yet goes there from
    now on."""

    def change(kept: dict[str, Any], plane: dict[str, Any]) -> None:
        kept["url"] = kept.get("url") or url
        claims = plane.setdefault("claims", {})
        claims.pop(application, None)
        claims[application] = claim

    _change(url, change)


def plane_of(url: str) -> dict[str, Any]:
    """What is remembered for `url`."""
    found = sdk.saved().get("planes", {}).get(url, {})
    return found if isinstance(found, dict) else {}


def claims_of(url: str) -> dict[str, str]:
    """Application → claim for `url`, in the order in which they were filed."""
    found = plane_of(url).get("claims", {})
    return found if isinstance(found, dict) else {}


def _change(url: str, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Change what is kept and write the file whole: a crash leaves the old one or the new one."""
    kept = {"planes": {}, **sdk.saved()}
    plane = kept["planes"].setdefault(url, {})
    change(kept, plane)
    path = sdk.saved_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".credentials-")  # 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(kept, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise CommandFailed(
            t("{path} cannot be written: {why}", path=path, why=why(error)),
            hint=t("Set XDG_CONFIG_HOME to a folder of yours, or use LEITSTAND_TOKEN."),
        ) from error
