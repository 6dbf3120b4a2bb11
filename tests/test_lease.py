"""benchmarks/lease.sh, with a Python that only keeps what it is asked for."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = r"""#!/usr/bin/env bash
echo "$(printf '%s\037' "$@")" >>"$CALLS" # in one write: several run at once
while [ $# -gt 0 ]; do
  [ "$1" = --name ] && name=$2
  shift
done
[ -z "${name:-}" ] || [ "$name" = "${FAILS:-}" ] || touch "$OUT/$name-2026-11-28.json"
"""


@pytest.mark.parametrize("fails", ["", "common-0"])
def test_every_command_of_a_lease_is_one_that_its_script_takes(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one before it left no result: what is merged is there."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("PYTHONPATH", "")
    import diagnosis
    import methods
    import whole_seeds

    programs = {"python3": PYTHON, "nvidia-smi": "#!/bin/sh\necho a GPU\n",
                "sleep": "#!/bin/sh\nexec /bin/sleep 0.05\n"}  # fmt: skip
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "OUT": str(tmp_path), "FAILS": fails,
           "W": str(tmp_path / "w"), "CALLS": str(tmp_path / "calls")}  # fmt: skip
    subprocess.run(["bash", "benchmarks/lease.sh", "0" * 12, "99"], cwd=ROOT,
                   env={**os.environ, **own}, check=True, capture_output=True)  # fmt: skip
    merged: dict[str, int] = {}
    others: set[str] = set()
    for line in (tmp_path / "calls").read_text().splitlines():
        script, *words = line.split("\x1f")[:-1]
        asked = argparse.Namespace()
        if script.endswith("whole_seeds.py"):
            monkeypatch.setattr(sys, "argv", [script, *words])
            asked = whole_seeds.arguments()
        elif script.endswith(("methods.py", "diagnosis.py")):
            asked = (methods if script.endswith("methods.py") else diagnosis).arguments(words)
        else:
            others.add(script)
            continue
        merge = [ROOT / path for path in asked.merge]
        assert all(path.is_file() for path in merge), line
        merged[getattr(asked, "name", None) or script] = len(merge)
    assert merged == {
        "benchmarks/whole_seeds.py": 0,
        "common-0": 0,
        "common": 0 if fails else 1,
        "diagnosis": 0,
    }
    assert others == {"benchmarks/train_synth_weights.py"}
