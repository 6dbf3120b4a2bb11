"""Makes VIReID-Synth v1 and writes its checksums to src/vireid/synthetic/v1_checksums.txt.

    python tools/v1_checksums.py DIR

Only a new platform of reference needs it: the list that is there was checked on two processors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from vireid.files import write_text
from vireid.synthetic import regenerate_v1
from vireid.synthetic.v1 import CHECKSUMS, checksums_of, folders

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the data set")
    out = parser.parse_args().out
    regenerate_v1(out)
    head = (
        "# VIReID-Synth v1, 16 hexadecimal digits of SHA-256 per folder; made with NumPy "
        f"{np.__version__}, OpenCV {cv2.__version__}\n"
    )
    checksums = checksums_of(out, folders())
    write_text(CHECKSUMS, head + "".join(f"{name} {sum_}\n" for name, sum_ in checksums.items()))
