"""The data path: planning an epoch, augmenting a batch, decoding.

    python benchmarks/augmentation.py

One CPU thread for augmentation (a GPU too where there is one, waiting for it), beside
torchvision's transforms on the same images one by one; decoding by one and by all cores.
Images are noise: only speed is measured.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from _common import median_time, record
from PIL import Image
from torchvision.transforms import v2

from vireid.cores import usable_cores
from vireid.data import Augment, AugmentOptions, IdentitySampler, decode
from vireid.data.augment import ERASE_FILL, MEAN, STD
from vireid.data.decode_pool import decode_into

SIZE, ROWS, STEPS = (288, 144), 64, 696
OPTIONS = AugmentOptions(erase=0.8)
VISIBLE, INFRARED, IDENTITIES = 22_258, 11_909, 395  # SYSU-MM01's training set


def planning() -> dict[str, float]:
    """Seconds to plan an epoch of SYSU-MM01's size."""
    generator = np.random.default_rng(0)
    pids = np.concatenate([np.arange(n) % IDENTITIES for n in (VISIBLE, INFRARED)])
    modality = np.repeat([0, 1], [VISIBLE, INFRARED])
    order = generator.permutation(len(pids))
    sampler = IdentitySampler(
        pids[order], modality[order], pids_per_batch=8, images_per_pid=4, seed=0
    )
    augment = Augment(OPTIONS, SIZE)
    return {
        "plan_epoch_seconds": median_time(lambda: sampler.epoch(0)),
        "draw_epoch_seconds": median_time(
            lambda: augment.draw(ROWS, ROWS // 2, STEPS, seed=0, epoch=0)
        ),
    }


def augmenting() -> dict[str, float]:
    """Images a second: ours, batched, and torchvision's transforms one by one."""
    torch.set_num_threads(1)
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (ROWS, *SIZE, 3), dtype=np.uint8)
    )
    separate = [Image.fromarray(image.numpy()) for image in images]
    one_by_one = v2.Compose([
        v2.Pad(10), v2.RandomCrop(SIZE), v2.RandomHorizontalFlip(), v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD),
        v2.RandomErasing(0.8, (0.1, 0.8), (0.3, 1 / 0.3), list(ERASE_FILL)),
    ])  # fmt: skip
    augment = Augment(OPTIONS, SIZE)
    draws = torch.from_numpy(augment.draw(ROWS, ROWS // 2, 1, seed=0, epoch=0)[0])
    out = {
        "augment_cpu_img_per_s": ROWS / median_time(lambda: augment(images, draws), 15, 3),
        "torchvision_cpu_img_per_s": ROWS
        / median_time(lambda: torch.stack([one_by_one(image) for image in separate]), 7),
    }
    if torch.cuda.is_available():
        augment, images, draws = augment.cuda(), images.cuda(), draws.cuda()

        def on_gpu() -> None:
            augment(images, draws)
            torch.cuda.synchronize()

        out["augment_gpu_eager_img_per_s"] = ROWS / median_time(on_gpu, 30, 5)
    return out


def decoding() -> dict[str, float]:
    """Images a second from JPEG files of 11 to 12 kB."""
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.default_rng(0)
        files = []
        for number in range(1500):
            coarse = generator.integers(0, 256, (36, 14, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((112, 288), Image.Resampling.BILINEAR)
            noise = generator.integers(-9, 10, (288, 112, 1))
            image = Image.fromarray((np.array(image) + noise).clip(0, 255).astype(np.uint8))
            files.append(Path(folder) / f"{number}.jpg")
            image.save(files[-1], quality=88)
        size = float(np.mean([file.stat().st_size for file in files]))
        pixels = np.memmap(
            Path(folder) / "pixels", dtype=np.uint8, mode="w+", shape=(len(files), *SIZE, 3)
        )

        def all_cores() -> None:
            rows = range(len(files))
            problems = [p for _, p in decode_into(pixels, files, rows) if p is not None]
            if problems:
                raise RuntimeError(problems[0])

        one = median_time(lambda: [decode(file, SIZE) for file in files[:300]], 3)
        return {
            "file_bytes": size,
            "decode_one_core_img_per_s": 300 / one,
            "decode_all_cores_img_per_s": len(files) / median_time(all_cores, 3),
            "cores": usable_cores(),
        }


def main() -> None:
    """Measure and write the result file."""
    results = {**planning(), **augmenting(), **decoding()}
    for name, value in results.items():
        print(f"{name:32} {value:,.4g}")
    path = record(
        "augmentation",
        results,
        notes=(
            "Augmentation: pad 10, crop 288x144, flip, normalise, random erasing p 0.8; batches "
            "of 64 on one thread. torchvision does the same on PIL images, one by one.",
            "decode_all_cores includes starting the processes.",
        ),
    )
    print(f"Wrote {path}")


if __name__ == "__main__":
    main()
