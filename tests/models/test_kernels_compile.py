"""Our kernels compile for a GPU where there is none: the interpreter lets types pass that don't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="our kernels need Triton")

# For each kernel, the constants of each of its variants. What a parameter is, its name tells.
SCRIPT = """
import re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vireid.models import layer_kernels, norm_kernels, shift_kernels, stem_kernels

TILE = {"ROWS": 32, "COLUMNS": 64}
SUMS = {**TILE, "STAGES": 4}
FEW = {"PARTS": 128, "COLUMNS": 16}
WHOLE = {"ROWS": 8, "COLUMNS": 512}
LINES = {"POSITIONS": 1024}
MORE = {"MORE": True, "FROM_Y": True, "NORM": True}
LESS = dict.fromkeys(MORE, False)
KERNELS = {
    norm_kernels: {
        "moments": [SUMS], "statistics": [FEW], "running": [{"COLUMNS": 16}],
        "normalise": [TILE | {"OTHER": True, "NORM": flag} for flag in (True, False)],
        "gradient_sums": [SUMS | MORE, SUMS | LESS], "gradient_factors": [FEW],
        "gradient": [TILE | {"RELU": flag, "NORM": not flag} for flag in (True, False)],
        "pool": [TILE], "pool_gradient": [TILE], "cast": [{"NUMBERS": 4096}],
    },
    layer_kernels: {
        "project": [WHOLE], "pair": [LINES], "scale": [{"IMAGES": 128, "COLUMNS": 128}],
        "add": [WHOLE], "scale_gradient_sums": [WHOLE | {"MORE": True}], "scale_gradient": [FEW],
        "projected_gradient": [LINES | {"PROGRAMS": 128}],
        "project_gradient": [WHOLE | {"MORE": True}],
        "add_project_gradient": [FEW | {"IMAGES": 128}],
        "pool": [TILE | {"CUBED": True, "SIGNED": True}],
        "pool_gradient": [TILE | {"CUBED": True, "SIGNED": True}],
    },
    shift_kernels: {
        name: [{"WIDE": 16, "CHANNELS": 64, "STAGES": 3}]
        for name in ("peaks", "peaks_gradient", "gate", "gate_gradient")
    } | {
        name: [{"HIGH": 32, "WIDE": 16, "CHANNELS": 32}] for name in ("profile", "profile_gradient")
    },
    stem_kernels: {
        "pack": [{"PLACES": 128}], "pack_weight": [{"CHANNELS": 64}],
        "convolve": [{"WIDEN": False, "CHANNELS": 64, "ROWS": 128}],
        "weight_gradient": [{"WIDEN": False, "CHANNELS": 64, "ROWS": 64}],
        "add_weight_gradient": [{"CHANNELS": 64, "PARTS": 64}],
    },
}
NUMBERS = r"eps|momentum|count|.*count"
COUNTS = (
    r"rows|channels|parts|which|high.*|wide.*|each|positions|images|programs|by_.*|count\\d"
)
MAPS = r"x|y|a|b|p|da|db|dp|dx_more|largest|winners|dx|dy|dy_more|other|dother|passed|won_by|out|image|packed|to\\d"


def kind(name):
    if re.fullmatch(COUNTS, name):
        return "i32"
    if re.fullmatch(NUMBERS, name):
        return "fp32"
    if re.fullmatch(MAPS, name):
        return "*bf16"
    return {"winner": "*u8", "tracked": "*i64"}.get(name, "*fp32")


for module, kernels in KERNELS.items():
    found = {name for name, value in vars(module).items() if isinstance(value, triton.JITFunction)}
    own = {name for name in found if getattr(module, name).fn.__module__ == module.__name__}
    missing = {name for name in own if not name.startswith("_")} - set(kernels)
    assert not missing, f"no variants of {missing}"
    for name, variants in kernels.items():
        kernel = getattr(module, name)
        for constants in variants:
            names = kernel.arg_names
            kinds = {n: "constexpr" if n in constants else kind(n) for n in names}
            if name == "pack" and module is stem_kernels:
                kinds["x"] = "*fp32"
            if name == "pack_weight":
                kinds["weight"] = "*fp32"
            if name == "convolve":
                kinds["weight"] = "*bf16"
            if module is layer_kernels and name in ("pool", "pool_gradient"):
                kinds |= {n: "*fp32" for n in ("dy" if name == "pool_gradient" else "y", "y")
                          if n in kinds}
            places = {(names.index(n),): value for n, value in constants.items()}
            lie = {(names.index(n),): [["tt.divisibility", 16]] for n in names
                   if kinds[n].startswith("*") or n == "channels"}
            source = ASTSource(kernel, kinds, places, lie)
            triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
            print(module.__name__, name, flush=True)
"""


@pytest.mark.long
def test_all_kernels_compile_for_an_h100(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) >= 26
