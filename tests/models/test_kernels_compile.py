"""Our kernels compile for a GPU where there is none: the interpreter lets types pass that don't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="our kernels need Triton")

SCRIPT = """
import sys, torch, triton
from torch import nn
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vireid.methods import Sizes, build_method, method_class
from vireid.models import fused, layer_kernels, norm_kernels, shift_kernels, stem_kernels
from vireid.models.fusing import fuse
from vireid.models.launches import Kernel, noted
from vireid.models.precompile import launches_of

TYPES = {"bfloat16": "*bf16", "float32": "*fp32", "uint8": "*u8", "int64": "*i64"}
WORDS = ("num_warps", "num_stages")  # of Triton's own


def source_of(launch):
    kernel, kinds, values, lie = launch.kernel, {}, {}, {}
    given = dict(zip(kernel.arg_names, launch.args)) | launch.words
    for place, parameter in enumerate(kernel.params):
        value = given[parameter.name]
        if parameter.is_constexpr:
            kinds[parameter.name], values[(place,)] = "constexpr", value
            continue
        tensor = isinstance(value, torch.Tensor)
        kinds[parameter.name] = (
            TYPES[str(value.dtype).removeprefix("torch.")] if tensor
            else "fp32" if isinstance(value, float) else "i32"
        )
        if tensor or parameter.name == "channels":
            lie[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, kinds, values, lie)


def compile_all(launches, done):
    for launch in launches:
        if launch.name not in done:
            options = {key: value for key, value in launch.words.items() if key in WORDS}
            triton.compile(source_of(launch), target=GPUTarget("cuda", 90, 32), options=options)
            done[launch.name] = launch.kernel


done, cpu = {}, torch.device("cpu")
for name in ("agw", "dns"):
    options = method_class(name).model_defaults("resnet50", "none")
    network = build_method(name, options, Sizes(num_pids=2, num_cameras=2))
    fuse(network)
    compile_all(launches_of(network, torch.bfloat16, cpu), done)
with noted() as found, torch.no_grad():
    norm = nn.BatchNorm2d(64).eval()
    x = torch.ones(2, 64, 4, 4, dtype=torch.bfloat16)
    fused.norm_relu(norm, x)
compile_all(found, done)
for module in (layer_kernels, norm_kernels, shift_kernels, stem_kernels):
    own = {value for value in vars(module).values() if isinstance(value, Kernel)}
    missing = own - set(done.values())
    assert not missing, f"no launch of {[kernel.__name__ for kernel in missing]}"
print(len(done))
"""


@pytest.mark.long
def test_all_kernels_compile_for_an_h100(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= 32
