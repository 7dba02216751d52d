# SPDX-License-Identifier: Apache-2.0
"""The settings file of an identity provider: read as it is meant, refused with every fault at once."""

from pathlib import Path

import pytest

from leitstand.access.oidc_settings import (
    FILE_BYTES_MAX,
    GroupRole,
    ProviderSettings,
    SettingsWrong,
    read,
    url_fault,
)
from leitstand.access.roles import Grant

GOOD = """\
issuer: https://id.example.org/realms/cloud
client_id: leitstand
client_secret_file: oidc.secret
group_claim: realm_access.roles
scopes: [openid, profile, groups]
skew_s: 5
title: Example University
mapping:
  - {group: cloud-operators, role: operator}
  - {group: acme-admins, role: tenant_admin, tenant: acme}
  - {group: acme-vision, role: member, tenant: acme, project: vision}
"""


def faults(tmp_path: Path, text: str | bytes) -> tuple[str, ...]:
    path = tmp_path / "provider.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsWrong) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert all(fault in str(caught.value) for fault in caught.value.faults)
    return caught.value.faults


def test_a_file_is_read_as_it_is_meant(tmp_path: Path) -> None:
    (tmp_path / "oidc.secret").write_text("s3cret\n")
    path = tmp_path / "provider.yaml"
    path.write_text(GOOD)
    assert read(path) == ProviderSettings(
        issuer="https://id.example.org/realms/cloud",
        client_id="leitstand",
        client_secret="s3cret",
        group_claim="realm_access.roles",
        scopes=("openid", "profile", "groups"),
        skew_s=5,
        title="Example University",
        mapping=(
            GroupRole("cloud-operators", Grant("operator")),
            GroupRole("acme-admins", Grant("tenant_admin", "acme")),
            GroupRole("acme-vision", Grant("member", "acme", "vision")),
        ),
    )


def test_json_will_do_and_most_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "provider.json"
    path.write_text('{"issuer": "http://127.0.0.1:9000", "client_id": "x"}')
    assert read(path) == ProviderSettings(issuer="http://127.0.0.1:9000", client_id="x")


def test_every_fault_is_told_at_once_and_no_secret_with_it(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """\
issuer: http://id.example.org?x=1
clientid: leitstand
client_secret: 987654321
client_secret_file: missing
scopes: [profile]
skew_s: 3600
mapping:
  - {group: a, role: king}
  - {group: a, role: member}
  - {group: a, role: operator, tenant: acme}
  - {group: a, role: tenant_admin, tenant: acme, project: p}
  - {role: operator}
  - {group: 7, role: operator}
  - {group: a, role: operator, tenants: acme}
  - operator
""",
    )
    assert found == (
        "clientid: is unknown; did you mean 'client_id'?",
        "client_secret: must be text; put it in quotes",
        "client_id: is missing",
        "issuer: 'http://id.example.org?x=1' is not encrypted; use https:// (http:// is for this machine alone)",
        "scopes: must be a list of words, one of them openid",
        "skew_s: is 3600; 0 to 300 seconds",
        "client_secret_file: 'missing' cannot be read: No such file or directory",
        "mapping[0]: there is no role 'king'; known: operator, auditor, reviewer, tenant_admin, member, viewer",
        "mapping[1]: role 'member' needs a tenant",
        "mapping[2]: role 'operator' is of the platform, not of tenant 'acme'; leave the tenant out",
        "mapping[3]: role 'tenant_admin' is of a whole tenant; leave project 'p' out",
        "mapping[4]: group is missing",
        "mapping[5].group: must be text; put it in quotes",
        "mapping[6].tenants: is unknown; did you mean 'tenant'?",
        "mapping[7]: must have group, role, and where the role has them tenant and project",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no keys"),
        ("[]", "holds no keys"),
        ("a: [", "neither YAML nor JSON"),
        (b"\xff\xfe\x00", "neither YAML nor JSON"),
        ("[" * 5000, "neither YAML nor JSON"),
        ("!!python/object/apply:os.system [ls]", "neither YAML nor JSON"),
        (b"#" * (FILE_BYTES_MAX + 1), "larger than"),
        ("issuer: 1\nclient_id: x", "issuer: must be text"),
        ("issuer: https://x.example/?a=b\nclient_id: x", "must have no query"),
        ("issuer: https://x.example\nclient_id: x\nmapping: {a: b}", "mapping: must be a list"),
        ("issuer: https://x.example\nclient_id: x\nskew_s: true", "skew_s: is True"),
        ("issuer: https://x.example\nclient_id: x\n1: 2", "1: is unknown"),
    ],
)  # fmt: skip
def test_what_is_no_provider_file_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert any(said in fault for fault in faults(tmp_path, text))


def test_a_missing_file_and_an_empty_secret_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong, match="No such file"):
        read(tmp_path / "nowhere.yaml")
    (tmp_path / "oidc.secret").write_text("\n")
    assert faults(tmp_path, GOOD) == ("client_secret_file: 'oidc.secret' is empty",)
    both = GOOD + "client_secret: y\n"
    assert "client_secret_file: is given beside client_secret; one of them is enough" in faults(
        tmp_path, both
    )


@pytest.mark.parametrize(
    ("url", "usable"),
    [
        ("https://id.example.org/realms/a", True),
        ("http://127.0.0.1:80/x", True),
        ("http://[::1]:80/x", True),
        ("http://localhost/x", True),
        ("http://id.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://localhost.example.org", False),
        ("http://2130706433", False),
        ("https://user:pass@id.example.org", False),
        ("https://id.example.org/#x", False),
        ("https://", False),
        ("https://id.example.org:port", False),
        ("https://[::1", False),
        ("file:///etc/passwd", False),
        ("javascript:alert(1)", False),
        ("", False),
    ],
)  # fmt: skip
def test_secrets_are_sent_encrypted_or_not_beyond_this_machine(url: str, usable: bool) -> None:
    assert (url_fault(url) == "") is usable
