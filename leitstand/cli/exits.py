# SPDX-License-Identifier: Apache-2.0
"""The exit codes of the command line, as scripts rely on them. Called by `run`, `logs -f` and the client.

| code    | meaning                                                                            |
|---------|------------------------------------------------------------------------------------|
| 0       | done; for `run`: the job succeeded                                                 |
| 1       | the request failed, or the control plane could not be reached                      |
| 2       | the command line or the job file is wrong, or a file to check with                 |
| 1 - 255 | `run`, `logs -f`: the job's own exit code, passed on                               |
| 100     | the job failed and has no exit code of its own                                     |
| 101     | the job has not finished: detached, or contact lost for too long                   |
| 102     | there is no such job                                                               |
| 103     | the job was cancelled                                                              |
| 104     | the job was refused at admission                                                   |
| 105     | the job could not be started                                                       |
| 106     | the job was lost: its end was not witnessed                                        |
| 124     | the job was ended at its `max_duration` (as by `timeout`)                          |
| 128 + n | the job was ended by signal n (as in a shell)                                      |
"""

from typing import Final

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
FAILED: Final = 100
UNFINISHED: Final = 101
NOT_FOUND: Final = 102
CANCELLED: Final = 103
REJECTED: Final = 104
START_FAILED: Final = 105
LOST: Final = 106
TIME_LIMIT: Final = 124
SIGNAL_BASE: Final = 128

_BY_STATE: Final = {"succeeded": OK, "cancelled": CANCELLED, "rejected": REJECTED}
_BY_REASON: Final = {"max_duration_exceeded": TIME_LIMIT, "start_failed": START_FAILED, "lost": LOST}

ENDED_STATES: Final = ("succeeded", "failed", "cancelled", "rejected")


def of_job(state: str, reason: str, exit_code: int | None, signal: int | None) -> int:
    """The exit code that tells how a job ended; `UNFINISHED` if it has not."""
    if state not in ENDED_STATES:
        return UNFINISHED
    if state in _BY_STATE:
        return _BY_STATE[state]
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    if signal is not None and 0 < signal < 128:
        return SIGNAL_BASE + signal
    if exit_code is not None and 0 < exit_code < 256:
        return exit_code
    return FAILED
