# SPDX-License-Identifier: Apache-2.0
"""Signed chain heads: what stops even the journal's owner from rewriting it, once a head has left the house.

The faces sign it now and then with Ed25519 (RFC 8032) and append it to `DIR/heads.jsonl`, one JSON object a line;
`DIR/keys` holds `head.key` (private, mode 0600) and `head.pub`, both PEM. Read by verify and export. Whoever
keeps a copy of a line and of `head.pub` can later tell whether the journal still says the same.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from leitstand.runtime.disk import write_whole
from leitstand.runtime.ports import Head

if TYPE_CHECKING:  # loaded where used: whoever only reads plain journals does not pay for it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNED_FORMAT: Final = "leitstand head 1"
LINE_BYTES_MAX: Final = 1024


class SignedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A head and who vouches for it; `hash` and `signature` are hexadecimal."""

    journal: str
    seq: int
    at: int
    hash: str
    key_id: str
    signature: str

    def message(self) -> bytes:
        """What the signature covers."""
        return f"{SIGNED_FORMAT}\n{self.journal}\n{self.seq}\n{self.at}\n{self.hash}\n".encode()


class Signer:
    """Signs with the key in the folder `keys`; makes a pair if there is none."""

    def __init__(self, keys: Path) -> None:
        """ValueError for a key file that holds no Ed25519 key; OSError if the folder cannot be used."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        path = keys / "head.key"
        if not path.exists():
            _make_key(path)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path} holds no readable private key: {error}; restore it from your backup"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path} holds a key of another kind, not Ed25519; restore it from your backup")
        self._sign = key.sign
        self.public = key.public_key()
        self.key_id = key_id(self.public)
        if not (keys / "head.pub").exists():
            write_whole(keys / "head.pub", _public_pem(self.public), 0o644, replace=False)

    def sign(self, journal_id: str, head: Head) -> SignedHead:
        """Vouches for `head` as an end of the journal `journal_id`."""
        unsigned = SignedHead(journal_id, head.seq, head.at, head.hash.hex(), self.key_id, "")
        return msgspec.structs.replace(unsigned, signature=self._sign(unsigned.message()).hex())


def record(path: Path, signed: SignedHead) -> None:
    """Appends `signed` to the file, durably; a line that a crash cut short is taken off first."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - LINE_BYTES_MAX))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
        file.write(msgspec.json.encode(signed) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def load_heads(path: Path) -> list[SignedHead]:
    """All signed heads of the file in its order, without a last line that a crash cut short; ValueError names a line
    that is no signed head."""
    heads = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            heads.append(msgspec.json.decode(line, type=SignedHead))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name} line {number} is no signed head: {error}") from error
    return heads


def last_recorded(path: Path) -> SignedHead | None:
    """The last whole line, read from the end of the file; None if there is none, ValueError if it is no signed head."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2 * LINE_BYTES_MAX))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    whole = [line for line in lines if line.endswith(b"\n")]
    try:
        return msgspec.json.decode(whole[-1], type=SignedHead) if whole else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the last line of {path.name} is no signed head: {error}") from error


def load_public(path: Path) -> "Ed25519PublicKey":
    """The public key of a PEM file; ValueError if it holds none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{path} holds no readable public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{path} holds a key of another kind, not Ed25519")
    return key


def public_of(raw_hex: str) -> "Ed25519PublicKey":
    """The public key of its 32 bytes in hexadecimal; ValueError if they are none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(raw_hex))


def raw_hex(public: "Ed25519PublicKey") -> str:
    """The 32 bytes of the key in hexadecimal."""
    return public.public_bytes_raw().hex()


def key_id(public: "Ed25519PublicKey") -> str:
    """A short name of the key: the first 16 hexadecimal digits of SHA-256 over its 32 bytes."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def fault(signed: SignedHead, public: "Ed25519PublicKey") -> str:
    """Why `public` does not vouch for `signed`; '' if it does."""
    from cryptography.exceptions import InvalidSignature

    if signed.key_id != key_id(public):
        return f"it is signed by key {signed.key_id}, not by {key_id(public)}"
    try:
        public.verify(bytes.fromhex(signed.signature), signed.message())
    except (InvalidSignature, ValueError):
        return f"its signature is not by key {signed.key_id}"
    return ""


def _make_key(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_whole(path, pem, replace=False)


def _public_pem(public: "Ed25519PublicKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
