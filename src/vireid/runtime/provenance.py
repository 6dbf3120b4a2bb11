"""What a number depends on besides its options: versions, commit and the package's own code."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vireid.version import __version__


def versions() -> dict[str, str]:
    """Versions of what numbers depend on."""
    result = {"vireid": __version__, "python": platform.python_version()}
    for name in ("torch", "timm", "numpy", "scipy", "numba", "pillow"):
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            continue
    return result


@functools.cache
def package_hash() -> str:
    """SHA-256 over the Python files of this package, as 64 hexadecimal digits."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def commit() -> str | None:
    """The commit of the checkout that this package runs from, or None."""
    folder = Path(__file__).parents[1]
    if not (folder.parents[1] / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None  # no git on this machine
    return done.stdout.strip() or None
