# SPDX-License-Identifier: Apache-2.0
"""Where the stores of a data folder are: in its own files, or, where a control plane has a standby, in databases that
both machines reach. Asked whenever a store is opened; settled by `leitstand.app.preflight`.

`stores.url` names the database of records, people and secrets (that of the journal), `keys.url` the one of subjects'
keys: on another server, because erasure destroys keys, and archives of a journal's server keep what was destroyed. Both
may hold passwords, so they are files that their owner alone may read.
"""

from pathlib import Path
from typing import Final

from leitstand.runtime.disk import write_whole

STORES: Final = "stores.url"
KEYS: Final = "keys.url"
URL_BYTES_MAX: Final = 4096
FILES: Final = ("records.db", "people.db", "secrets.db", "keys/subjects.db")


class StoresElsewhere(ValueError):
    """The stores of the folder are where they cannot be meant to be."""


def url_of(path: Path) -> str | None:
    """The URL in the file, with its password; None: there is no such file. OSError."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(URL_BYTES_MAX).strip() or None
    except FileNotFoundError:
        return None


def settle(folder: Path, stores: str, keys: str) -> None:
    """Keep the stores of the data folder in these databases from now on. StoresElsewhere if they are somewhere else
    already; OSError."""
    from leitstand.runtime import postgres

    try:
        names = {STORES: postgres.shown(stores), KEYS: postgres.shown(keys)}
    except postgres.NoUrl as error:
        raise StoresElsewhere(str(error)) from error
    if names[STORES] == names[KEYS]:
        raise StoresElsewhere(
            f"subjects' keys must not lie where the journal does ({names[KEYS]}), whose archives keep what an erasure "
            "destroys: name a database of another server"
        )
    there = [name for name in FILES if (folder / name).exists()]
    for name in (KEYS, STORES):
        known = url_of(folder / name)
        if known is None and there:
            raise StoresElsewhere(
                f"{folder} keeps its stores in files ({there[0]}); name another --data for stores in a database"
            )
        if known is not None and postgres.shown(known) != names[name]:
            raise StoresElsewhere(
                f"{name} of {folder} names {postgres.shown(known)}, not {names[name]}; name another --data"
            )
    for name, url in ((KEYS, keys), (STORES, stores)):
        if url_of(folder / name) != url:
            write_whole(folder / name, f"{url}\n".encode())


def are_in_databases(folder: Path) -> bool:
    """Whether the stores of this data folder are in databases."""
    return (folder / STORES).exists() and (folder / KEYS).exists()
