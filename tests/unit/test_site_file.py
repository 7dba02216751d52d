# SPDX-License-Identifier: Apache-2.0
"""What the file of a site may say, and what the book of sites keeps of it."""

from pathlib import Path

import pytest

from leitstand.engines import sitefile
from leitstand.engines.book import SITES_MAX, Clash, SiteBook, health_path
from leitstand.engines.health import Health, keep
from leitstand.engines.sitefile import SiteFile
from leitstand.engines.slurm.site import SlurmSite
from leitstand.runtime.yamlfile import YamlWrong

SITE = """\
name: aachen
engine: slurm
mode: directed
jurisdiction: de
operator: RWTH Aachen
slurm:
  conf: /etc/slurm/slurm.conf
  rest: http://slurm.example.org:6820
  token_file: /etc/leitstand/token
  folder: /shared/leitstand
  partition: leitstand
  parts: [leaf*]
  users: {acme: acme-runs}
expect: {nodes: 4, gpus: 32}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "site.yaml"
    file.write_text(text)
    return file


def made(name: str = "aachen", **slurm: object) -> SiteFile:
    given = {"conf": "/c", "rest": "unix:/r", "folder": f"/shared/{name}", "partition": name, **slurm}
    return sitefile.checked({"name": name, "engine": "slurm", "mode": "directed", "slurm": given})


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_file_is_read_as_it_is_written_and_kept_as_it_is_read(tmp_path: Path) -> None:
    file = sitefile.read(written(tmp_path, SITE))
    assert (file.name, file.mode, file.expect.gpus) == ("aachen", "directed", 32)
    assert file.slurm == SlurmSite(
        conf=Path("/etc/slurm/slurm.conf"),
        rest="http://slurm.example.org:6820",
        folder=Path("/shared/leitstand"),
        partition="leitstand",
        parts=("leaf*",),
        token_file=Path("/etc/leitstand/token"),
        users={"acme": "acme-runs"},
    )
    assert sitefile.decode(sitefile.encode(file)) == file
    assert sitefile.checked(sitefile.described(file)) == file


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: aachen", "nam: aachen", "1: 'nam' is unknown; did you mean 'name'?"),
        ("name: aachen", "name: Aachen", "1: is 'Aachen'; the name of a site is 1 to 63 of a-z, 0-9 and -"),
        ("name: aachen", "name: local", "1: is 'local', which is taken"),
        ("engine: slurm", "engine: kubernetes", "2: is 'kubernetes'; known: slurm"),
        ("mode: directed", "mode: direct", "3: is 'direct'; known: directed, delegated"),
        ("mode: directed\n", "", "1: 'mode' is missing here"),
        ("jurisdiction: de", "jurisdiction: DE", "4: is 'DE'; a jurisdiction is a word in small letters"),
        ("conf: /etc", "conf: etc", "7: is 'etc/slurm/slurm.conf'; give the whole path"),
        (
            "http://slurm.example.org:6820",
            "slurm.example.org",
            "8: is 'slurm.example.org'; give it like http",
        ),
        (
            "http://slurm.example.org:6820",
            "http://slurm:99999",
            "8: is 'http://slurm:99999': Port out of range",
        ),
        ("http://slurm.example.org:6820", "unix:rest", "8: is 'unix:rest'; give it like http"),
        ("  token_file: /etc/leitstand/token\n", "", "8: token_file is missing: slurmrestd at a port wants"),
        ("partition: leitstand", "partition: -p", "11: is '-p'; a name in Slurm is"),
        ("partition: leitstand", "partitions: x", "11: 'partitions' is unknown; did you mean 'partition'?"),
        ("parts: [leaf*]", "parts: [a b]", "12: has 'a b'; a part is a partition, or a pattern of some"),
        ("parts: [leaf*]", "parts: leaf*", "12: is no list"),
        ("acme: acme-runs", "acme: a b", "13: of acme is 'a b'; a name in Slurm is"),
        ("gpus: 32", "gpus: many", "14: is 'many', no whole number in 0..1000000"),
        ("gpus: 32", "gpus: -1", "14: is '-1', no whole number in 0..1000000"),
        ("mode: directed", "mode: delegated", "1: quota is to say either `gpus` or `nodes`"),
        ("mode: directed", "mode: directed\nquota: {gpus: 8}", "4: quota is for delegated sites"),
        (
            "mode: directed",
            "mode: delegated\nquota: {gpus: 8, nodes: 1}",
            "4: quota is to say either `gpus` or `nodes`",
        ),
        ("name: aachen", "name: [", "no YAML"),
        (SITE, "- a\n", "holds no mapping; it begins with keys like `name:`"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_a_remedy(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    file = written(tmp_path, SITE.replace(old, new))
    with pytest.raises(YamlWrong) as wrong:
        sitefile.read(file)
    assert str(wrong.value).startswith(str(file))
    assert said in str(wrong.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(YamlWrong, match="cannot be read: No such file"):
        sitefile.read(tmp_path / "none.yaml")
    (tmp_path / "site.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(YamlWrong, match="is no UTF-8 text"):
        sitefile.read(tmp_path / "site.yaml")


def test_the_example_is_right() -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "sites" / "slurm.yaml"
    assert sitefile.read(example).expect.gpus == 1024


# ── the book ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_put_is_there_and_changes_the_mark_until_it_is_removed(tmp_path: Path) -> None:
    book = SiteBook(tmp_path / "sites")
    empty = book.mark()
    assert (book.put(made()), book.put(made())) == (True, False)
    once = book.mark()
    assert once != empty
    assert not book.put(made(account="x"))
    assert book.mark() != once
    assert book.get("aachen") == made(account="x")
    assert (book.remove("aachen"), book.remove("aachen")) == (True, False)
    assert (book.read().sites, book.mark()) == ({}, empty)


def test_nobody_else_may_read_the_book(tmp_path: Path) -> None:
    SiteBook(tmp_path / "sites").put(made())
    assert (tmp_path / "sites").stat().st_mode & 0o077 == 0
    assert (tmp_path / "sites" / "aachen.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("slurm", "said"),
    [
        ({"folder": "/shared/aachen"}, "its folder /shared/aachen is that of site aachen"),
        ({"partition": "aachen"}, "its partition aachen is that of site aachen"),
        ({"partition": "aachen", "conf": "/other"}, "its partition aachen is that of site aachen"),
    ],
)
def test_two_sites_on_the_same_nodes_are_refused(tmp_path: Path, slurm: dict[str, str], said: str) -> None:
    book = SiteBook(tmp_path / "sites")
    book.put(made())
    with pytest.raises(Clash, match=said):
        book.put(made("bonn", **slurm))
    assert list(book.read().sites) == ["aachen"]


def test_no_more_sites_than_the_limit(tmp_path: Path) -> None:
    book = SiteBook(tmp_path / "sites")
    (tmp_path / "sites").mkdir()
    for number in range(SITES_MAX):
        (tmp_path / "sites" / f"s{number}.json").write_bytes(sitefile.encode(made(f"s{number}")))
    with pytest.raises(Clash, match="there are 100 sites, which is the limit"):
        book.put(made("one-more"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no JSON"),
        (b"[]", "Expected `object`"),
        (sitefile.encode(made("bonn")), "describes the site bonn"),
        (
            sitefile.encode(made()).replace(b"directed", b"delegated"),
            "quota is to say either `gpus` or `nodes`",
        ),
        (sitefile.encode(made()).replace(b'"unix:/r"', b'"ftp://r"'), "slurm.rest is 'ftp://r'"),
    ],
)
def test_a_damaged_file_is_named_and_takes_no_other_with_it(
    tmp_path: Path, content: bytes, said: str
) -> None:
    book = SiteBook(tmp_path / "sites")
    book.put(made("zz"))
    (tmp_path / "sites" / "aachen.json").write_bytes(content)
    pages = book.read()
    assert list(pages.sites) == ["zz"]
    assert said in pages.wrong["aachen"]
    assert str(tmp_path / "sites" / "aachen.json") in pages.wrong["aachen"]
    assert book.remove("aachen")


def test_health_is_as_it_was_kept_and_no_change_of_the_book(tmp_path: Path) -> None:
    book = SiteBook(tmp_path / "sites")
    book.put(made())
    before = book.mark()
    said = {"aachen": Health("the token has expired", 1, 2, "22.05.8", 4, 3, 24)}
    keep(health_path(tmp_path / "sites"), said)
    assert (book.health(), book.mark()) == (said, before)
    health_path(tmp_path / "sites").write_text("{")
    assert book.health() == {}


def test_a_book_of_nobody_is_empty() -> None:
    book = SiteBook(None)
    assert (book.writable, book.read().sites, book.health(), book.mark()) == (False, {}, {}, ())
