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
from vireid.models import fused, fused_stem
from vireid.models import layer_kernels, norm_kernels, shift_kernels, stem_kernels
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
    images = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    fused_stem.normalise(images, (0.5,) * 3, (0.5,) * 3, torch.bfloat16)
compile_all(found, done)
for module in (layer_kernels, norm_kernels, shift_kernels, stem_kernels):
    own = {value for value in vars(module).values() if isinstance(value, Kernel)}
    missing = own - set(done.values())
    assert not missing, f"no launch of {[kernel.__name__ for kernel in missing]}"
print(len(done))
"""


# A whole step on the CPU, whose launches are noted only, so that its numbers mean nothing.
STEP = """
import torch
from vireid.embed.forward import _eager
from vireid.methods import Sizes, build_method, method_class
from vireid.models import fused, precompile
from vireid.models.fusing import fuse
from vireid.models.launches import noted
from vireid.models.precompile import launches_of
from vireid.runtime.precision import Precision
from vireid.types import Batch

fused.INTERPRETED = True  # so maps need not be on a GPU
labels, modality = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
for name, arch, dtype in (
    ("agw", "resnet50", torch.bfloat16), ("dns", "resnet50", torch.bfloat16),
    ("dns", "resnet18", torch.float16), ("deen", "resnet18", torch.float32),
):
    options = method_class(name).model_defaults(arch, "none")
    method = build_method(name, options, Sizes(num_pids=2, num_cameras=2)).train()
    fuse(method)
    before = {launch.name for launch in launches_of(method, dtype, torch.device("cpu"))}
    half = dtype != torch.float32
    with noted() as found, torch.autocast("cpu", dtype if half else None, enabled=half):
        terms = method(Batch(torch.zeros(4, 3, 96, 48), labels, labels, modality, 2))
        sum(terms.values()).backward()
    missing = {launch.name for launch in found} - before
    assert found and not missing, f"{name}, {arch}: {missing}"


def kernels_of(count):
    images = torch.zeros(count, 96, 48, 3, dtype=torch.uint8)
    with noted() as found:
        run(images, count)
    return {launch.name for launch in found}


# An embedding's kernels are compiled by a pass of four images.
for name in ("agw", "dns"):
    options = method_class(name).model_defaults("resnet50", "none")
    method = build_method(name, options, Sizes(num_pids=2, num_cameras=2)).eval()
    fuse(method, training=False)
    half = Precision(name="bfloat16", dtype=torch.bfloat16, scaled=False, why="")
    run = _eager(method, half, fused=True)
    compiled = []
    precompile._compile = lambda launches, device: compiled.extend(launches)
    with torch.inference_mode():
        images = torch.zeros(4, 96, 48, 3, dtype=torch.uint8)
        precompile.precompile_pass(lambda: run(images, 4), torch.device("cpu"))
        needed = kernels_of(9)
    names = [launch.name for launch in compiled]
    assert needed and sorted(names) == sorted(needed), f"{name}: {set(names) ^ needed}"
"""


def run(script: str, cache: Path) -> str:
    """What a script prints that has Triton's compiler, not its interpreter."""
    environment = dict(os.environ, TRITON_CACHE_DIR=str(cache))
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.long
def test_all_kernels_compile_for_an_h100(tmp_path: Path) -> None:
    assert int(run(SCRIPT, tmp_path)) >= 32


@pytest.mark.long
def test_a_step_needs_no_kernel_that_was_not_compiled_before(tmp_path: Path) -> None:
    run(STEP, tmp_path)
