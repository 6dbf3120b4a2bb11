"""Show that a change to the code moved no result.

    python tools/same_results.py CHECKOUT --out after.json    # what the code of CHECKOUT computes
    python tools/same_results.py --compare before.json after.json

The code of a checkout (its `src`) runs in child processes on the CPU, on one thread, in float32.
Recorded are

- weights: one digest for each tensor after 20 steps of each method on a fake SYSU-MM01, and
  after 20 steps on a fake RegDB, LLCM and folder of images;
- reports: every number of the report.json files of `vireid test`, in all scopes, shots, draws
  and directions, with re-ranking and with flipped images;
- synthetic: the bytes of synthetic people in all layouts and presets;
- embeddings and searches: what the shipped weights make of images, and the hits of
  `vireid search`, plain and filtered;
- index: hits of an index of random vectors, exact, filtered and through a projection, before and
  after entries are added, updated and removed.

Both checkouts must run on the same machine and with the same libraries. `data` holds digests of
the inputs, which come from tests/fakes.py beside this script; where they differ, the input did.
Takes about three minutes; only flags and public names that have existed since 0.1.0 are used.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") | {
    "NUMBA_NUM_THREADS": "1"
}
CPU = ["--device", "cpu", "--precision", "float32"]
# An epoch is max(visible, infrared) // (P x K) + 1 steps: 10 on the SYSU-MM01 and RegDB below.
TRAIN = [
    "--arch", "resnet10t", "--pretrained", "none", "--config", "size.json", "--epochs", "2",
    "--lr", "0.01", "--seed", "3", "--engine", "eager", "--deterministic", *CPU,
]  # fmt: skip
SYSU = [
    "--dataset",
    "sysu",
    "--data-root",
    "sysu",
    "--pids-per-batch",
    "4",
    "--images-per-pid",
    "2",
]
RUNS = {
    "base": ["--method", "base", *SYSU],
    "agw": ["--method", "agw", *SYSU],
    "ddag": ["--method", "ddag", *SYSU],
    "mcl": ["--method", "mcl", *SYSU],
    "mcl-published": ["--method", "mcl", *SYSU, "--recipe", "clean", "--centers", "frozen",
                      "--triplet", "published", "--optim", "adam", "--select", "held-out"],
    "regdb": ["--method", "agw", "--dataset", "regdb", "--data-root", "regdb", "--trial", "2",
              "--pids-per-batch", "2", "--images-per-pid", "1", "--select", "last"],
    "llcm": ["--method", "mcl", "--dataset", "llcm", "--data-root", "llcm",
             "--pids-per-batch", "2", "--images-per-pid", "2"],
    "folder": ["--method", "base", "--dataset", "folder", "--data-root", "folder",
               "--camera-pattern", r"c(\d+)_", "--pids-per-batch", "2", "--images-per-pid", "2"],
}  # fmt: skip
TESTS = {
    **{f"{m}-{mode}": [m, "--mode", mode, "--trials", "3"]
       for m in ("base", "agw", "ddag", "mcl") for mode in ("all", "indoor")},
    "mcl-ten-shots": ["mcl", "--shots", "10", "--trials", "2"],
    "mcl-official": ["mcl", "--draw", "official"],
    "mcl-reverse": ["mcl", "--direction", "visible-to-infrared", "--trials", "2"],
    "mcl-rerank": ["mcl", "--rerank", "--trials", "2"],
    "mcl-flip": ["mcl", "--tta", "flip", "--trials", "2"],
    "mcl-val": ["mcl-published", "--part", "val", "--trials", "2"],
    "regdb": ["regdb", "--direction", "both"],
    "llcm": ["llcm", "--direction", "both", "--trials", "3"],
    "llcm-deen": ["llcm", "--direction", "visible-to-infrared", "--protocol", "legacy-deen"],
    "folder": ["folder", "--trials", "2"],
}  # fmt: skip
SEARCHES = {
    "all": [],
    "cameras": ["--cameras", "1", "4"],
    "infrared": ["--gallery-modality", "infrared"],
    "pids": ["--pids", "2", "3"],
    "reranked": ["--rerank"],
}


def main() -> int:
    """Record or compare; 1 where results differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", nargs="?", type=Path, help="root of a checkout")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compare:
        before, after = (json.loads(path.read_text()) for path in arguments.compare)
        return compare(before, after)
    if arguments.checkout is None:
        parser.error("name a checkout, or --compare two files")
    source = arguments.checkout.resolve() / "src"
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](source)), file=sys.__stdout__)
        return 0
    if arguments.out is None:
        parser.error("name the file to write: --out FILE.json")
    arguments.out.write_text(json.dumps(record(source), indent=1, sort_keys=True) + "\n")
    print(f"wrote {arguments.out}")
    return 0


