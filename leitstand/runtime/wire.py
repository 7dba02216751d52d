# SPDX-License-Identifier: Apache-2.0
"""What faces and the writer say to each other over the inbox's Unix socket (`DIR/inbox.sock`).

A frame is four bytes of big-endian length and a MessagePack message. The follower sends `Ask`s, any number in
flight; the writer answers each with one `Settled` after the facts are durable, and tells every connection
`Advanced` after each commit, so that followers know when to read the journal's tail.
"""

import struct
from typing import Final

import msgspec

from leitstand.core.facts import Observation

FRAME_MAX: Final = 256 * 1024
HEADER: Final = struct.Struct(">I")


class Ask(msgspec.Struct, frozen=True, tag=True):
    """One request. `ticket` comes back in `Settled`; `token` is the id of the token that asks (limits are per
    token and per tenant)."""

    ticket: int
    token: str
    observation: Observation


class Settled(msgspec.Struct, frozen=True, tag=True):
    """The answer to an `Ask`: everything up to `seq` is durable and holds its effect.

    `made`: the id of what the request made, or had made when it was first sent. `refused`: '' or disk_full or one of
    `leitstand.core.decision.Answer`; busy is over a limit: try again after `retry_after_s`. `detail`: numbers or names
    for the message.
    """

    ticket: int
    seq: int
    made: str = ""
    refused: str = ""
    detail: str = ""
    retry_after_s: int = 0


class Advanced(msgspec.Struct, frozen=True, tag=True):
    """The journal's head is now `seq`."""

    seq: int


Message = Ask | Settled | Advanced

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def pack(message: Message) -> bytes:
    """One frame; ValueError if it exceeds FRAME_MAX."""
    body = _encoder.encode(message)
    if len(body) > FRAME_MAX:
        raise ValueError(f"message of {len(body)} bytes exceeds the frame limit of {FRAME_MAX}")
    return HEADER.pack(len(body)) + body


def unpack(buffer: bytearray) -> list[Message]:
    """Takes all whole frames off the front of `buffer`; ValueError for a malformed or oversized one."""
    messages = []
    start = 0
    while len(buffer) - start >= HEADER.size:
        (length,) = HEADER.unpack_from(buffer, start)
        if length > FRAME_MAX:
            raise ValueError(f"frame of {length} bytes exceeds the limit of {FRAME_MAX}")
        if len(buffer) - start - HEADER.size < length:
            break
        body = memoryview(buffer)[start + HEADER.size : start + HEADER.size + length]
        try:
            messages.append(_decoder.decode(body))
        except msgspec.DecodeError as error:
            raise ValueError(f"malformed message: {error}") from error
        finally:
            body.release()
        start += HEADER.size + length
    del buffer[:start]
    return messages
