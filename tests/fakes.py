"""Small fake data sets in their true layouts, made in a fraction of a second.

Images are noise around a colour that belongs to the identity, so that a network can learn
them; infrared ones are grey. Everything is fixed by the arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

SYSU_VISIBLE, SYSU_INFRARED = (1, 2, 4, 5), (3, 6)


def image(pid: int, infrared: bool, seed: int, size: tuple[int, int] = (48, 24)) -> Image.Image:
    """An image of an identity, (height, width), RGB."""
    colour = np.random.default_rng([7, pid]).integers(40, 216, size=(3, 3))  # head, body, legs
    generator = np.random.default_rng([pid, infrared, seed])
    bands = np.repeat(colour, -(-size[0] // 3), axis=0)[: size[0], None, :].repeat(size[1], axis=1)
    if infrared:
        bands = bands.mean(axis=2, keepdims=True).repeat(3, axis=2)
    noise = generator.integers(-30, 31, size=(*size, 1 if infrared else 3))
    return Image.fromarray(np.clip(bands + noise, 0, 255).astype(np.uint8))


def save(path: Path, pid: int, infrared: bool, seed: int, size: tuple[int, int] = (48, 24)) -> None:
    """Write one image; the ending chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image(pid, infrared, seed, size).save(path)


def write_ids(path: Path, ids: Iterable[int]) -> None:
    """Write an identity file: one line, comma-separated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(",".join(str(pid) for pid in ids) + "\n")


def make_sysu(
    root: Path,
    *,
    train: int = 6,
    val: int = 2,
    test: int = 4,
    images: int = 2,
    size: tuple[int, int] = (48, 24),
) -> Path:
    """SYSU-MM01 with identities 1, 2, …: first the training ones, then validation, then test."""
    ids = list(range(1, train + val + test + 1))
    parts = {"train": ids[:train], "val": ids[train : train + val], "test": ids[train + val :]}
    for name, members in parts.items():
        write_ids(root / "exp" / f"{name}_id.txt", members)
    for pid in ids:
        for camid in range(1, 7):
            for number in range(1, images + 1):
                path = root / f"cam{camid}" / f"{pid:04d}" / f"{number:04d}.jpg"
                save(path, pid, camid in SYSU_INFRARED, camid * 100 + number, size)
    return root


def make_sysu_tree(root: Path, tree: dict[str, int], test_ids: Iterable[int]) -> Path:
    """SYSU-MM01 with given numbers of images ('cam1/0018' → 14), all the same tiny JPEG.

    The training identities 900 and 901 are added.
    """
    write_ids(root / "exp" / "test_id.txt", test_ids)
    write_ids(root / "exp" / "train_id.txt", [900, 901])
    more = {f"cam{camid}/{pid:04d}": 1 for pid in (900, 901) for camid in (1, 3)}
    fill_tree(root, {**tree, **more}, lambda folder, number: f"{number + 1:04d}.jpg")
    return root


def fill_tree(root: Path, tree: dict[str, int], name) -> None:
    """Fill folders with the same tiny JPEG; `name(folder, number from 0)` names each file."""
    seed = root / ".seed.jpg"
    root.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (1, 1), (90, 90, 90)).save(seed)
    data = seed.read_bytes()
    seed.unlink()
    for folder, count in tree.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / name(folder, number)).write_bytes(data)


def make_regdb(root: Path, *, identities: int = 8, images: int = 3, trials: int = 10) -> Path:
    """RegDB with identities 1, 2, …; each trial trains on a random half of them."""
    names: dict[tuple[str, int], list[str]] = {}
    for pid in range(1, identities + 1):
        for folder, letter in (("Visible", "v"), ("Thermal", "t")):
            for number in range(1, images + 1):
                path = f"{folder}/{pid}/person_{letter}_{number:05d}_{pid}.bmp"
                save(root / path, pid, folder == "Thermal", number, (32, 16))
                names.setdefault((folder, pid), []).append(path)
    (root / "idx").mkdir(exist_ok=True)
    for trial in range(1, trials + 1):
        order = np.random.default_rng(trial).permutation(identities) + 1
        halves = {"train": order[: identities // 2], "test": order[identities // 2 :]}
        for part, members in halves.items():
            for folder in ("Visible", "Thermal"):
                lines = [
                    f"{path} {label}"
                    for label, pid in enumerate(sorted(members.tolist()))
                    for path in names[folder, pid]
                ]
                file = root / "idx" / f"{part}_{folder.lower()}_{trial}.txt"
                file.write_text("\n".join(lines) + "\n")
    return root


def make_llcm(root: Path, *, train: int = 4, test: int = 4, images: int = 2) -> Path:
    """LLCM with training identities 1, 2, … and test identities after them."""
    lists: dict[str, list[str]] = {"vis": [], "nir": []}
    for pid in range(1, train + test + 1):
        for kind, cameras in (("vis", range(1, 10)), ("nir", (1, 2, 4, 5, 6, 7, 8, 9))):
            for camid in list(cameras)[pid % 3 :: 2]:
                for number in range(images):
                    name = f"{pid:04d}_c{camid:02d}_s{number:06d}_{kind}.jpg"
                    if pid <= train:
                        path = f"{kind}/{pid:04d}/{name}"
                        lists[kind].append(f"{path} {pid - 1}")
                    else:
                        path = f"test_{kind}/cam{camid}/{pid:04d}/{name}"
                    save(root / path, pid, kind == "nir", camid * 100 + number, (32, 16))
    (root / "idx").mkdir(exist_ok=True)
    for kind, lines in lists.items():
        (root / "idx" / f"train_{kind}.txt").write_text("\n".join(lines) + "\n")
    write_ids(root / "idx" / "test_id.txt", range(train + 1, train + test + 1))
    return root


def make_folder(root: Path, *, identities: int = 10, images: int = 2) -> Path:
    """Own images: visible/PID/* and infrared/PID/*, cameras 1, 2 and 3, 4 in the file names."""
    for pid in range(1, identities + 1):
        for kind, cameras in (("visible", (1, 2)), ("infrared", (3, 4))):
            for camid in cameras:
                for number in range(images):
                    path = root / kind / f"person{pid:02d}" / f"c{camid}_{number}.png"
                    save(path, pid, kind == "infrared", camid * 100 + number, (32, 16))
    return root


def permutations(
    counts: dict[tuple[int, int], int], *, seed: int = 0
) -> dict[tuple[int, int], np.ndarray]:
    """(pid, camid) → (10, n) image numbers from 1, a permutation in each row."""
    generator = np.random.default_rng(seed)
    return {
        key: np.array([generator.permutation(n) + 1 for _ in range(10)], dtype=np.uint8)
        for key, n in sorted(counts.items())
    }


def write_permutations(path: Path, counts: dict[tuple[int, int], int], *, seed: int = 0) -> Path:
    """`rand_perm_cam.mat` in the official form for counts[(pid, camid)] images."""
    from scipy.io import savemat

    permuted = permutations(counts, seed=seed)
    largest = max(pid for pid, _ in counts)
    cameras = np.empty((6, 1), dtype=object)
    for camid in range(1, 7):
        cells = np.empty((largest, 1), dtype=object)
        for pid in range(1, largest + 1):
            cells[pid - 1, 0] = permuted.get((pid, camid), np.zeros((0, 0)))
        cameras[camid - 1, 0] = cells
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"rand_perm_cam": cameras})
    return path