def record(source: Path) -> dict[str, Any]:
    """Run every part in a child of its own with the code of `source`."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        results["data"] = {
            path.name: digest_folder(path) for path in Path(folder).iterdir() if path.is_dir()
        }
        environment = {
            **os.environ, **ONE_THREAD, "PYTHONPATH": str(source), "PYTHONHASHSEED": "0",
            "XDG_CACHE_HOME": f"{folder}/cache",
        }  # fmt: skip
        for part in CHILDREN:
            start = time.monotonic()
            command = [sys.executable, __file__, str(source.parent), "--child", part]
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
            )
            if done.returncode:
                raise SystemExit(f"the part '{part}' failed with the code of {source}")
            results |= json.loads(done.stdout.splitlines()[-1])
            print(f"{part}: {time.monotonic() - start:.0f} s", flush=True)
    return results


def make_data(folder: Path) -> None:
    """The inputs, as the tests make them."""
    sys.path.insert(0, str(ROOT / "tests"))
    import fakes

    fakes.make_sysu(folder / "sysu", train=6, val=3, test=12, images=2)
    counts = {(pid, camid): 2 for pid in range(10, 22) for camid in range(1, 7)}
    fakes.write_permutations(folder / "sysu" / "exp" / "rand_perm_cam.mat", counts)
    fakes.make_regdb(folder / "regdb", identities=12)
    fakes.make_llcm(folder / "llcm", test=8)
    fakes.make_folder(folder / "folder", identities=8)
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".jpg", ".png", ".bmp"}:
            vary(path, path.relative_to(folder).as_posix())
    (folder / "size.json").write_text('{"size": [64, 32]}')


def vary(path: Path, name: str) -> None:
    """Light and shade in six bands, so that images of one identity differ by more than noise and
    networks disagree about them."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    factors = np.random.default_rng(list(name.encode())).uniform(0.3, 1.7, 6)
    rows = factors[np.arange(len(pixels)) * 6 // len(pixels)]
    Image.fromarray(np.clip(pixels * rows[:, None, None], 0, 255).astype(np.uint8)).save(path)


# -- children: run in the folder of the inputs, with the code of the checkout


def vireid(*words: str) -> str:
    """Standard output of a command, run in this process."""
    from vireid.cli import main as command

    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["vireid", *words]
    code: object = 1
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command()
    except SystemExit as end:
        code = end.code
    except Exception:
        traceback.print_exc()
    if code not in (0, None):
        raise SystemExit(f"`vireid {' '.join(words)}` ended with {code}:\n{err.getvalue()}")
    return out.getvalue()


def check_source(source: Path) -> None:
    import vireid

    place = Path(str(vireid.__file__)).resolve()
    if source not in place.parents:
        raise SystemExit(f"vireid comes from {place}, not from {source}")


def train_and_test(source: Path) -> dict[str, Any]:
    check_source(source)
    weights, reports = {}, {}
    for name, flags in RUNS.items():
        vireid("train", *TRAIN, *flags, "--run", str(Path("runs", name).absolute()))
        weights[name] = digest_tensors(Path("runs", name, "weights.safetensors"))
    for name, (run, *flags) in TESTS.items():
        folder = Path("tests", name).absolute()
        vireid("test", "--resume", f"runs/{run}", "--out", str(folder), *CPU, *flags)
        for path in sorted(folder.rglob("report.json")):
            key = "/".join([name, *path.parent.relative_to(folder).parts])
            reports[key] = dict(numbers(json.loads(path.read_text())))
    return {"weights": weights, "reports": reports}


def synthesize(source: Path) -> dict[str, Any]:
    check_source(source)
    results = {}
    for layout in ("sysu", "regdb", "llcm"):
        for preset in ("easy", "standard", "hard"):
            name = f"{layout}-{preset}"
            masks = ["--masks"] if preset == "hard" else []
            vireid("synthesize", "--layout", layout, "--preset", preset, "--out", f"made/{name}",
                   "--identities", "4", "--test-identities", "2", "--images", "1", "--seed", "5",
                   "--workers", "1", *masks)  # fmt: skip
            results[name] = digest_folder(Path("made", name))
    return {"synthetic": results}


def embed_and_search(source: Path) -> dict[str, Any]:
    check_source(source)
    embeddings, hits = {}, {}
    for camid, modality in ((1, "visible"), (4, "visible"), (3, "infrared")):
        file = f"cam{camid}.safetensors"
        vireid("embed", "--images", f"sysu/cam{camid}", "--modality", modality, "--out", file,
               "--camera-pattern", r"cam(?P<camid>\d)/(?P<pid>\d+)", "--workers", "1",
               *CPU)  # fmt: skip
        embeddings[file] = {
            name: value for name, value in digest_tensors(Path(file)).items() if "path" not in name
        }
        command = "add" if Path("index").exists() else "create"
        vireid("index", command, "--index", "index", "--embeddings", file)
    for name, flags in SEARCHES.items():
        answer = vireid("search", "--index", "index", "--image", "sysu/cam6/0002/0001.jpg",
                        "sysu/cam6/0011/0002.jpg", "--modality", "infrared", "--top", "7",
                        "--json", "--device", "cpu", *flags)  # fmt: skip
        hits[name] = [
            [Path(hit["path"]).as_posix().rpartition("sysu/")[2], hit["camid"], hit["similarity"]]
            for hit in find_hits(json.loads(answer))
        ]
    return {"embeddings": embeddings, "searches": hits}


def search_vectors(source: Path) -> dict[str, Any]:
    """Hits of an index of random vectors; what isn't public is found by way of its class."""
    check_source(source)
    import numpy as np

    import vireid
    from vireid.types import Embeddings, Modality

    dim = 16

    def people(count: int, first: int, seed: int = 0) -> Embeddings:
        random = np.random.default_rng([seed, first])
        vectors = random.standard_normal((count, dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        number = np.arange(first, first + count)
        return Embeddings(
            vectors={"embedding": vectors},
            paths=[f"cam{n % 6 + 1}/{n:06d}.jpg" for n in number],
            pids=number % 40 - 1,
            camids=number % 6 + 1,
            modality=(number % 6 >= 4).astype(np.int64),
            times=np.where(number % 3 == 0, np.nan, number * 10.0),
            weights_hash="ab" * 32,
            preprocessing={"size": (288, 144), "tta": None},
        )

    def answers(index: Any, filters: Any) -> list[Any]:
        return [
            [[hit.row_id, hit.path, hit.similarity] for hit in hits]
            for exact in (True, False, None)
            for wanted in filters
            for hits in index.search(queries, top=9, filters=wanted, exact=exact)
        ]

    queries = np.random.default_rng(1).standard_normal((4, dim)).astype(np.float32)
    plain = vireid.create_index("plain", weights_hash="ab" * 32, dim=dim)
    cls = type(plain)
    Filters = sys.modules[cls.__mro__[1].__module__].Filters
    options = sys.modules[cls.__module__].ProjectionOptions(
        exact_bytes=100 * dim * 2, dims=(4, 8, 16), candidates=(50, 100), sample=500, queries=20
    )
    projected = cls.create(
        Path("projected"), options=options, weights_hash="ab" * 32, dim=dim,
        embedding="embedding", image_roots=(), preprocessing={},
    )  # fmt: skip
    filters = [
        None,
        Filters(camids=(1, 5)),
        Filters(modality=Modality.INFRARED),
        Filters(time_from=500.0, time_to=9000.0),
        Filters(pids=(3, 7, 9), camids=(2, 4)),
    ]
    results: dict[str, Any] = {}
    for name, index in (("plain", plain), ("projected", projected)):
        with index:
            index.add(people(700, 0))
            index.add(people(500, 600))
            added = answers(index, filters)
            index.update(people(100, 1150, seed=2))
            index.remove(paths=[f"cam{n % 6 + 1}/{n:06d}.jpg" for n in range(0, 300, 7)])
            index.remove(older_than=400.0)
            changed = answers(index, filters)
            index.compact()
            results[name] = {
                "added": added, "changed": changed, "compacted": answers(index, filters),
                "count": len(index),
            }  # fmt: skip
    return {"index": results}


CHILDREN = {
    "synthesize": synthesize,
    "index": search_vectors,
    "search": embed_and_search,
    "train": train_and_test,
}


# -- digests


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def digest_folder(folder: Path) -> dict[str, str]:
    """One digest for all files of each ending, names included; caches are left out."""
    sums: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (
            path.is_file()
            and path.suffix != ".mat"  # holds the time it was written
            and not any(part.startswith(".") for part in Path(name).parts)
        ):
            one = sums.setdefault(path.suffix, hashlib.sha256())
            one.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return {suffix: one.hexdigest()[:16] for suffix, one in sums.items()}


def digest_tensors(path: Path) -> dict[str, str]:
    """Name of each array of a safetensors file → digest of its type, shape and bytes."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    header.pop("__metadata__", None)
    return {
        name: digest(
            f"{about['dtype']}{about['shape']}".encode() + body[slice(*about["data_offsets"])]
        )
        for name, about in header.items()
    }


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested JSON by its path; versions aren't results."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "versions":
                yield from numbers(inner, f"{name}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from numbers(inner, f"{name}[{position}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def find_hits(value: Any) -> Iterator[dict[str, Any]]:
    """Hits in the JSON of `vireid search`, in order."""
    if isinstance(value, dict) and "similarity" in value:
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from find_hits(inner)


# -- comparing


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print what differs, a line each; 1 if something differs or is gone."""
    differing = 0
    old, new = dict(leaves(before)), dict(leaves(after))
    for name in old.keys() | new.keys():
        if name not in old:
            continue
        if name not in new:
            print(f"gone: {name}")
        elif old[name] != new[name]:
            print(f"differs: {name}: {str(old[name])[:80]} -> {str(new[name])[:80]}")
        else:
            continue
        differing += 1
    for name in sorted(new.keys() - old.keys()):
        print(f"new: {name}")
    counts = ", ".join(
        f"{len(list(leaves(part)))} in {name}" for name, part in sorted(before.items())
    )
    print(f"{differing} of {len(old)} results differ ({counts}).")
    return int(differing > 0)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Everything that isn't a dict or list, by its path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from leaves(inner, f"{name}/{key}".removeprefix("/"))
    else:
        yield name, value


if __name__ == "__main__":
    sys.exit(main())
