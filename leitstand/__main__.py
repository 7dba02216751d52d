# SPDX-License-Identifier: Apache-2.0
"""The entry of the command `leitstand`: answers `--version` at once, otherwise hands over to the command line.

The top of the import directions: only here do the client commands (`leitstand.cli`) and the control plane
(`leitstand.app`) meet, and only by name, so that a client never loads the server. Also the last catch: what fails
outside of us (a full disk under the output, a word that is no text, Ctrl-C while loading) is told in one line; a
mistake of ours keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import sys

from leitstand import __version__

# Until `main` runs, nothing catches Ctrl-C; `typing` would take longer to load than all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, NoReturn

# How writing fails; files fail with their names.
_OF_OUTPUT: Final = frozenset((errno.ENOSPC, errno.EBADF, errno.EFBIG, errno.EDQUOT, errno.EIO))


def main() -> None:
    """Run the command line with this process's arguments; never returns."""
    try:
        _open_streams()
        try:
            _command_line()
        except SystemExit as end:
            _flush(end)
            raise
    except KeyboardInterrupt:
        _end(1, "Aborted!")
    except UnicodeEncodeError as error:
        _end(2, "Error: {word} is not UTF-8 text.", word=ascii(str(error.object)[:80]))
    except OSError as error:
        _drop_output()
        if isinstance(error, BrokenPipeError):  # who read it has seen enough
            sys.exit(1)
        from leitstand.cli import text

        why = text.why(error)
        if error.filename is None and error.errno in _OF_OUTPUT:
            _end(1, "Error: standard output cannot be written: {why}", why=why)
        _end(1, "Error: {message}", message=f"{error.filename}: {why}" if error.filename else why)


def _command_line() -> None:
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"leitstand {__version__}", flush=True)
        sys.exit(0)
    if sys.argv[1:2] == ["up"]:  # its settings travel as JSON, which holds text alone
        for word in sys.argv:
            word.encode()
    from leitstand.cli.root import Lazy, cli

    cli.add_lazy("admin", Lazy("leitstand.app.admin:admin", "Administer the data folder of a control plane."))
    cli.add_lazy("up", Lazy("leitstand.app.up:up", "Start the control plane on this machine."))
    cli.main(prog_name="leitstand")


def _open_streams() -> None:
    """Make all three streams usable: a closed one must not lend its number to the next file that is opened, and what a
    terminal cannot show is shown by its number."""
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:  # opened for reading alone: writing fails, as it should
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _end(code: int, text: str, **values: Any) -> NoReturn:
    from contextlib import suppress

    from leitstand.cli.text import t

    with suppress(OSError):
        print(t(text, **values), file=sys.stderr, flush=True)
    sys.exit(code)


def _flush(end: SystemExit) -> None:
    """What is still held goes out now; where it cannot, that is the failure, unless there was another."""
    try:
        sys.stdout.flush()
    except OSError:
        if not end.code:
            raise
        _drop_output()


def _drop_output() -> None:
    """What standard output could not write and still holds would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
