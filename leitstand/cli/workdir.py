# SPDX-License-Identifier: Apache-2.0
"""Sends a work directory along with a job: the packing of `leitstand.client`, its refusals in the words of the command
line. Called by the commands that submit.

The archive is named by its SHA-256, so an unchanged folder is sent once.
"""

from pathlib import Path

from leitstand import client as sdk
from leitstand.cli.client import Client
from leitstand.cli.refusals import CommandFailed
from leitstand.cli.text import t, why


def send(client: Client, folder: Path, **of: str) -> str:
    """Pack `folder`, give it to the control plane for jobs of the tenant and project `of` (none: as jobs that name
    none) unless it has it, and return its SHA-256 (hexadecimal)."""
    try:
        return client.upload(folder, **of)
    except sdk.WorkdirRefused as refusal:
        raise _in_words(folder, refusal) from refusal
    except OSError as error:
        raise CommandFailed(
            t(
                "The work directory {folder} cannot be packed: {error}",
                folder=folder,
                error=f"{error.filename}: {why(error)}" if error.filename else why(error),
            )
        ) from error


def _in_words(folder: Path, refusal: sdk.WorkdirRefused) -> CommandFailed:
    match refusal.why:
        case "leads_out":
            return CommandFailed(
                t(
                    "The work directory {folder} has a link that leads out of it: {name}",
                    folder=folder,
                    name=refusal.name,
                ),
                hint=t("Replace it by what it points to, or remove it."),
            )
        case "kind":
            return CommandFailed(
                t(
                    "The work directory {folder} has something that is no file, folder or link: {name}",
                    folder=folder,
                    name=refusal.name,
                )
            )
        case "too_many_files":
            what = t("more than {limit} files", limit=sdk.FILES_MAX)
        case _:
            what = t("more than {limit} MiB", limit=sdk.ARCHIVE_BYTES_MAX >> 20)
    return CommandFailed(
        t("The work directory {folder} is too big: {what}.", folder=folder, what=what),
        hint=t("Keep data elsewhere and give the job its path."),
    )
