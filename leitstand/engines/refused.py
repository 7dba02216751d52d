# SPDX-License-Identifier: Apache-2.0
"""That a run cannot start. Standard library only, since the local engine's supervisor says it, too."""


class CannotStart(Exception):
    """The run cannot start: a word of the engine's closed list, and a line for the person who reads the log."""

    def __init__(self, detail: str, line: str) -> None:
        super().__init__(line)
        self.detail = detail
        self.line = line
