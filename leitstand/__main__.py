# SPDX-License-Identifier: Apache-2.0
"""The entry of the command `leitstand`: answers `--version` at once, otherwise hands over to the command line.

The top of the import directions: only here do the client commands (`leitstand.cli`) and the control plane
(`leitstand.app`) meet, and only by name, so that a client never loads the server.
"""

import sys

from leitstand import __version__


def main() -> None:
    """Run the command line with this process's arguments; never returns."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"leitstand {__version__}")
        sys.exit(0)
    from leitstand.cli.root import Lazy, cli

    cli.add_lazy("up", Lazy("leitstand.app.up:up", "Start the control plane on this machine."))
    cli.main(prog_name="leitstand")


if __name__ == "__main__":
    main()
