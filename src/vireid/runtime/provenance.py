"""What a number depends on besides its options: versions and commit."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vireid.version import __version__


def versions() -> dict[str, str]:
    """Versions of what numbers depend on."""
    result = {"vireid": __version__, "python": platform.python_version()}
    for name in ("torch", "timm", "numpy"):
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            continue
    return result


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
