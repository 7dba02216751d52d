# SPDX-License-Identifier: Apache-2.0
"""English and German for everything that the command line says. Called wherever a person reads.

The English sentence is the key: the code reads as it speaks, and a sentence without a translation is still
understood. A test holds the catalogue and the code together.
"""

import os
from typing import Any

from leitstand.cli.german import GERMAN


def t(text: str, /, **values: Any) -> str:
    """`text` in the language of the locale, with `values` in its places."""
    if is_german():
        text = GERMAN.get(text, text)
    return text.format(**values) if values else text


def why(error: OSError) -> str:
    """What the operating system says of a failure."""
    from leitstand.cli.german_others import ERRNO

    said = error.strerror or str(error)
    return ERRNO.get(error.errno or 0, said) if is_german() else said


def is_german() -> bool:
    """Whether the locale (LC_ALL, else LC_MESSAGES, else LANG) is a German one."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name, ""):
            return value.lower().partition("_")[0].partition(".")[0] == "de"
    return False
