# SPDX-License-Identifier: Apache-2.0
"""Which reader reads a file: told by its suffix and its content, or by name. Called by `leitstand.twin.traces`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from leitstand.twin.reading.delimited import read_csv, read_swf
from leitstand.twin.reading.generator import is_generator, read_generated
from leitstand.twin.reading.kubernetes import is_kubernetes, read_kubernetes
from leitstand.twin.reading.nodes import BYTES_MAX, Loader, not_yaml, text_of
from leitstand.twin.reading.parquet import read_parquet
from leitstand.twin.reading.sacct import is_sacct, read_sacct
from leitstand.twin.reading.sacct_json import read_sacct_json
from leitstand.twin.reading.table import Form, Table, TraceError, file_errors, shown

HEAD_BYTES: Final = 65_536
_PACKED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
_YAML: Final = (".yaml", ".yml")


def read_table(path: Path, form: Form | None = None) -> Table:
    """The table in `path`; TraceError if it is none of the FORMATS."""
    form = form or Form()
    with file_errors(path):
        if path.stat().st_size == 0:
            raise TraceError(f"{path}: the file is empty (0 bytes); fetch or export it again")
        name = form.name or told_by(path)
        if name in ("parquet", "csv", "swf", "kueue"):
            _check_tenants(path, form)
        table = FORMATS[name](path, form)
    if not len(table.places) and not table.broken:
        raise TraceError(f"{path}: the file holds no job; a trace needs at least one")
    return table


def _check_tenants(path: Path, form: Form) -> None:
    if form.tenant_from:
        raise TraceError(f"{path}: this format has its tenants in one place only; leave --tenant-from out")


def told_by(path: Path) -> str:
    """The format of `path`, by its suffix where that says it, else by its beginning."""
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".swf"):
        return suffix[1:]
    if suffix in _YAML:
        return "yaml"
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(_PACKED):
        raise TraceError(f"{path}: is compressed; unpack it first")
    first = head.decode("utf-8-sig", "replace").lstrip().partition("\n")[0]
    if is_sacct(first):
        return "sacct"
    if suffix == ".csv":
        return "csv"
    if suffix == ".json" or first.startswith(("{", "[")):
        return "json"
    if first.startswith("JobID") or first.count("|") > 1:
        return "sacct"  # without header or separators: its reader says how to export it
    raise TraceError(
        f"{path}: neither suffix ({path.suffix or 'none'}) nor content is that of a trace; "
        f"name its format with --format: {', '.join(NAMES)}"
    )


# ── files that hold one tree ──────────────────────────────────────────────────────────────────────────────────────
def _read_json(path: Path, form: Form) -> Table:
    return _read_tree(path, form, _json(path))


def _read_yaml(path: Path, form: Form) -> Table:
    return _read_tree(path, form, _yaml(path))


def _read_tree(path: Path, form: Form, content: Any) -> Table:
    if is_generator(content):
        _check_tenants(path, form)
        return read_generated(path, form)
    if is_kubernetes(content):
        return read_kubernetes(path, content, form)
    if isinstance(content, dict) and isinstance(content.get("jobs"), list):
        return read_sacct_json(path, content, form)
    raise TraceError(
        f"{path}: is neither a listing of Kubernetes (kind, items) nor of sacct --json (jobs) nor a generator's "
        f"configuration (cohorts) but {_outline(content)}; export it again"
    )


def _read_kubernetes(path: Path, form: Form) -> Table:
    content = _yaml(path) if path.suffix.lower() in _YAML else _json(path)
    return read_kubernetes(path, content, form)


def _read_sacct_json(path: Path, form: Form) -> Table:
    return read_sacct_json(path, _json(path), form)


def _json(path: Path) -> Any:
    if path.stat().st_size > BYTES_MAX:
        raise TraceError(f"{path}: is over {BYTES_MAX} bytes long; export a shorter span of time")
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except msgspec.DecodeError as error:
        raise TraceError(
            f"{path}: is not whole JSON: {error}; it may be truncated: export it again"
        ) from error


class _Plain(Loader):  # type: ignore[misc]
    """YAML whose moments stay text, as they are in JSON."""

    yaml_implicit_resolvers = {
        first: [(tag, found) for tag, found in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()
    }


def _yaml(path: Path) -> Any:
    try:
        return yaml.load(text_of(path), Loader=_Plain)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, TraceError):
            raise
        raise not_yaml(path, error) from error


def _outline(content: Any) -> str:
    if isinstance(content, dict):
        return f"an object with {shown(', '.join(map(str, content)) or 'nothing in it')}"
    return f"a {type(content).__name__}"


FORMATS: Final[dict[str, Callable[[Path, Form], Table]]] = {
    "parquet": read_parquet,
    "csv": read_csv,
    "swf": read_swf,
    "sacct": read_sacct,
    "sacct-json": _read_sacct_json,
    "kubernetes": _read_kubernetes,
    "kueue": read_generated,
    "json": _read_json,
    "yaml": _read_yaml,
}
NAMES: Final = tuple(name for name in FORMATS if name not in ("json", "yaml"))
