# SPDX-License-Identifier: Apache-2.0
"""`make wheelhouse`: everything that an installation needs, as wheels in one folder, for machines without a network.

    python -m deploy.wheelhouse build/wheelhouse

Beside the wheels lies `requirements.txt` with the digest of each, Leitstand's own among them; what is installed from it
with `--require-hashes` is what was made here. The wheels are for the platform and the Python that make them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.shipped import ROOT, locked, shipped

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def main(folder: Path) -> None:
    """Make the folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    listed = folder / "requirements.txt"
    listed.write_text("".join(f"{one.text}\n" for one in shipped(locked())))
    subprocess.run(
        [
            *PIP,
            "download",
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "-r",
            listed,
            "-d",
            folder,
        ],
        check=True,
    )
    own = own_wheel(folder)
    with listed.open("a") as file:
        file.write(
            f"{own.name.split('-')[0]}=={own.name.split('-')[1]} \\\n    --hash=sha256:{digest(own)}\n"
        )
    prove(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"wheelhouse: {len(list(folder.glob('*.whl')))} wheels, {size / 1e6:.0f} MB in {folder}")


def prove(folder: Path) -> None:
    """Install from the folder alone, as docs/running.md tells, into an environment that is thrown away."""
    with tempfile.TemporaryDirectory() as made:
        python, environment = (
            Path(made) / "bin" / "python",
            {"PATH": os.defpath, "PIP_CONFIG_FILE": os.devnull},
        )
        subprocess.run([sys.executable, "-m", "venv", made], check=True)
        subprocess.run(
            [python, *PIP[1:], "install", "--no-index", "--find-links", folder, "--require-hashes",
             "-r", folder / "requirements.txt"], check=True, env=environment,
        )  # fmt: skip
        subprocess.run([python, *PIP[1:], "check"], check=True, env=environment)
        subprocess.run([Path(made) / "bin" / "leitstand", "--version"], check=True, env=environment)
        load = "import leitstand.app.faces, leitstand.app.writer, leitstand.journal.postgres"
        subprocess.run([python, "-c", load], check=True, env=environment, cwd=made)


def own_wheel(folder: Path) -> Path:
    """Leitstand's own wheel, built into `folder` by what is installed; the same sources, the same bytes."""
    subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, str(ROOT)],
        check=True,
    )
    (own,) = folder.glob("leitstand-*.whl")
    return own


def digest(file: Path) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
