# SPDX-License-Identifier: Apache-2.0
"""The last catch: what goes wrong outside of us is one line and an exit code, never a traceback. No sockets."""

import os
import subprocess
import sys

import pytest

import leitstand.__main__ as module

ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "LEITSTAND_TOKEN": "x"}
ENVIRONMENT |= {"LEITSTAND_URL": "http://127.0.0.1:1"}  # nobody answers there
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)  # output is held back, as it is for users


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`line` in a shell in which `leitstand` is this one."""
    script = f'leitstand() {{ "{sys.executable}" -m leitstand "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", script],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("words", ["--help", "--version", "jobs --help"])
@pytest.mark.parametrize(
    ("redirection", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_an_output_that_cannot_be_written_is_one_line(words: str, redirection: str, why: str) -> None:
    done = shell(f"leitstand {words} {redirection}")
    assert done.returncode == 1
    assert done.stderr.decode() == f"Error: standard output cannot be written: {why}\n"


def test_closed_streams_do_not_lend_their_numbers_to_files() -> None:
    done = shell("leitstand jobs <&- 2>&-")
    assert done.returncode == 1
    assert done.stdout == b""
    assert shell("leitstand --version <&- 2>&-").stdout.startswith(b"leitstand ")


@pytest.mark.parametrize(
    "words",
    [
        r"job $'\xff\xfe'",
        r"jobs --tenant $'\xff'",
        r"submit --name $'\xff' -- true",
        r"up --data $'/dev/null/x\xff'",
        r"tenants add $'\xff' --class research",
        r"journal verify --data $'/dev/null/\xff'",
    ],
)
def test_words_that_are_not_utf8_are_refused_in_one_line(words: str) -> None:
    done = shell(f"leitstand {words}")
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr
    done.stderr.decode()


def test_a_path_that_no_setting_can_hold_is_refused_before_the_folder_is_made(
    tmp_path: os.PathLike[str],
) -> None:
    done = shell(rf"leitstand up --port 1 --data {os.fspath(tmp_path)}/$'x\xff'")
    assert done.returncode == 2
    assert b"is not UTF-8 text" in done.stderr
    assert os.listdir(tmp_path) == []


def test_signs_that_the_terminal_cannot_show_are_shown_by_their_numbers() -> None:
    done = shell("leitstand nothing-like-日本", PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    assert rb"\u65e5\u672c" in done.stderr
    script = "from leitstand import __main__ as m; import sys; sys.argv = ['leitstand', '--version']\n"
    script += "m.__version__ = '日本'; m.main()"
    out = subprocess.run(
        [sys.executable, "-c", script],
        env={**ENVIRONMENT, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
    )
    assert (out.returncode, out.stdout) == (0, rb"leitstand \u65e5\u672c" + b"\n")


def ending(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code when the command line raises `error`."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(module, "_command_line", fail)
    monkeypatch.setattr(module, "_drop_output", lambda: None)
    monkeypatch.setenv("LC_ALL", "C")
    with pytest.raises(SystemExit) as caught:
        module.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 1, "Aborted!\n"),
        (PermissionError(13, "Permission denied", "/etc/x"), 1, "Error: /etc/x: Permission denied\n"),
        (
            UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates"),
            2,
            "Error: 'a\\udcff' is not UTF-8 text.\n",
        ),
    ],
)
def test_what_comes_from_outside_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    assert ending(monkeypatch, error) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError("broken"), TypeError("x"), ValueError("x")])
def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with pytest.raises(type(error)):
        ending(monkeypatch, error)


def test_ctrl_c_while_the_commands_are_loaded_is_one_word() -> None:
    """The interrupt comes from inside the import of a module that every command loads."""
    code = (
        "import sys, signal, os, importlib.abc\n"
        "class Pull(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == NAME and sys.meta_path.pop(0): os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Pull())\n"
        "from leitstand.__main__ import main\n"
        "main()"
    )
    for name in ("click", "leitstand.cli.text", "httpx2", "leitstand.cli.table"):
        done = subprocess.run(
            [sys.executable, "-c", code.replace("NAME", repr(name)), "jobs"],
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1, (name, done.stderr)
        assert done.stderr.decode().strip() == "Aborted!", name
