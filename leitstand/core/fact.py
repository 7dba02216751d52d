# SPDX-License-Identifier: Apache-2.0
"""The base of every fact. Used by `leitstand.core.facts` and `leitstand.core.acts`."""

import msgspec


class Fact(
    msgspec.Struct,
    frozen=True,
    tag_field="fact",
    tag=True,
    omit_defaults=True,
    gc=False,
    forbid_unknown_fields=True,
):
    """Base of everything that the journal can hold. A field unknown to this code was written by newer code: refused."""
