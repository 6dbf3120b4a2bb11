"""Run the tests marked `long` and record how they went, with date and machine.

make test-long
"""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from tempfile import TemporaryDirectory

from _common import ROOT, record


def main() -> None:
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.xml"
        began = time.monotonic()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-m",
                "long",
                f"--junitxml={result}",
                "-o",
                "addopts=-ra --strict-markers",
                *sys.argv[1:],
            ],
            cwd=ROOT,
            check=False,
        )
        rows = [
            {
                "test": f"{case.get('classname')}.{case.get('name')}",
                "result": next(
                    (child.tag for child in case if child.tag in {"failure", "error", "skipped"}),
                    "passed",
                ),
                "seconds": round(float(case.get("time", 0)), 1),
            }
            for case in ET.parse(result).getroot().iter("testcase")
        ]
    path = record(
        "long-tests",
        {
            "cases": rows,
            "exit_code": done.returncode,
            "seconds": round(time.monotonic() - began, 1),
        },
        table=rows or [{"test": "none"}],
        command="make test-long",
    )
    print(f"Recorded in {path}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
