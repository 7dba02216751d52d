# SPDX-License-Identifier: Apache-2.0
"""Secret strings that open doors: made here, told apart by their form, kept only as digests, and never written to logs.

Called by the faces: tokens (`lst_…`), codes of invitations (`lsi_…`), claim codes of applications (`lsa_…`).
"""

import hashlib
import re
import secrets
from typing import Final, Literal

Prefix = Literal["lst", "lsi", "lsa"]

TOKEN: Final[Prefix] = "lst"  # noqa: S105  # a form, not a secret
INVITATION: Final[Prefix] = "lsi"
CLAIM: Final[Prefix] = "lsa"

SECRET_BYTES: Final = 32
_CHARS: Final = 43  # of 32 bytes in base64url without padding (RFC 4648 §5)
_FORM: Final = re.compile(rf"(ls[tia])_[A-Za-z0-9_-]{{{_CHARS}}}")
# In a longer word only what is long enough to be a secret; "false_x" stays what it is.
_SHOWN: Final = re.compile(r"(ls[tia])_[A-Za-z0-9_-]{16,}|(?<![A-Za-z0-9])(ls[tia])_[A-Za-z0-9_-]+", re.ASCII)


def make(prefix: Prefix) -> str:
    """A fresh secret of 256 random bits, as text."""
    return f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"


def digest(secret: str) -> str:
    """What is kept of a secret: its SHA-256, hexadecimal. 256 random bits need no salt and no stretching."""
    return hashlib.sha256(secret.encode()).hexdigest()


def has_form(text: str, prefix: Prefix) -> bool:
    """Whether `text` can be a secret of that kind at all; nothing else is worth a look-up."""
    found = _FORM.fullmatch(text)
    return found is not None and found[1] == prefix


def redacted(text: str) -> str:
    """`text` with every secret of these forms, whole or cut off, reduced to its prefix: `lst_…`."""
    return _SHOWN.sub(lambda found: f"{found[1] or found[2]}_…", text)
