# SPDX-License-Identifier: Apache-2.0
"""Tokens: made, told apart, kept as digests, and gone from whatever is logged."""

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leitstand.access.tokens import CLAIM, INVITATION, TOKEN, digest, has_form, make, redacted

KINDS = (TOKEN, INVITATION, CLAIM)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_has_its_form_and_no_other(kind: str) -> None:
    secret = make(kind)  # type: ignore[arg-type]
    assert len(secret) == 47
    assert [has_form(secret, other) for other in KINDS] == [kind == other for other in KINDS]
    assert make(kind) != secret  # type: ignore[arg-type]
    assert digest(secret) == hashlib.sha256(secret.encode()).hexdigest()


@pytest.mark.parametrize(
    "text",
    ["", "lst_", "lst_" + "a" * 42, "lst_" + "a" * 44, "lst_" + "a" * 42 + "=", "LST_" + "a" * 43,
     "lst_" + "a" * 43 + "\n", "lst_" + "ä" * 43, "lst_" + "٣" * 43],
)  # fmt: skip
def test_what_cannot_be_a_token_has_not_its_form(text: str) -> None:
    assert not has_form(text, TOKEN)


@given(before=st.text(max_size=20), after=st.text(max_size=20), kind=st.sampled_from(KINDS))
@example(before="Bearer", after="", kind="lst")
@example(before="%20", after="%0a", kind="lsi")
def test_no_secret_is_left_in_a_text_wherever_it_stands(before: str, after: str, kind: str) -> None:
    secret = make(kind)  # type: ignore[arg-type]
    shown = redacted(before + secret + after)
    assert secret not in shown
    assert secret[8:40] not in shown
    assert f"{kind}_…" in shown


def test_the_rest_of_the_text_stays() -> None:
    secret = make(TOKEN)
    assert (
        redacted(f"GET /x?token={secret}&a=1 false_x whilst_y") == "GET /x?token=lst_…&a=1 false_x whilst_y"
    )
    assert redacted(f"cut off: {secret[:9]}") == "cut off: lst_…"
    assert redacted("lst_… lsi_…") == "lst_… lsi_…"
