# SPDX-License-Identifier: Apache-2.0
"""What the blobs promise: whole or absent, archives alone, each tenant's its own, within limits, deleted when due."""

import bz2
import gzip
import hashlib
import lzma
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from leitstand.stores import blobs as module
from leitstand.stores.blobs import Blobs, NotAnArchive, Retention, Room, TenantFull, TooLarge, WrongDigest
from tests.unit.archives import archive


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(blobs: Blobs, tenant: str, content: bytes) -> str:
    with blobs.upload(tenant, sha256(content)) as upload:
        upload.write(content)
        upload.commit()
    return sha256(content)


def test_a_blob_appears_under_its_digest_when_committed_and_not_before(tmp_path: Path) -> None:
    content = archive()
    blobs, digest = Blobs(tmp_path), sha256(content)
    with blobs.upload("acme", digest) as upload:
        upload.write(content[:7])
        upload.write(content[7:])
        assert blobs.open("acme", digest) is None
        upload.commit()
    path = blobs.open("acme", digest)
    assert path == tmp_path / "acme" / digest[:2] / digest[2:]
    assert path is not None
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o077 == 0


def test_wrong_bytes_too_many_bytes_and_a_broken_upload_leave_nothing(tmp_path: Path) -> None:
    blobs, digest = Blobs(tmp_path, bytes_max=8), sha256(b"hello")
    with blobs.upload("acme", digest) as upload:
        upload.write(b"jello")
        with pytest.raises(WrongDigest, match=digest):
            upload.commit()
    with blobs.upload("acme", digest) as upload, pytest.raises(TooLarge, match="8 bytes"):
        upload.write(b"123456789")
    with blobs.upload("acme", digest) as upload:
        upload.write(b"hel")  # and the client hangs up
    assert list(tmp_path.iterdir()) == []


def test_a_small_upload_that_unpacks_to_much_is_not_unpacked_to_look_at_it(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 64 << 20  # tarfile itself would read all of it into memory
    bomb = bz2.compress(header.tobuf(tarfile.PAX_FORMAT) + bytes(64 << 20))
    tracemalloc.start()
    try:
        put(Blobs(tmp_path), "acme", bomb)
        (_, peak) = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(bomb) < 1024
    assert peak < 16 << 20


def test_archives_plain_compressed_and_of_nothing_are_kept(tmp_path: Path) -> None:
    blobs, plain = Blobs(tmp_path), gzip.decompress(archive())
    for content in (plain, gzip.compress(plain), bz2.compress(plain), lzma.compress(plain), bytes(10_240)):
        digest = put(blobs, "acme", content)
        kept = blobs.open("acme", digest)
        assert kept is not None
        assert kept.read_bytes() == content


@pytest.mark.parametrize(
    "start",
    [b"", b"hello", b"PK\x03\x04", b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\xfd7zXZ\0", b"BZh9"],
)
@pytest.mark.parametrize("more", [0, 600])
def test_what_is_no_tar_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, start: bytes, more: int
) -> None:
    blobs, content = Blobs(tmp_path), start + b"x" * more
    with pytest.raises(NotAnArchive, match="no tar archive"):
        put(blobs, "acme", content)
    assert list(tmp_path.iterdir()) == []


def test_no_tenant_has_what_another_sent(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digest = put(blobs, "acme", archive())
    assert blobs.open("umbrella", digest) is None
    put(blobs, "umbrella", archive())
    assert blobs.erase("acme") == 1
    assert blobs.open("acme", digest) is None
    assert not (tmp_path / "acme").exists()
    assert blobs.open("umbrella", digest) is not None


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "AB" * 32, "0" * 63])
def test_a_name_that_is_no_digest_opens_nothing(tmp_path: Path, name: str) -> None:
    blobs = Blobs(tmp_path)
    assert blobs.open("acme", name) is None
    with pytest.raises(ValueError, match="SHA-256"):
        blobs.upload("acme", name)


@pytest.mark.parametrize("tenant", ["", ".", "..", "../acme", ".hidden", "a/b", "a\0", "x" * 64])
def test_a_name_that_is_no_tenant_leads_nowhere(tmp_path: Path, tenant: str) -> None:
    blobs = Blobs(tmp_path / "blobs")
    assert blobs.open(tenant, "0" * 64) is None
    with pytest.raises(ValueError, match="tenant"):
        blobs.upload(tenant, "0" * 64)
    outside = tmp_path / "acme"
    outside.mkdir()
    assert blobs.erase(tenant) == 0
    assert outside.exists()
    assert (tmp_path / "blobs").exists()


def test_a_tenant_keeps_no_more_than_its_room_and_others_do_not_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = archive("one"), archive("two")
    blobs = Blobs(tmp_path, room=Room(tenant_bytes=len(one) + len(two) - 1))
    put(blobs, "acme", one)
    with pytest.raises(TenantFull, match=rf"'acme' keeps archives of {len(one)} bytes; {len(two)} more"):
        put(blobs, "acme", two)
    put(blobs, "umbrella", two)
    assert [path.name for path in tmp_path.glob("upload-*")] == []
    monkeypatch.setattr(module, "TENANT_BLOBS_MAX", 1)
    with pytest.raises(TenantFull, match="the limit is 1"):
        put(blobs, "umbrella", archive(""))


def test_pruning_keeps_what_is_recent_small_enough_or_in_use_for_each_tenant(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digests = []
    for age_s, text in ((10, "a"), (20, "b"), (30, "c"), (1000, "d"), (1000, "e")):
        digests.append(put(blobs, "acme", archive(text)))
        path = blobs.open("acme", digests[-1])
        assert path is not None
        os.utime(path, (100_000 - age_s, 100_000 - age_s))
    other = blobs.open("umbrella", put(blobs, "umbrella", archive("f")))
    assert other is not None
    os.utime(other, (100_000 - 40, 100_000 - 40))
    dead = tmp_path / "upload-dead"
    dead.write_bytes(b"x")
    os.utime(dead, (0, 0))
    assert (
        blobs.prune(
            100_000, Retention(age_s=500, bytes_max=len(archive("a") + archive("b"))), keep={digests[4]}
        )
        == 2
    )
    kept = {blob.digest for blob in blobs.of("acme")}
    assert [digest in kept for digest in digests] == [True, True, False, False, True]
    assert other.exists()
    assert not dead.exists()


def test_what_lies_in_the_first_layout_becomes_the_operators(tmp_path: Path) -> None:
    content = archive()
    digest = sha256(content)
    (tmp_path / digest[:2]).mkdir()
    (tmp_path / digest[:2] / digest[2:]).write_bytes(content)
    # a tenant whose id looks like a folder of that layout
    named = put(Blobs(tmp_path), digest[:2], archive("another"))
    again = Blobs(tmp_path)
    assert again.open("operator", digest) is not None
    assert again.open(digest[:2], named) is not None
    assert again.open(digest[:2], digest) is None
