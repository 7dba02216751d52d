# SPDX-License-Identifier: Apache-2.0
"""The files of the pages: whole in both languages, ours alone, and served with the headers that keep them so."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from leitstand.api import permission
from leitstand.core.budgets import ORIGINS
from leitstand.core.onboarding import REFUSALS
from leitstand.core.people import ROLES
from leitstand.core.rules import TENANT_CLASSES, Onboarding
from leitstand.stores.legal import Contact, LegalIdentity, Linked
from leitstand.views.rows import STATES
from leitstand.web.pages import FOLDER, PAGES, TITLES

SCRIPTS = {file.name: file.read_text() for file in sorted(FOLDER.glob("*.js"))}
SENTENCE = re.compile(r"""\bt\(\s*(?:"((?:[^"\\]|\\.)*)"|'|`|[a-z])""")
IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"([^"]+)";', re.MULTILINE)


def sentences() -> set[str]:
    return {
        match[1] for text in SCRIPTS.values() for match in SENTENCE.finditer(text) if match[1] is not None
    }


def dictionary() -> dict[str, str]:
    return dict(re.findall(r'^  "((?:[^"\\]|\\.)*)": "((?:[^"\\]|\\.)*)",$', SCRIPTS["de.js"], re.MULTILINE))


def codes(name: str) -> dict[str, dict[str, str]]:
    """The codes that a dictionary has words for."""
    block = SCRIPTS[name].partition("export const codes = {")[2].partition("\n};")[0]
    kinds = re.findall(r"^  (\w+): \{(.*)\},$", block, re.MULTILINE)
    return {kind: dict(re.findall(r'"?([\w-]+)"?: "([^"]*)"', inside)) for kind, inside in kinds}


def literals(kind: type[msgspec.Struct], field: str) -> set[str]:
    found: Any = next(one.type for one in msgspec.structs.fields(kind) if one.name == field)
    return set(found.__args__)


def test_every_sentence_of_the_pages_has_a_german_one_and_no_german_one_is_left_over() -> None:
    said, known = sentences(), dictionary()
    assert len(said) > 150
    assert said - set(known) == set()
    assert set(known) - said == set()


def test_no_sentence_is_put_together_at_run_time() -> None:
    made = {
        name: match[0]
        for name, text in SCRIPTS.items()
        if name != "words.js"
        for match in SENTENCE.finditer(text)
        if match[1] is None
    }
    assert made == {}


def test_translations_keep_the_values_that_are_put_in() -> None:
    fields = re.compile(r"\{\w+\}")
    differ = {
        en for en, de in dictionary().items() if sorted(fields.findall(en)) != sorted(fields.findall(de))
    }
    assert differ == set()


def test_both_dictionaries_have_words_for_the_same_codes() -> None:
    english, german = codes("en.js"), codes("de.js")
    # what a reason says of a job comes in English from the API
    assert german["message"]
    german["message"] = {}
    assert {kind: set(words) for kind, words in english.items()} == {
        kind: set(words) for kind, words in german.items()
    }


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("state", set(STATES)),
        ("check", set(Onboarding().checks)),
        ("refusal", set(REFUSALS)),
        ("class", set(TENANT_CLASSES)),
        ("size", literals(LegalIdentity, "size_class")),
        ("ceiling", literals(LegalIdentity, "size_class")),
        ("contact", literals(Contact, "role")),
        ("relation", literals(Linked, "relation")),
        ("role", set(ROLES)),
        ("origin", set(ORIGINS)),
    ],
)
def test_every_code_of_the_api_has_a_word(kind: str, known: set[str]) -> None:
    assert known - set(codes("en.js")[kind]) == set()


def test_modules_import_what_others_export() -> None:
    for name, text in SCRIPTS.items():
        for names, source in IMPORT.findall(text):
            assert source.startswith("./"), f"{name} imports {source}"
            other = SCRIPTS[source.removeprefix("./")]
            for one in filter(None, (part.strip().split(" as ")[0] for part in names.split(","))):
                assert re.search(
                    rf"^export (?:async )?(?:const|function|class) {one}\b", other, re.MULTILINE
                ), f"{name} imports {one} from {source}"


def test_nothing_makes_markup_or_code_of_text() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setTimeout\(['\"]|DOMParser|"
        r"javascript:|https?://(?!www\.w3\.org/2000/svg)|\.style\b|localStorage\.setItem\([^K]"
    )
    found = [
        f"{file.name}: {match[0]}"
        for file in sorted(FOLDER.iterdir())
        for match in forbidden.finditer(file.read_text())
    ]
    assert found == []


def test_the_shell_has_no_inline_script_or_style() -> None:
    shell = (FOLDER / "shell.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", shell) == []
    assert re.findall(r"<style|\bstyle=|\bon\w+=", shell) == []


@pytest.fixture(scope="module")
def served() -> TestClient[Litestar]:
    return TestClient(Litestar(list(PAGES), openapi_config=None))


@pytest.mark.parametrize("path", [path for page in PAGES for path in sorted(page.paths)])
def test_each_file_is_for_strangers_says_its_kind_and_what_may_be_done_with_it(
    path: str, served: TestClient[Litestar]
) -> None:
    answer = served.get(path)
    assert answer.status_code == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] in ("no-referrer", "same-origin")
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(kinds.get(path.rpartition(".")[2], "text/html"))
    again = served.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_pages_name_the_action_that_lets_anybody_in_and_their_module_is_there() -> None:
    permission.check_routes((path, page) for page in PAGES for path in page.paths)
    assert {page.opt["action"] for page in PAGES} == {"open"}
    assert all(page.opt["strangers"] for page in PAGES)
    assert {f"{module}.js" for module, _ in TITLES.values()} <= set(SCRIPTS)


def test_modules_are_as_small_as_others() -> None:
    sizes = {file.name: len(file.read_text().splitlines()) for file in Path(FOLDER).iterdir()}
    assert {name: lines for name, lines in sizes.items() if lines > 350} == {}
