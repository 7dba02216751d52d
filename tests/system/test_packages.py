# SPDX-License-Identifier: Apache-2.0
"""`pip install` in real runs: it installs for the tenant, for all its jobs, for nobody else, and never into the
installation. Isolated, where root runs this, and not; no package comes from a network.
"""

import base64
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from leitstand.engines.local import packages
from leitstand.engines.local.tenants import Tenants, namespaces_here
from leitstand.runtime.spec import RunSpec
from tests.conformance.engine_cases import LocalCase, eventually

pytestmark = pytest.mark.system
UIDS = range(first := 1_500_000 + os.getpid() * 10, first + 10)
USERS_PYTHON = Path("/usr/bin/python3")  # one that everybody can execute


def wheel(folder: Path, name: str, version: str) -> Path:
    """A package of one module, which says its version, and one program, which says its name."""
    content = {
        f"{name}.py": f'__version__ = "{version}"\ndef main(): print("program {name}")\n',
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-{version}.dist-info/entry_points.txt": f"[console_scripts]\nsay-{name} = {name}:main\n",
    }
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}"
        for path, text in content.items()
    ]
    content[f"{name}-{version}.dist-info/RECORD"] = "\n".join(
        [*lines, f"{name}-{version}.dist-info/RECORD,,", ""]
    )
    packed = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(packed, "w") as file:
        for path, text in content.items():
            file.writestr(path, text)
    return packed


