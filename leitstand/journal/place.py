# SPDX-License-Identifier: Apache-2.0
"""Where the journal of a data folder is: in its `journal.db`, or in the PostgreSQL database that its `journal.url`
names. Called by everything that opens a journal by its folder.

`journal.url` may hold a password: it is readable by its owner alone. A folder has the one or the other, never both.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final, Union

from leitstand.journal.codec import DEFAULT, Codec, JournalUnusable
from leitstand.journal.sqlite import SqliteJournal, SqliteReader
from leitstand.runtime.disk import write_whole

if TYPE_CHECKING:  # a folder without a database does not pay for its client
    from leitstand.journal.postgres import PostgresJournal, PostgresReader

FILE: Final = "journal.db"
URL_FILE: Final = "journal.url"
URL_BYTES_MAX: Final = 4096

Reader = Union[SqliteReader, "PostgresReader"]
Writer = Union[SqliteJournal, "PostgresJournal"]


def open_reader(path: Path, codec: Codec = DEFAULT) -> Reader:
    """Reads the journal of the folder whose `journal.db` would be at `path`, beside its writer; JournalUnusable if
    there is none, JournalAway if its server does not answer."""
    url = url_of(path)
    if url is None:
        return SqliteReader(path, codec)
    from leitstand.journal.postgres import PostgresReader

    return PostgresReader(url, codec)


def open_writer(path: Path, *, synced: bool = True) -> Writer:
    """Its one writer; the journal is made if there is none. Not `synced`: what is committed survives the process, but
    not the machine. Errors as `open_reader`."""
    url = url_of(path)
    if url is None:
        return SqliteJournal(path, synced=synced)
    from leitstand.journal.postgres import PostgresJournal

    return PostgresJournal(url, synced=synced)


def exists(path: Path) -> bool:
    """Whether there is such a file, or its folder names a database for it."""
    return path.is_file() or (path.name == FILE and _file(path).is_file())


def url_of(path: Path) -> str | None:
    """The URL of the database, with its password; None: the journal is a file, as every one of another name is."""
    if path.name != FILE or not _file(path).exists():
        return None
    try:
        with _file(path).open(encoding="utf-8") as file:
            url = file.read(URL_BYTES_MAX).strip()
    except (PermissionError, IsADirectoryError, UnicodeDecodeError) as error:
        raise JournalUnusable(f"cannot read {_file(path)}: {error}") from error
    name_of(url)
    if path.exists():
        raise JournalUnusable(
            f"{path.parent} has {path.name} and {URL_FILE}: two journals; move the one away that is not meant"
        )
    return url


def settle(path: Path, url: str) -> None:
    """Keep the journal of the folder in that database from now on; JournalUnusable if it is somewhere else already."""
    name, known = name_of(url), url_of(path)
    if path.exists():
        raise JournalUnusable(
            f"the journal of {path.parent} is {path.name}; name another --data for one in {name}"
        )
    if known is not None and name_of(known) != name:
        raise JournalUnusable(
            f"the journal of {path.parent} is {name_of(known)}, not {name}; name another --data"
        )
    if known != url:
        write_whole(_file(path), f"{url}\n".encode())


def name_of(url: str) -> str:
    """The URL for people, without its password; JournalUnusable if it is none."""
    from leitstand.journal.server import shown

    return shown(url)


def _file(path: Path) -> Path:
    return path.with_name(URL_FILE)