@pytest.fixture
def spot() -> Iterator[Path]:
    """A folder that every user can reach, and not in /tmp, which isolated runs do not see."""
    folder = Path(tempfile.mkdtemp(prefix="leitstand-test-", dir="/var/lib" if os.geteuid() == 0 else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["namespaces", "users", "off"])
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(level: str, spot: Path) -> Iterator[LocalCase]:
    if level != "off" and os.geteuid() != 0:
        pytest.skip("only root can give tenants user ids of their own")
    if level == "namespaces" and not namespaces_here():
        pytest.skip("the operating system refuses namespaces here")
    (spot / "data").mkdir(mode=0o700)
    tenants = None
    if level != "off":
        python = USERS_PYTHON if level == "users" else None
        tenants = Tenants(spot / "data", UIDS, namespaces=level == "namespaces", python=python)
    opened = LocalCase(spot / "data", tenants=tenants)
    yield opened
    opened.close()
    eventually(lambda: not list(opened.folders.live()), "the end of all runs")


def run(case: LocalCase, tenant: str, name: str, script: str, setup: str = "") -> str:
    """The log of a run that has to succeed."""
    order = case.execution(name, RunSpec(script=script, setup=setup))
    case.send(msgspec.structs.replace(order, tenant=tenant))
    assert case.end(name).exit_code == 0, case.log(name)
    return case.log(name)


def environment(case: LocalCase, tenant: str) -> Path:
    (found,) = (case.folders.path.parent / "homes" / tenant).glob(".python-?.??")
    return found


def everything(*folders: str) -> set[tuple[str, int, int]]:
    """All files of an installation but what Python compiles there: name, length and time of change."""
    return {
        (path, (found := os.lstat(path)).st_size, found.st_mtime_ns)
        for folder in folders
        for at, _, names in os.walk(folder)
        for path in (os.path.join(at, name) for name in names)
        if not path.endswith(".pyc")
    }


def has_pip(level: str) -> bool:
    return level != "users" or os.path.exists("/usr/lib/python3/dist-packages/pip")


INSTALL = "pip install -q --no-index --disable-pip-version-check"
LOOK = "python -c 'import tiny; print(tiny.__version__)'"


def test_what_setup_installs_is_the_tenants_in_all_its_jobs_and_nobody_elses(
    case: LocalCase, level: str, spot: Path
) -> None:
    if not has_pip(level):
        pytest.skip(f"{USERS_PYTHON} has no pip")
    packed = wheel(spot, "tiny", "1.0")
    installation = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    installation.append(os.path.join(sys.prefix, "bin"))
    before = everything(*installation)
    (spot / "requirements.txt").write_text(f"{packed}\n")
    said = run(
        case, "acme", "acme-1.1", LOOK + "; say-tiny", f"{INSTALL} -r {spot}/requirements.txt; python -m tiny"
    )
    assert said.splitlines()[-2:] == ["1.0", "program tiny"]
    assert run(case, "acme", "acme-2.1", f"{LOOK}; which say-tiny").splitlines() == [
        "1.0", f"{environment(case, 'acme')}/bin/say-tiny"
    ]  # fmt: skip
    assert (
        "no module" in run(case, "beta", "beta-1.1", f"{LOOK} 2>&1 | grep -o 'No module' || exit 1").lower()
    )
    assert (
        run(case, "operator", "operator-1.1", f"{INSTALL} --user {packed}; {LOOK}").splitlines()[-1] == "1.0"
    )
    assert run(case, "operator", "operator-2.1", LOOK) == "1.0\n"
    assert everything(*installation) == before


def test_a_newer_version_of_what_the_installation_has_goes_in_front_of_it(
    case: LocalCase, level: str, spot: Path
) -> None:
    if not has_pip(level):
        pytest.skip(f"{USERS_PYTHON} has no pip")
    look = "python -c 'import pip; print(pip.__version__)'"
    first = run(case, "acme", "acme-1.1", look).strip()
    newer = wheel(spot, "pip", "9999.0")
    said = run(case, "acme", "acme-2.1", look, f"{INSTALL} -U {newer}").strip()
    assert (said.splitlines()[-1], first == "9999.0") == ("9999.0", False)
    assert run(case, "acme", "acme-3.1", look).strip() == "9999.0"
    assert run(case, "beta", "beta-1.1", look).strip() == first


def test_the_packages_of_the_installation_are_there_and_cannot_be_written_to(spot: Path) -> None:
    data = spot / "data"
    isolated = os.geteuid() == 0 and namespaces_here()
    data.mkdir()
    case = LocalCase(data, tenants=Tenants(data, UIDS, namespaces=True) if isolated else None)
    try:
        look = "python3 -c 'import os, msgspec, sys; print(msgspec.__file__, os.access(msgspec.__file__, os.W_OK))'"
        assert run(case, "acme", "acme-1.1", look) == f"{msgspec.__file__} {not isolated}\n"
    finally:
        case.close()


def test_a_job_finds_its_environment_first_and_nothing_of_the_control_planes_own(
    case: LocalCase, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.path.join(sys.prefix, "bin")
    monkeypatch.setenv("PATH", f"{own}:.:/opt/tools:{Path.home()}/private/bin:/usr/bin:/bin")
    monkeypatch.setattr("sys.base_prefix", "/usr")  # a system's own: its folder is everybody's
    path, prefix, home = run(
        case, "acme", "acme-1.1", "echo $PATH; echo $VIRTUAL_ENV; echo $HOME"
    ).splitlines()
    private = [f"{Path.home()}/private/bin"] if level == "off" else []
    first = environment(case, "acme")
    tools = ["/usr/bin"] if level == "users" else []
    expected = [f"{first}/bin", f"{home}/.local/bin", *tools, "/opt/tools", *private]
    expected += [folder for folder in ("/usr/bin", "/bin") if folder not in tools]
    assert (path.split(":"), prefix) == (expected, str(first))


@pytest.mark.parametrize(
    "damage",
    [
        "rm $VIRTUAL_ENV/bin/python", "rm -r $VIRTUAL_ENV/bin", "rm $VIRTUAL_ENV/pyvenv.cfg",
        "rm -r $VIRTUAL_ENV/lib/*/site-packages; ln -s /etc $(echo $VIRTUAL_ENV/lib/*)/site-packages",
        "chmod 500 $VIRTUAL_ENV; rm -f $VIRTUAL_ENV/bin/pip*", "rm -r $VIRTUAL_ENV; touch $VIRTUAL_ENV",
        "rm -r $VIRTUAL_ENV; ln -s /etc $VIRTUAL_ENV", "rm -r $VIRTUAL_ENV; mkfifo $VIRTUAL_ENV",
        "rm -r $VIRTUAL_ENV; chmod 500 $(dirname $VIRTUAL_ENV)",
        "mv $VIRTUAL_ENV/bin $VIRTUAL_ENV/b; touch $VIRTUAL_ENV/bin",
    ],
)  # fmt: skip
def test_a_damaged_environment_is_made_anew_for_the_next_run(spot: Path, damage: str) -> None:
    data = spot / "data"
    data.mkdir()
    isolated = os.geteuid() == 0 and namespaces_here()
    case = LocalCase(data, tenants=Tenants(data, UIDS, namespaces=True) if isolated else None)
    etc = sorted(os.listdir("/etc"))
    try:
        run(case, "acme", "acme-1.1", damage)
        look = "python -c 'import sys, msgspec; print(sys.prefix)'; pip --version > /dev/null"
        assert run(case, "acme", "acme-2.1", look).strip() == str(environment(case, "acme"))
    finally:
        case.close()
    assert sorted(os.listdir("/etc")) == etc


def test_a_tenant_can_have_an_environment_of_its_own_choice(case: LocalCase, level: str) -> None:
    own = (
        "python -m venv --without-pip own; . own/bin/activate; python -c 'import sys; print(sys.prefix)'; pwd"
    )
    prefix, work = run(case, "acme", "acme-1.1", own).splitlines()
    assert prefix == f"{work}/own"


def test_packages_outlive_the_repair(case: LocalCase, spot: Path) -> None:
    add = "echo '__version__ = 7' > $(echo $VIRTUAL_ENV/lib/python3*/site-packages)/tiny.py"
    run(case, "acme", "acme-1.1", f"{add}; rm $VIRTUAL_ENV/bin/python*")
    assert run(case, "acme", "acme-2.1", LOOK) == "7\n"


def test_first_runs_at_the_same_time_all_have_the_environment(case: LocalCase) -> None:
    names = [f"acme-{number}.1" for number in range(8)]
    for name in names:
        case.runs_for("acme", name, "python -c 'import sys; print(sys.prefix)'")
    assert [case.end(name).exit_code for name in names] == [0] * 8, [case.log(name) for name in names]
    assert {case.log(name).strip() for name in names} == {str(environment(case, "acme"))}
    home = case.folders.path.parent / "homes" / "acme"
    assert [path.name for path in home.iterdir()] == [environment(case, "acme").name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give tenants user ids of their own")
def test_an_interpreter_that_does_not_answer_is_refused_by_name(spot: Path) -> None:
    (spot / "python").write_text("#!/bin/sh\nexit 3\n")
    (spot / "python").chmod(0o755)
    data = spot / "data"
    data.mkdir()
    case = LocalCase(data, tenants=Tenants(data, UIDS, namespaces=True, python=spot / "python"))
    try:
        case.runs_for("acme", "acme-1.1", "true")
        assert case.end("acme-1.1").detail == "environment_failed"
        assert f"{spot}/python, from which environments are made, does not answer" in case.log("acme-1.1")
    finally:
        case.close()


def test_an_environment_that_is_whole_is_not_looked_into(tmp_path: Path) -> None:
    """What a tenant puts in the way must not make the control plane wait, as opening a pipe would."""
    wanted = packages.environment(tmp_path, Path(sys.executable))
    from leitstand.engines.local import lay

    lay.lay_as(None, {"path": str(wanted.path), "links": wanted.links, "files": wanted.files})
    assert wanted.is_whole(os.geteuid())
    assert not wanted.is_whole(os.geteuid() + 1)
    (wanted.path / "pyvenv.cfg").unlink()
    os.mkfifo(wanted.path / "pyvenv.cfg")
    assert not wanted.is_whole(os.geteuid())
