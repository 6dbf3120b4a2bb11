"""What is fuzzed: for each kind of file its seeds, its mutations, and what a user does with it.

A target makes its seed corpus once, in a folder of its own. `use` goes as far as a user would: an
embeddings file is read, indexed and searched; a checkpoint is resumed from. It may refuse by an
`InputError`; anything else is a finding.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from enum import Enum
from pathlib import Path
from typing import Any

import fakes
import index_helpers
import numpy as np
import pytest
import scipy.io
import torch
import training_kit
from evaluation import examples
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save as safetensors_bytes
from safetensors.torch import save as torch_bytes

from fuzz import mutations
from vireid.commands.train import prepare as prepare_training
from vireid.config import to_plain
from vireid.console import console, results
from vireid.data import Decoding, ProtocolOptions, load_dataset, prepare, trials
from vireid.data.content import data_hash
from vireid.data.decoding import decode
from vireid.data.protocol import SYNTHETIC_MARKER, read_marker
from vireid.embed import Embedder, embed_files, load, load_embeddings, save_embeddings
from vireid.embed.sources import read_source
from vireid.evaluation import (
    Report,
    average_reports,
    compare,
    compare_paired,
    evaluate,
    paper_table,
)
from vireid.evaluation.report import report_markdown
from vireid.index import Filters, build_index
from vireid.index.cameras import read_camera_names, read_stored, stored
from vireid.index.checks import check_embeddings, check_lengths
from vireid.index.local.index import LocalIndex
from vireid.index.local.lock import WriterLock
from vireid.index.output import Query, hits_as_csv, hits_as_json, hits_table
from vireid.methods import Sizes, build_method, method_class
from vireid.methods.published import form_of, published_net, read_published
from vireid.models import ModelOptions
from vireid.models.backbone import create
from vireid.models.foreign import load_foreign
from vireid.models.recognise import describe_file
from vireid.problems import Problems
from vireid.server.settings import ServerSettings, read_tokens
from vireid.server.uploads import UploadError, cut_upload, decode_upload, to_pixels
from vireid.sweep import read_sweep, runs_of
from vireid.sweep_run import _tested, _words
from vireid.synthetic.parameters import checked_parameters, claim
from vireid.testing import TestOptions
from vireid.testing import evaluate as test
from vireid.testing.run import _run_config
from vireid.training import train_options
from vireid.training.checkpoint import describe_run
from vireid.types import Embeddings, InputError, Modality
from vireid.weights import identities_before, save_weights, weights_hash

SIZE = (64, 32)
ARCH = "test_resnet"  # 0.4 M values
EVIL = "class CodeWasRun(BaseException):\n    pass\n\n\nraise CodeWasRun\n"


class Place(Enum):
    """What is where a file should be."""

    EMPTY = "nothing"
    FOLDER = "a folder"


def put(path: Path, content: bytes | Place) -> None:
    """Write a file, or let something else be in its place."""
    if path.is_dir():
        shutil.rmtree(path)
    if content is Place.FOLDER:
        path.unlink(missing_ok=True)
        path.mkdir()
    elif isinstance(content, Place):
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content)


class Target:
    """One kind of file.

    Attributes:
        name: as on the command line.
        home: folder of the seed corpus, which stays as it is.
        work: folder of the file that is tried.
        seeds: what is mutated; each of them can be used.
        odd: seeds that are refused, by branches that mutations hardly find.
    """

    name = ""

    def __init__(self, folder: Path) -> None:
        self.home, self.work = folder / self.name, folder / f"{self.name}-work"
        self.home.mkdir(parents=True)
        self.work.mkdir()
        self.evil = folder / "evil.py"
        self.evil.write_text(EVIL)
        self.words = [f"{self.evil}:M", str(self.home), str(self.evil)]
        self.seeds: list[Any] = []
        self.odd: list[Any] = []
        self.make()

    def make(self) -> None:
        """Fill `seeds`."""

    def mutate(self, r: random.Random, seed: Any) -> Any:
        """One input."""
        return mutations.of_bytes(r, seed)

    def use(self, value: Any) -> None:
        """What a user does with it."""
        raise NotImplementedError

    def put(self, name: str, content: bytes | Place) -> Path:
        """A file in the work folder, or something else in its place."""
        path = self.work / name
        put(path, content)
        return path


def used_once(use: Callable[[Any], Any], ways: list[Any]) -> None:
    """Use it in every way; it is refused where all of them refuse it."""
    refusals = []
    for way in ways:
        try:
            use(way)
        except InputError as error:
            refusals.append(error)
    if len(refusals) == len(ways):
        raise refusals[0]


TARGETS: dict[str, type[Target]] = {}


def target(cls: type[Target]) -> type[Target]:
    TARGETS[cls.name] = cls
    return cls


# Images --------------------------------------------------------------------------------------


def _images() -> list[bytes]:
    pictures = [fakes.image(1, False, 0), fakes.image(2, True, 0).convert("L")]
    pictures += [pictures[0].convert("P"), pictures[0].convert("RGBA"), pictures[0].convert("CMYK")]
    deep = Image.fromarray(np.arange(48 * 24, dtype=np.uint16).reshape(48, 24))
    out = []
    for picture in (*pictures, deep):
        for kind in ("JPEG", "PNG", "BMP", "TIFF", "WEBP"):
            file = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            try:
                picture.save(file, kind, exif=exif)
            except (OSError, ValueError):  # a format without this mode
                continue
            out.append(file.getvalue())
    return out


def _deep_images() -> list[bytes]:
    """A thermal camera's image without any value, and one with 16 bits in each channel."""
    out = []
    for kind, picture in (
        ("TIFF", Image.fromarray(np.full((48, 24), np.nan, np.float32))),
        ("PNG", Image.new("RGB", (24, 48))),
    ):
        file = io.BytesIO()
        picture.save(file, kind)
        out.append(file.getvalue())
    header = struct.pack(">IIBBBBB", 24, 48, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(24 * 6)) * 48)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    out[1] = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks)
    return out


def _chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file."""
    ends = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + ends


def _bomb() -> bytes:
    """A small PNG file of 10,000 million pixels."""
    header = struct.pack(">IIBBBBB", 10**5, 10**5, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b""))


@target
class ImageFile(Target):
    """Image files, as commands open them."""

    name = "imagefile"

    def make(self) -> None:
        self.odd = [one for one in _images() if one[:4] in (b"II*\0", b"\x89PNG")][-2:]
        self.seeds = [one for one in _images() if one not in self.odd]
        self.seeds += [b"P6 24 48 65535\n" + bytes(24 * 48 * 6), b"P5 24 48 9999\n" + bytes(2304)]
        self.odd += [self.seeds[0][: len(self.seeds[0]) // 2], b"", b"text", *_deep_images()]
        self.odd.append(b"version https://git-lfs.github.com/spec/v1\n")
        self.odd += [Place.EMPTY, Place.FOLDER, _bomb(), self.seeds[1][:-60]]
        web = next(one for one in self.seeds if b"WEBP" in one and b"MM\0*" in one)
        self.odd.append(web.replace(b"MM\0*", b"MM\xff\xff"))  # damaged metadata

    def use(self, value: bytes | Place) -> None:
        path = self.put("image.jpg", value)
        used_once(
            lambda how: decode(path, SIZE, decoding=how),
            [Decoding(), Decoding(intensity_range="minmax", orientation="stored"),
             Decoding(intensity_range="0:65535")],
        )  # fmt: skip


@target
class Upload(ImageFile):
    """Images that are sent to the server."""

    name = "upload"

    def make(self) -> None:
        super().make()
        tiff = [one for one in self.seeds if one[:4] == b"II*\0"]
        self.odd = [one for one in self.odd if not isinstance(one, Place)]
        small, moving, huge = io.BytesIO(), io.BytesIO(), io.BytesIO()
        fakes.image(1, False, 0).resize((4, 4)).save(small, "PNG")
        frames = [fakes.image(pid, False, 0) for pid in (1, 2)]
        frames[0].save(moving, "PNG", save_all=True, append_images=frames[1:])
        Image.new("1", (1500, 1500)).save(huge, "PNG")
        self.odd += [*tiff, *(one.getvalue() for one in (small, moving, huge))]
        self.seeds = [one for one in self.seeds if one not in tiff]

    def use(self, value: bytes) -> None:
        try:
            used_once(
                lambda how: self.shown(
                    decode_upload(value, max_pixels=10**6, min_side=8, decoding=how)
                ),
                [Decoding(), Decoding(intensity_range="minmax"),
                 Decoding(intensity_range="0:65535")],
            )  # fmt: skip
        except UploadError as error:
            assert error.status in (413, 415, 422)
            raise

    def shown(self, image: Image.Image) -> None:
        """The whole image to the network, and parts of it."""
        to_pixels(image, SIZE)
        for box in ((0, 0, 10, 10), (0, 0, 1, 1), (0, 0, 10**9, 5)):
            with suppress(UploadError):
                to_pixels(cut_upload(image, box, min_side=8), SIZE)


# Tables, lists of ids, idx files --------------------------------------------------------------


class _Text(Target):
    def mutate(self, r: random.Random, seed: str) -> bytes:
        return mutations.of_text(r, seed)

    def content(self, value: str | bytes | Place) -> bytes | Place:
        return value.encode() if isinstance(value, str) else value


@target
class EmbedTable(_Text):
    """The tables that `embed` reads."""

    name = "csv_embed"

    def make(self) -> None:
        head = "path,pid,camid,modality,time"
        self.seeds = [
            f"{head}\na.jpg,7,1,visible,2026-03-01 18:00\nb.jpg,,,ir,\n'c',0007,02,i,1772388000\n",
            "path\na.jpg\nb/c.jpg\n",
            'Path , PID\r\n"a,b.jpg", 12\r\n\r\nc.jpg,\r\n',
        ]
        self.odd = [
            "",
            "pid\n1\n",
            "path,path\na,b\n",
            'path\n"a',
            "path\n",
            "path\n ,\n",
            "path,pid\n,1\n",
            b"\xff\n",
            " \n",
        ]
        self.odd += [
            f"{head}\na,{row}\n"
            for row in ("9" * 20 + ",1,ir,0", "1,1," + "a" * 70_000 + ",0", "1,1,ir,soon", "1,1,ir",
                        "1,1,ir,1e99", "1,1,,", "1,1,ir,2026-03-01T18:00:00+08:00", "1,1,ir,\0",
                        "1,1,ir,\na,1,1,ir,")
        ]  # fmt: skip
        self.seeds += [
            "path,modality\nc3_0001.jpg,ir\nd.jpg,rgb\nc4_2026-03-01.jpg,v\n",
            "sep=;\nPATH;pid;Time\na.jpg;Anna B.;1772388000\n",
            "path\tpid\tcamid\na.jpg\t7.0\t1\n",
        ]
        self.odd += [self.seeds[0].encode("utf-16"), b"\xef\xbb\xbf" + self.seeds[1].encode()]
        self.odd += [
            "path,pid\na,1.2E+19\n",
            "path,pid\na,1\n./a,1\n",
            "path,time\na,20260301\n",
            "path,time\na,2026.0\n",
            "path,time\na,12312026\n",
            "path,time\na,202603011800\n",
            "path,time\na,46082.75\n",
            "path,time\na,99999\n",
            "path,time\na,1772388000000\n",
            "path,pid\na,1,2\n",
            "path,type\na,ir\n",
            "path,type\na,car\n",
            "path,camid\na,one\n",
            Place.EMPTY,
            Place.FOLDER,
            "path\na\n".encode("utf-16-le"),
            "path\na\n".encode("utf-16-be"),
        ]

    def use(self, value: str | bytes) -> None:
        path = self.put("t.csv", self.content(value))
        patterns = (None, r"(\d+)", r"c(?P<camid>\d+)_(?P<time>20[\d-]+)", "(", "(?P<x>.)(?P<pid>)")
        used_once(
            lambda how: read_source(path, modality=how[0], camera_pattern=how[1]),
            [(sensor, one) for sensor in (None, Modality.VISIBLE) for one in patterns],
        )


@target
class CameraNames(_Text):
    """What an index's cameras are called."""

    name = "cameras"

    def make(self) -> None:
        self.seeds = ['camid,name\n1,North gate\n02,\n3.0,"Hall, upper"\n', "Name;CamID\nx;7\n"]
        self.odd = [Place.EMPTY, Place.FOLDER, "", "camid\n1\n", "camid,name\n,a\n",
                    "camid,name\n1,a\n1.0,b\n", f"camid,name\n1,{'a' * 70_000}\n",
                    "camid,name\nx,a\n", "camid,name\n1,a,b\n"]  # fmt: skip

    def use(self, value: str | bytes | Place) -> None:
        names = read_camera_names(self.put("cameras.csv", self.content(value)))
        assert read_stored(stored(names)) == names


@target
class EmbedList(_Text):
    """The lists of paths that `embed` reads."""

    name = "txt_embed"
    image = b"\x89PNG\r\n"

    def make(self) -> None:
        self.seeds = ["a.jpg\nb c.jpg\n\n./d.png\n", "c3_0001.jpg\r\nc4_0002.jpg\r\n"]
        self.odd = ["", "\n\n", "\0", "a.jpg\n./a.jpg\n", Place.EMPTY, Place.FOLDER, self.image]

    def use(self, value: str | bytes) -> None:
        path = self.put("t.png" if value == self.image else "t.txt", self.content(value))
        if value is Place.FOLDER:
            fakes.image(1, False, 0).save(path / "a.png")
            read_source(path, modality=Modality.INFRARED)
            (path / "a.png").unlink()
        read_source(path, modality=Modality.INFRARED, camera_pattern=r"c(\d+)")


@target
class DatasetTable(_Text):
    """The table of one's own data set."""

    name = "csv_table"

    def make(self) -> None:
        self.root = fakes.make_folder(self.work / "images", identities=6, images=1)
        rows = []
        for path in sorted(self.root.rglob("*.png")):
            kind, person, name = path.relative_to(self.root).parts
            rows.append((f"{kind}/{person}/{name}", person, kind, name[1]))
        plain = "\n".join(f"{path},{person},{kind}" for path, person, kind, _ in rows)
        parts = ["train", "train", "val", "train", "test", "test"]
        full = "\n".join(
            f"{path},{person[-2:]},{kind},{camid},{parts[int(person[-2:]) - 1]},"
            f"{'query' if kind == 'infrared' else 'gallery'},{1_772_388_000 + n}"
            for n, (path, person, kind, camid) in enumerate(rows)
        )
        mixed = plain.replace(",", "; ").replace(f";{rows[0][1]};", ";-1;", 1)
        self.seeds = [
            f"path,pid,modality\n{plain}\n",
            f"path,pid,modality,camid,split,role,time\n{full}\n",
            f"Path;PID;Modality\n{mixed}\n",
        ]
        self.odd = [
            "path,pid,modality\n../a,1,ir\n",
            "path,pid,modality\na\\b,1,ir\n",
            "path,pid,modality\n.,1,ir\n",
            "path,pid,modality\nabsent.png,1,ir\n",
            f"path,pid,modality\n{'a' * 300}.png,1,ir\n",
            f"path,pid,modality,camid\n{rows[0][0]},1,ir,one\n",
            f"path,pid,modality,camid\n{rows[0][0]},1,ir,1\n{rows[1][0]},1,ir,\n",
            f"path,pid,modality\n{rows[0][0]},,ir\n",
            f"path,pid,modality,split\n{rows[0][0]},1,ir,sometimes\n",
        ]

    def use(self, value: str | bytes) -> None:
        path = self.root / "samples.csv"
        path.write_bytes(self.content(value))
        load_dataset("folder", path)


class _Lists(_Text):
    """Lists of a data set in its layout; the seed is a file's name and its text."""

    dataset = ""
    split = 1

    def files(self) -> list[Path]:
        raise NotImplementedError

    def make(self) -> None:
        self.root = self.make_root(self.work / "root")
        self.originals = {path: path.read_bytes() for path in self.files()}
        self.seeds = [(path, content.decode()) for path, content in self.originals.items()]
        self.odd = [
            (path, changed)
            for path, text in self.seeds
            for changed in (text.replace(" 0", " 9", 1), text.replace("/1/", "/x/", 1),
                            text.replace(" 0", " 1", 1))
        ]  # fmt: skip
        self.odd += [
            (path, text)
            for path in self.originals
            for text in ("", "1,1\n", "Visible/1/a.bmp 0\nVisible/1/a.bmp 0\n", "a\\b 0", "x 5\n",
                         "Visible/a/b.bmp 0\n", "Visible/1/a.bmp 0\n\nVisible/2/b.bmp 0\n",
                         "Visible/1/a.bmp 0\nVisible/1/b.bmp 1\n", "1", "Visible/1/a.bmp 1\n",
                         Place.EMPTY, Place.FOLDER, b"\xff\xfe\0", "nowhere.bmp 0\n", None)
        ]  # fmt: skip

    def make_root(self, root: Path) -> Path:
        raise NotImplementedError

    def mutate(self, r: random.Random, seed: tuple[Path, str]) -> Any:
        return seed[0], mutations.of_text(r, seed[1])

    def use(self, value: tuple[Path, str | bytes]) -> None:
        path, content = value
        if content is None:  # the lists' folder is not there
            path.parent.rename(path.parent.with_name("elsewhere"))
        else:
            put(path, self.content(content))
        try:
            load_dataset(self.dataset, self.root, trial=self.split)
        finally:
            if content is None:
                path.parent.with_name("elsewhere").rename(path.parent)
            put(path, self.originals[path])


@target
class SysuIds(_Lists):
    """SYSU-MM01's lists of identities."""

    name, dataset = "ids_sysu", "sysu"

    def make_root(self, root: Path) -> Path:
        return fakes.make_sysu(root, images=1)

    def files(self) -> list[Path]:
        return sorted((self.root / "exp").glob("*.txt"))


@target
class RegdbLists(_Lists):
    """RegDB's lists of a trial."""

    name, dataset, split = "idx_regdb", "regdb", 2

    def make_root(self, root: Path) -> Path:
        return fakes.make_regdb(root, images=1, trials=2)

    def files(self) -> list[Path]:
        return sorted((self.root / "idx").glob("*_2.txt"))


@target
class LlcmLists(_Lists):
    """LLCM's lists."""

    name, dataset = "idx_llcm", "llcm"

    def make_root(self, root: Path) -> Path:
        fakes.make_llcm(root, images=1)
        (root / "test_vis" / "more").mkdir()
        (root / "1").mkdir()
        fakes.image(1, False, 0).save(root / "1" / "none.png")
        return root

    def files(self) -> list[Path]:
        return sorted((self.root / "idx").glob("*.txt"))

    def make(self) -> None:
        super().make()
        (self.root / "none.png").write_bytes((self.root / "1" / "none.png").read_bytes())
        self.odd += [
            (self.root / "idx" / "train_vis.txt", f"{path} 0\n")
            for path in ("1/none.png", "none.png")
        ]


@target
class PublishedArrays(Target):
    """The published preprocessing's .npy files."""

    name = "npy"

    def make(self) -> None:
        labels = np.repeat(np.arange(3), 2)
        for kind in ("rgb", "ir"):
            pixels = np.random.default_rng(0).integers(0, 255, (6, *SIZE, 3), np.uint8)
            for what, array in (("img", pixels), ("label", labels), ("camid", labels % 2)):
                np.save(self.work / f"train_{kind}_resized_{what}.npy", array)
        files = sorted(self.work.glob("*.npy"))
        self.originals = {path: path.read_bytes() for path in files}
        self.seeds = list(self.originals.items())
        self.odd = [
            (path, self.array(array))
            for path in files
            for array in (np.zeros(3, object), np.array([0, 0, 1, 1, 2, -1]), np.zeros(0),
                          np.zeros((6, 64, 32, 4), np.uint8),
                          np.full(6, 2**63, np.uint64), np.zeros((0, 64, 32, 3), np.uint8))
        ]  # fmt: skip
        zipped = io.BytesIO()
        np.savez(zipped, a=labels)
        self.odd += [(path, content) for path in files
                     for content in (zipped.getvalue(), Place.EMPTY, Place.FOLDER)]  # fmt: skip
        nothing = self.array(np.zeros((0, *SIZE, 3), np.uint8)), self.array(np.zeros(0, int))
        (images,) = self.work.glob("*_rgb_*_img.npy")
        self.odd.append((images, nothing))

    @staticmethod
    def array(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    def mutate(self, r: random.Random, seed: tuple[Path, bytes]) -> Any:
        return seed[0], mutations.of_bytes(r, seed[1])

    def use(self, value: tuple[Path, bytes]) -> None:
        path, content = value
        changed = {path: content}
        if isinstance(content, tuple):
            changed = {one: content[one.name.split("_")[-1] != "img.npy"] for one in self.originals
                       if "_rgb_" in one.name}  # fmt: skip
        for one, other in changed.items():
            one.unlink()  # whoever has mapped it keeps what it had
            put(one, other)
        try:
            data = load_dataset("sysu", self.work)
            prepare(data, size=SIZE, cache=self.work / "cache", workers=1)
        finally:
            shutil.rmtree(self.work / "cache", ignore_errors=True)
            for one in changed:
                put(one, Place.EMPTY)
                put(one, self.originals[one])


@target
class OfficialDraw(Target):
    """SYSU-MM01's permutations."""

    name = "mat"

    def make(self) -> None:
        root = fakes.make_sysu(self.work / "root", images=1)
        counts = {(pid, camid): 1 for pid in range(9, 13) for camid in range(1, 7)}
        self.path = fakes.write_permutations(root / "exp" / "rand_perm_cam.mat", counts)
        self.data = load_dataset("sysu", root)
        self.seeds = [self.path.read_bytes()]
        self.odd = [b"", b"MATLAB 7.3", b"\x89HDF", b"text"]
        other = self.work / "other.mat"
        for odd in ({(1, 1): 1}, dict.fromkeys(counts, 2)):
            self.odd.append(fakes.write_permutations(other, odd).read_bytes())
        scipy.io.savemat(other, {"rand_perm_cam": np.zeros(3)})
        self.odd.append(other.read_bytes())
        cells = {"rand_perm_cam": scipy.io.loadmat(self.path)["rand_perm_cam"]}
        scipy.io.savemat(other, cells, do_compression=True)
        self.seeds.append(other.read_bytes())
        scipy.io.savemat(other, {"a": "text", **cells, "b": np.ones(2) * 1j})
        self.seeds.append(other.read_bytes())
        shape = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1)
        cell = shape + struct.pack("<II", 1, 0) + struct.pack("<II", 14, 0)  # as MATLAB has it
        self.odd.append(self.seeds[0][:128] + struct.pack("<II", 14, len(cell)) + cell)
        bomb = zlib.compress(bytes(2**28 + 1), 1)
        self.odd.append(self.seeds[0][:128] + struct.pack("<II", 15, len(bomb)) + bomb)
        self.odd += [Place.EMPTY, Place.FOLDER, self.seeds[0][:-4]]
        self.odd.append(self.seeds[0].replace(struct.pack("<II", 5, 8), struct.pack("<II", 5, 4)))
        sizes = struct.pack("<IIii", 5, 8, 6, 1)
        assert sizes in self.seeds[0]
        self.odd.append(self.seeds[0].replace(sizes, struct.pack("<IIii", 5, 8, -6, 1)))

    def use(self, value: bytes | Place) -> None:
        put(self.path, value)
        trials(self.data, ProtocolOptions(draw="official"))


# Weights and checkpoints ----------------------------------------------------------------------


@target
class Foreign(Target):
    """Checkpoints of others."""

    name = "foreign"

    def make(self) -> None:
        net = {"classifier.weight": torch.zeros(3, 4), "bottleneck.bias": torch.ones(4)}
        contents: list[Any] = [
            {"net": net, "epoch": 3, "cmc": np.arange(3), "mAP": np.float64(0.5)},
            {"state_dict": {f"module.{key}": value for key, value in net.items()}},
            net,
        ]
        for content in contents:
            for new in (True, False):
                file = io.BytesIO()
                torch.save(content, file, _use_new_zipfile_serialization=new)
                self.seeds.append(file.getvalue())
        self.seeds.append(torch_bytes(net))
        cut_short = self.seeds[-1][:-1]
        zipped = io.BytesIO()
        with zipfile.ZipFile(zipped, "w") as archive:
            archive.writestr("a.txt", "text")
        self.odd = [b"<html>", b"version https://git-lfs.github.com/spec/v1\nsize 7\n",
                    b"\x1f\x8b",
                    b"\x89HDF", zipped.getvalue(), b"", b"\x80\x02.", b"text", b"{" * 20,
                    self.seeds[0][:200], cut_short]  # fmt: skip
        program = io.BytesIO()
        with zipfile.ZipFile(program, "w") as archive:
            archive.writestr("net/constants.pkl", b"")
        self.odd += [program.getvalue(), Place.EMPTY, Place.FOLDER, b"\x80\x02}}b."]
        self.odd.append(_bomb_archive("net/data.pkl"))
        self.odd += [_saved({"a": b"bytes"}), pickle.dumps({"a": 1}, 2), pickle.dumps([{1}], 4)]
        self.whole = [_saved(content) for content in _published_networks()]
        self.odd += self.whole
        flat = {"classifier.weight": torch.zeros(3), "bottleneck.bias": torch.ones(4)}
        for odd in ({"net": flat}, {"net": {"visible_module.visible.conv1.weight": torch.zeros(1)}},
                    {"net": Path("x")},
                    {"config": {}, "method": {}, "optimisers": {}, "progress": 1},
                    {"net": {"model.stem_visible.x": torch.zeros(1)}}, [1],
                    {"state_dict": {"model.base_resnet.base.conv1.weight": torch.zeros(1)}},
                    {"net": print}):  # fmt: skip
            self.odd.append(_saved(odd))

    def use(self, value: bytes | Place) -> None:
        named = isinstance(value, bytes) and value[8:9] == b"{"
        path = self.put("net.safetensors" if named else "net.t", value)
        describe_file(path)
        load_foreign(path)
        with suppress(InputError):  # the seeds are no whole networks
            published = read_published(path)
            if value in self.whole[1:3]:
                describe_run(path)
                with torch.device("meta"):
                    published.build()


def _published_networks() -> Iterator[dict[str, Any]]:
    """Checkpoints of the published networks, all values of most tensors at one place."""
    epochs = {"base": "3 of 80", "agw": torch.tensor(3), "ddag": 3, "rle": 3}
    for name, epoch in epochs.items():
        model = dataclasses.replace(
            method_class(name).model_defaults("resnet50", "none"), last_stage=3 + (name != "rle")
        )
        with torch.device("meta"):
            method = build_method(name, model, Sizes(num_pids=2), None)
        state = {key: torch.zeros((), dtype=value.dtype).expand(value.shape)
                 for key, value in method.state_dict().items()}  # fmt: skip
        vars(method)["state_dict"] = lambda state=state: state
        net = published_net(method)
        # the reader looks at how much of these is there
        free = (form_of(method).classifier, "NL_2.0.theta.weight", "attention_0.W", "wpa.gate")
        net |= {key: net[key].clone() for key in free if key in net}
        yield {"net": net, "epoch": epoch}


def tiny_options(root: Path | None = None, **changes: Any) -> Any:
    """Options of a run with the smallest network."""
    method = changes.pop("method", "base")
    options = training_kit.tiny_options(method, steps_per_epoch=1, **changes)
    model = dataclasses.replace(options.model, arch=ARCH)
    recipe = dataclasses.replace(options.recipe, epochs=1)
    return dataclasses.replace(
        options, model=model, recipe=recipe, data_root=str(root) if root else None
    )


@target
class Weights(Target):
    """Weights files: their bytes, and their facts with sums that fit."""

    name = "weights"

    def make(self) -> None:
        self.root = fakes.make_sysu(self.work / "sysu", images=1)
        run = self.home / "run"
        quietly(training_kit.run, run, tiny_options(self.root, method="mcl"))
        self.seeds = [(run / "weights.safetensors").read_bytes()]
        self.tensors, facts = _parts(self.seeds[0])
        self.odd = [
            self.written({**facts, **change})
            for change in (
                {"method": f"{self.evil}:M"}, {"method": "none"}, {"dataset": f"{self.evil}:S"},
                {"size": [0, 10**9]}, {"default_embedding": "x"}, {"format": 99}, {"model": {}},
                {"sizes": {"num_pids": 10**9}}, {"sizes": {"num_pids": -1}},
                {"model": {**facts["model"], "arch": "resnet18"}}, {"trial": 99},
                {"model": {**facts["model"], "nonlocal_channels": 10**9}}, {"dataset": "folder"},
                {"synthetic": {"seed": 1}}, {"trained_on": {"a": 1}}, {"data_root": "/dev"},
                {"camera_pattern": "("}, {"part": "test"}, {"weights_hash": 1},
                {"preprocessing": {}},  # as of embeddings
            )
        ]  # fmt: skip
        self.odd += [torch_bytes(self.tensors), self.seeds[0].replace(b"mcl", b"mcm"), b"", b"{"]
        self.odd.append(self.written({**facts, "weights_hash": "0" * 64}))
        self.odd += [Place.EMPTY, Place.FOLDER, b"version https://git-lfs.github.com/spec/v1\n"]
        del facts["epoch"]
        self.odd.append(self.written(facts))
        whole = self.tensors
        name = min(key for key, tensor in whole.items() if tensor.ndim)
        for other in (whole[name].long(), whole[name][:1], whole[name].half()):
            self.tensors = {**whole, name: other}
            self.odd.append(self.written({**facts, "weights_hash": weights_hash(self.tensors)}))
        self.tensors = whole

    def written(self, facts: Any) -> bytes:
        """A weights file with these facts, its sums made to fit where the format has some."""
        facts = with_sum(facts)
        text = facts if isinstance(facts, str) else json.dumps(facts)
        return torch_bytes(self.tensors, {"vireid": text})

    def mutate(self, r: random.Random, seed: bytes) -> bytes:
        if r.random() < 0.3:
            return mutations.of_bytes(r, seed)
        _, facts = _parts(seed)
        if r.random() < 0.05:
            return self.written(r.choice(mutations.WORDS))
        return self.written(mutations.of_value(r, facts, self.words))

    def use(self, value: bytes | Place) -> None:
        path = self.put("w.safetensors", value)
        if value is not Place.FOLDER:
            describe_run(path)
        embedder = load(path, device="cpu", precision="float32")
        height, width = embedder.size
        assert height * width < 10**7
        embedder.embed(np.zeros((1, *SIZE, 3), np.uint8), "visible")
        if embedder.size != SIZE:  # the images would be decoded again
            return
        options = TestOptions(data_root=str(self.root), figure_queries=0, num_trials=1)
        shutil.rmtree(self.work / "report", ignore_errors=True)  # of other weights
        quietly(test, path, options, device="cpu", out=self.work / "report")


@target
class FirstWeights(Target):
    """What a network starts from: `--pretrained FILE`."""

    name = "start"
    sizes = Sizes(num_pids=2)

    def make(self) -> None:
        net = create(ARCH)
        whole = {**net.state_dict(), "fc.weight": torch.zeros(5, 32), "fc.bias": torch.zeros(5)}
        other = {f"a{number}.{name.rsplit('.', 1)[-1]}": value
                 for number, (name, value) in enumerate(net.state_dict().items())}  # fmt: skip
        ours = self.home / "ours.safetensors"
        options = dataclasses.replace(method_class("agw").model_defaults(ARCH, "none"))
        method = build_method("agw", options, self.sizes, None)
        save_weights(ours, method, {"seed": 3})
        self.seeds = [_saved({"state_dict": whole}), torch_bytes(net.state_dict()),
                      _saved(other), ours.read_bytes()]  # fmt: skip
        _, facts = _parts(self.seeds[3])
        self.tensors = method.state_dict()
        self.odd = [
            Place.EMPTY,
            Place.FOLDER,
            b"",
            _saved({}),
            _saved({"net": {"a": 1}}),
            _saved({"config": {}, "method": {}, "optimisers": {}, "progress": 1}),
            _saved({"base_resnet.base.conv1.weight": torch.zeros(1)}),
            torch_bytes({"a": torch.zeros(2)}, {"vireid": "[]"}),
            torch_bytes({"a": torch.zeros(2)}, {"vireid": "{"}),
            torch_bytes({"model.stem_visible.a": torch.zeros(2)}, {"vireid": "{}"}),
        ]
        self.odd += [
            torch_bytes(self.tensors, {"vireid": json.dumps({**facts, "model": model})})
            for model in (1, {"input_mean": [1, "a"]}, {"input_std": [0, 0, 0]},
                          {"input_mean": [1e300] * 3}, {"last_stage": 2}, {"arch": 3},
                          {"arch": ARCH, "last_stage": 9}, {"arch": "my.py:net"})
        ]  # fmt: skip

    def use(self, value: bytes | Place) -> None:
        safe = isinstance(value, bytes) and value[8:9] == b"{"
        path = self.put("start.safetensors" if safe else "start.pth", value)
        options = ModelOptions(arch=ARCH, pretrained=str(path))
        identities_before(str(path))
        train_options(pretrained=str(path))
        build_method("base", options, self.sizes, None)


@target
class ExportedNetworks(Target):
    """Networks in ONNX, alone and as a folder of both."""

    name = "onnx"

    def make(self) -> None:
        self.facts = {
            "format": 1, "modality": "visible", "weights_hash": "1" * 64, "method": "mcl",
            "arch": ARCH, "size": list(SIZE), "mean": [0.5] * 3, "std": [0.25] * 3,
            "embeddings": ["pooled", "embedding"], "default_embedding": "embedding",
            "identities": [], "licence": "CC0-1.0", "seed": 1,
        }  # fmt: skip
        self.other = self.network({**self.facts, "modality": "infrared"})
        self.seeds = [self.network(self.facts)]
        self.odd = [Place.EMPTY, Place.FOLDER, b"", b"text", self.other]
        self.odd += [
            self.network({**self.facts, **change})
            for change in (
                {"size": [64, 33]}, {"size": []}, {"modality": "both"}, {"embeddings": ["pooled"]},
                {"default_embedding": "x"}, {"mean": ["a"]}, {"mean": []}, {"weights_hash": "2"},
                {"embeddings": ["embedding", "pooled"]},
            )
        ]  # fmt: skip
        self.odd += [
            self.network(self.facts, **change)
            for change in ({"axes": (1, 2, 3)}, {"axes": (0, 1, 2)}, {"kind": "float"},
                           {"depth": 4}, {"image": "picture"}, {"axes": (1,)}, {"scale": 0.0},
                           {"shape": (5, 7)}, {"shape": (1, -1)})
        ]  # fmt: skip

    def network(
        self, facts: Any, *, axes: tuple[int, ...] = (1, 2), kind: str = "uint8", depth: int = 3,
        image: str = "image", scale: float = 1.0, shape: tuple[int, ...] = (),
    ) -> bytes:  # fmt: skip
        """The mean colour of an image, at length 1, under two names."""
        from onnx import TensorProto, helper

        number = TensorProto.UINT8 if kind == "uint8" else TensorProto.FLOAT
        nodes = [
            helper.make_node("Cast", [image], ["x"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
            *(
                [helper.make_node("Reshape", ["scaled", "shape"], ["pooled"])]
                if shape
                else [helper.make_node("Identity", ["scaled"], ["pooled"])]
            ),
            helper.make_node("LpNormalization", ["pooled"], ["embedding"], axis=-1),
        ]
        graph = helper.make_graph(
            nodes, "network",
            [helper.make_tensor_value_info(image, number, ["batch", *SIZE, depth])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
             for name in ("pooled", "embedding")],
            [helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes),
             helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape),
             helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale])],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        text = facts if isinstance(facts, str) else json.dumps(facts)
        helper.set_model_props(model, {"vireid": text})
        return model.SerializeToString()

    def mutate(self, r: random.Random, seed: bytes) -> bytes:
        if r.random() < 0.5:
            return mutations.of_bytes(r, seed)
        if r.random() < 0.05:
            return self.network(r.choice(mutations.WORDS).encode("utf-8", "replace").decode())
        return self.network(mutations.of_value(r, self.facts, self.words))

    def use(self, value: bytes | Place) -> None:
        used_once(self.used, [(value, way) for way in ("file", "visible", "infrared")])

    def used(self, value: tuple[bytes | Place, str]) -> None:
        content, way = value
        path = self.put("network.onnx", content)
        if way != "file":  # the folder of both
            path = self.work / "both"
            path.mkdir(exist_ok=True)
            put(path / "visible.onnx", content if way == "visible" else self.seeds[0])
            put(path / "infrared.onnx", content if way == "infrared" else self.other)
        embedder = load(path)
        height, width = embedder.size
        assert height * width < 10**7
        rows = embedder.embed(np.ones((2, height, width, 3), np.uint8), "visible", tta="flip")
        assert rows.vectors[embedder.default_embedding].shape[0] == 2
        check_lengths(rows.vectors[embedder.default_embedding] / 2, ["a", "b"])


def with_sum(facts: Any) -> Any:
    """Facts of a weights file with the sum over them that the format asks for."""
    try:
        from vireid.weights import facts_hash
    except ImportError:
        return facts
    return {**facts, "facts_hash": facts_hash(facts)} if isinstance(facts, dict) else facts


def _parts(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    from safetensors.torch import load as load_bytes

    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    return load_bytes(content), json.loads(header["__metadata__"]["vireid"])


@target
class Checkpoints(Target):
    """A run's checkpoints, with checksums that fit, and what lies beside them."""

    name = "checkpoint"

    def make(self) -> None:
        self.run, self.options = self.home / "run", tiny_options(method="mcl")
        quietly(training_kit.run, self.run, self.options)
        (path,) = (self.run / "checkpoints").glob("*.pt")
        files = (path, self.run / "log.jsonl", self.run / "record.json")
        self.seeds = [(one.name, one.read_bytes()) for one in files]
        state = torch.load(io.BytesIO(self.seeds[0][1]), weights_only=True)
        name = path.name
        for key in state:
            for odd in ({}, None, [1], "x", {"x": {"y": 1}}, torch.zeros(2)):
                self.odd.append((name, _saved({**state, key: odd})))
        self.odd += [
            (name, _saved({**state, "progress": {**state["progress"], **change}}))
            for change in ({"step": 0}, {"step": 1}, {"epoch": -1}, {"best": 2.0}, {"more": 1})
        ]
        rank = state["ranks"][0]
        self.odd += [
            (name, _saved({**state, "ranks": ranks}))
            for ranks in ([], [rank, rank], [{**rank, "random": torch.zeros(3)}],
                          [{**rank, "buffers": {"x": torch.zeros(1)}}],
                          [{**rank, "random": torch.zeros(5056, dtype=torch.uint8)}])
        ]  # fmt: skip
        self.odd.append((name, _saved({**state, "format": 1})))
        main = state["optimisers"]["main"]
        parameter = next(iter(main))
        self.odd += [
            (name, _saved({**state, "optimisers": {"main": {**main, parameter: entry}}}))
            for entry in ({}, {"momentum_buffer": torch.zeros(1)})
        ]
        shared: Any = {}
        for _ in range(60):
            shared = {"a": shared, "b": shared}
        self.odd.append((name, _saved({**state, "config": shared})))
        self.odd += [
            (one, content)
            for one in (name, f"{name}.sha256", "log.jsonl", "record.json", "config.json")
            for content in (Place.EMPTY, Place.FOLDER, b"", b"\xff")
        ]
        people = state["identities"][0]
        buffers = {one: value for one, value in state["method"].items() if "running_" in one}
        self.odd += [
            (name, _saved({**state, **change}))
            for change in (
                {"config": {"a": (1, 2)}}, {"identities": []}, {"average": {}},
                {"identities": [{**people, "pids": people["pids"][::-1]}]},
                {"identities": [{**people, "data_hash": "0"}]},
                {"identities": [{**people, "camids": [1]}]},
                {"progress": {**state["progress"], "epoch": 0}, "ranks": [rank, rank]},
                {"config": dict.fromkeys(state["config"], 1)}, {"config": {}},
                {"method": {1: torch.zeros(1)}},
                {"ranks": [{**rank, "buffers": buffers}]},
                {"ranks": [{**rank, "buffers": {k: v[None] for k, v in buffers.items()}}]},
                {"ranks": [{**rank, "buffers": {k: v.to_sparse() for k, v in buffers.items()}}]},
            )
        ]  # fmt: skip
        record = json.loads(self.seeds[2][1])
        self.odd.append(("record.json", json.dumps({"options": record["options"]}).encode()))
        self.odd += [("checkpoints", place) for place in Place]
        self.odd += [
            ("record.json", json.dumps({**record, **change}).encode())
            for change in (
                {"package_hash": "0"}, {"data_hash": "0"}, {"versions": {"torch": "1"}},
                {"options": {**record["options"], "recipe": {**record["options"]["recipe"],
                                                             "epochs": 9}}},
                {"code": {"method": {"name": "my.py:My", "sha256": "0", "copies": ["my.py"]}}},
            )
        ]  # fmt: skip

    def mutate(self, r: random.Random, seed: Any) -> Any:
        name, content = seed
        if name == "log.jsonl":
            lines = content.decode().splitlines()
            i = r.randrange(len(lines))
            if r.random() < 0.5:
                return name, mutations.of_text(r, content.decode(), ',:{}"\n')
            lines[i] = json.dumps(mutations.of_value(r, json.loads(lines[i])))
            return name, "\n".join(lines).encode("utf-8", "surrogatepass")
        if name == "record.json":
            value = mutations.of_value(r, json.loads(content), self.words)
            return name, json.dumps(value).encode("utf-8", "surrogatepass")
        if r.random() < 0.4:
            return name, mutations.of_bytes(r, content)
        state = torch.load(io.BytesIO(content), weights_only=True)
        return name, _saved(_odd_state(r, state, self.words))

    def use(self, value: Any) -> None:
        name, content = value
        copied = self.work / "run"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(self.run, copied)
        path = copied / ("checkpoints" if ".pt" in name else "") / name
        put(path, content)
        if ".pt" in name:
            (copied / "log.jsonl").unlink()  # nor are its curves drawn, which takes a while
        if name.endswith(".pt") and isinstance(content, bytes):
            digest = hashlib.sha256(content).hexdigest()
            path.with_name(f"{name}.sha256").write_text(f"{digest}  {name}\n")
            with suppress(InputError):
                describe_run(path)
        if content is Place.EMPTY and name == "checkpoints":
            (copied / "config.json").unlink()
        elif name != "config.json":
            describe_run(copied)
        used_once(
            lambda way: quietly(
                training_kit.run, copied, self.options, resume=True, other_code=way
            ),
            [False, True][: 1 + (name == "record.json")],
        )


def _saved(state: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _odd_state(r: random.Random, state: Any, words: list[str]) -> Any:
    """A checkpoint's state with keys removed and values replaced, tensors among them."""
    state = copy.copy(state)
    node, way = state, []
    while True:
        key: Any = r.choice(list(node)) if isinstance(node, dict) else r.randrange(len(node))
        inner = node[key]
        if isinstance(inner, (dict, list)) and inner and r.random() < 0.85:
            node[key] = copy.copy(inner)
            node = node[key]
            way.append(key)
            continue
        what = r.random()
        if what < 0.2:
            del node[key]
        elif what < 0.3 and isinstance(node, dict):
            node[r.choice([*mutations.WORDS, 7, 1.5])] = node.pop(key)
        elif what < 0.6:
            node[key] = _odd_tensor(r, inner)
        else:
            node[key] = copy.deepcopy(r.choice([*mutations.VALUES, *words]))
        return state


def _odd_tensor(r: random.Random, like: Any) -> Any:
    shape = tuple(like.shape) if isinstance(like, torch.Tensor) else (3,)
    return r.choice(
        [
            torch.zeros(()), torch.zeros(0), torch.full(shape, float("nan")),
            torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.complex64),
            torch.zeros(1).expand(10**6, 10**6), torch.zeros(shape, dtype=torch.bool),
            torch.zeros((*shape, 1)), torch.zeros(shape).to_sparse(),
            torch.empty(shape, device="meta"), torch.zeros(5056, dtype=torch.uint8),
        ]
    )  # fmt: skip


# Configurations -------------------------------------------------------------------------------


def _train_defaults(words: list[str]) -> None:
    problems = Problems()
    prepare_training(words, problems)
    problems.tell()


@target
class Configurations(Target):
    """A run's config.json and trials.json, `--config` files, the note of synthetic people."""

    name = "config"

    def make(self) -> None:
        self.people = checked_parameters("sysu", 6, 2, 1, 3, "easy", False, False)
        plain = to_plain(train_options(dataset="regdb", method="mcl", recipe="published"))
        self.toml = (
            '[recipe]\nlr = 0.05\nschedule = {kind = "cosine"}\n[model]\narch = "resnet18"\n'
        )
        trials = {"options": {**plain, "trial": "all"}, "max_steps": None}
        self.seeds = [
            ("config.json", plain), ("trials.json", trials), ("config.toml", self.toml),
            ("config.json", {"method": "ddag", "recipe": {"name": "clean"}}),
            (SYNTHETIC_MARKER, {**to_plain(self.people), "complete": False}),
        ]  # fmt: skip
        self.odd = [
            ("config.json", {**plain, "method": f"{self.evil}:M"}),
            ("config.json", {**plain, "dataset": f"{self.evil}:S"}),
            ("trials.json", {**trials, "options": {**plain, "method": f"{self.evil}:M"}}),
            ("config.json", b"[" * 100_000), ("config.json", b"1" * 5000), ("config.json", b"\xff"),
            ("config.json", {**plain, "max_steps": 3}), ("config.toml", "a = [" * 10_000),
            ("config.toml", "lr = 1\n[recipe]\nseed = 1\n"), ("config.toml", 'recipe = "clean"'),
            ("config.toml", 'method = "none"'), ("trials.json", {}), ("config.json", []),
            ("config.json", b'{"lr": 1e999}'), ("config.toml", "seed = 1e999"),
            ("config.toml", "[recipe]\nlr = inf"), ("config.toml", f"seed = {10**20}"),
            (SYNTHETIC_MARKER, {**to_plain(self.people), "seed": 4}),
            (SYNTHETIC_MARKER, Place.EMPTY),
            (SYNTHETIC_MARKER, {"seed": "x"}), (SYNTHETIC_MARKER, b"{"), (SYNTHETIC_MARKER, []),
            *((name, place) for name in ("config.json", "config.toml") for place in Place),
            ("config.toml", "a"), ("config.py", b"import torch"),
            *(("config.json", value) for value in (
                {"method": "base", "method_options": {"hidden": 1}}, {"data_root": 7}, {"model": 7},
                {"model": {"pretrained": "none"}, "recipe": {"name": "mine", "lr": 1}},
                {"recipe": {"schedule": {"milestones": [1, "a"]}}}, {"select": "never"},
                {"recipe": {"schedule": {"milestones": 3}}, "size": [1]}, {"trial": "some"},
                {"select": 3}, {"model": {"pretrained": 7}}, {"size": [1]}, {"seed": True},
                {"seed": 2**62, "keep": 0}, {"recipe": {"lr": 1, "loss": 1}},
            )),
        ]  # fmt: skip

    def mutate(self, r: random.Random, seed: tuple[str, Any]) -> Any:
        name, content = seed
        if isinstance(content, str):
            return name, mutations.of_text(r, content, " ,\n=\"'[]{}")
        if r.random() < 0.2:
            return name, mutations.of_text(r, json.dumps(content), ' ,:"[]{}')
        return name, mutations.of_value(r, content, self.words)

    def use(self, value: tuple[str, Any]) -> None:
        name, content = value
        run = self.work / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        if isinstance(content, (dict, list)):
            content = json.dumps(content).encode("utf-8", "surrogatepass")
        path = run / name
        put(path, content.encode() if isinstance(content, str) else content)
        if name == "trials.json":
            _train_defaults(["--resume", str(run)])
            return
        if name == SYNTHETIC_MARKER:
            read_marker(run)
            claim(run, self.people)
            return
        _train_defaults(["--config", str(path)])
        if path.suffix == ".json":
            _train_defaults(["--resume", str(run)])
        train_options(path)
        _run_config(run)
        if path.suffix == ".json" and isinstance(value[1], dict) and "seed" in value[1]:
            describe_run(run)


@target
class Sweeps(_Text):
    """The file of `vireid sweep`."""

    name = "sweep"

    def make(self) -> None:
        self.seeds = [
            'seeds = [0, 1]\nbaseline = "a"\n[base]\nmethod = "base"\narch = "resnet18"\n'
            '[rows.a]\nlr = 0.1\n[rows."b c"]\nlr = 0.2\n[test]\ntta = ["none", "flip"]\n',
            '[[test]]\ntta = "flip"\n[[test]]\nrerank = true\n',
            'base = {pretrained = "start-{seed}.pth"}\ngrid = {lr = [0.1, 0.2], p = [2]}\n',
            '\ufeff[rows.a]\nmethod = "mcl"\ndataset = "regdb"\n[test]\nrerank = true\n',
            '[base]\nselect = "val"\n[test]\npart = "val"\ndata_root = "/"\nrerank = false\n',
        ]
        self.seeds[2] = self.seeds[2].replace("p = [2]", "pids_per_batch = [2]")
        self.odd = [
            Place.EMPTY, Place.FOLDER, b"\xff", "", "seed = [1]", "seeds = []", "seeds = [1, 1]",
            "seeds = 1", 'baseline = "x"', "[rows.a]\n[rows.b]\n", "[rows.a]\nseed = 1\n",
            "[rows.a]\nlr = 1\n[grid]\nlr = [1, 2]\n", "[grid]\nlr = 3\n", "[rows.a]\nnone = 1\n",
            f'[rows.a]\nmethod = "{self.evil}:M"\n', "[rows.a]\nmax_steps = 5\n",
            '[rows.a]\nmax_steps = "a"\n', '[rows.a]\nconfig = "absent.toml"\n', "[rows]\na = 1\n",
            '[base]\ndata_root = 7\n', '[rows.a]\ntrial = "all"\nmax_steps = 1\n',
            "[rows.a]\n[rows.a.recipe]\nlr = 1\n", "base = [" * 10_000, "[test]\na = [[1]]\n",
            '[base]\npretrainEd = "none"\n', '[rows.a]\nmethod = ""\n',
            '[rows.a]\nrecipe = ""\n', '[rows.a]\narch = ""\n',
            '[base]\nconfig = 7\n', '[base]\nmethod = 7\n', "[grid]\nlr = []\n",
            '[test]\nmode = "inside"\n', '[test]\npart = "val"\n', '[test]\nout = "a"\n',
            f'[test]\ndataset = "{self.evil}:S"\n', '[test]\ndataset = "llcm"\ndata_root = "no"\n',
            '[test]\nepoch = "a"\n', '[base]\ndataset = "regdb"\ntrial = "all"\n',
            "lr = 1\n[recipe.schedule]\nkind = 1\n[base]\nshots = 1\n", "recipe = 1\n",
            "[base]\nlr = -1\n[rows.a]\npad = -1\n[rows.b]\n[grid]\nmomentum = [-1]\n",
        ]  # fmt: skip

    def mutate(self, r: random.Random, seed: str) -> bytes:
        return mutations.of_text(r, seed, " ,\n=\"'[]{}.")

    def use(self, value: str | bytes | Place) -> None:
        path = self.put("sweep.toml", self.content(value))
        for job in read_sweep(path, self.work / "runs").jobs:
            assert job.folder.parent == self.work / "runs"


@target
class Tokens(_Text):
    """The file of `vireid serve --token-file`."""

    name = "tokens"

    def make(self) -> None:
        one, other = "a" * 32, "b" * 40
        self.seeds = [f"ann {one}\n# of the night\n\n bob@x-1.y   {other} \r\n", f"\ufeffx {one}"]
        self.odd = [
            Place.EMPTY, Place.FOLDER, b"\xff", "", "#\n", "ann\n", f"ann {one} {one}\n",
            f"an/n {one}\n", f"ann {one}\nann {other}\n", f"ann {one}\nbob {one}\n", "ann short\n",
            f"ann {'é' * 40}\n", "ann " + "x" * 70_000, f"{one} ann\n",
        ]  # fmt: skip

    def use(self, value: str | bytes | Place) -> None:
        path = self.put("tokens.txt", self.content(value))
        read_tokens([f"carl={'c' * 32}"])
        try:
            tokens = read_tokens([], path)
            ServerSettings(tokens=tokens, host="0.0.0.0")
        except InputError as error:
            assert not any(secret in str(error) for secret in ("a" * 32, "b" * 40)), "a token leaks"
            raise


# Embeddings -----------------------------------------------------------------------------------


def use_embeddings(path: Path, work: Path) -> None:
    """Read, index, search, show."""
    rows = load_embeddings(path)
    for which, dim in (("other", 1), (None, 1), (None, index_helpers.DIM)):  # into another index
        with suppress(InputError):
            check_embeddings(rows, which, embedding="embedding", weights_hash=index_helpers.HASH,
                             dim=dim, preprocessing=_KNOWN)  # fmt: skip
    folder = work / "index"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with build_index(folder, rows) as index:
            assert not index.verify()
            use_index(index, work)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def use_index(index: Any, work: Path) -> list[Any]:
    """Search with and without filters, and show what was found; returns the hits."""
    from vireid.commands.index import _for_people

    queries = np.random.default_rng(0).standard_normal((3, index.dim)).astype(np.float32)
    hits = index.search(queries, top=500)
    for filters in (Filters(camids=(1,)), Filters(time_from=0.0), Filters(pids=(2,)),
                    Filters(modality=Modality.INFRARED, time_to=1e9)):  # fmt: skip
        index.search(queries[:1], top=5, filters=filters)
    queries = [Query((Path("query.jpg"),))] * len(hits)
    names = index.camera_names
    text = json.dumps(
        hits_as_json(queries, hits, [()] * len(hits), names), allow_nan=False, ensure_ascii=False
    ).encode()
    assert text
    shown = [hits_table(queries[0], ranked[:20], names) for ranked in hits[:1] if ranked]
    quietly(results.print, *shown)
    assert hits_as_csv(queries, hits, names)
    facts = to_plain(index.info())
    assert json.dumps(facts, allow_nan=False)
    _for_people(facts)
    ids = [hit.row_id for hit in hits[0][:3]]
    assert len(index.entries(ids)) == len(index.vectors_of(ids)) == len(ids)
    return hits


_KNOWN = {**index_helpers.PREPROCESSING, "size": [288, 144], "tta": "none", "mean": [0.5] * 3,
          "search_with": "embedding"}  # fmt: skip


def _people() -> list[Embeddings]:
    first = index_helpers.people(40)
    other = {name: first.vectors["embedding"].astype(np.float16) for name in ("pooled", "part")}
    return [
        dataclasses.replace(first, preprocessing=_KNOWN),
        dataclasses.replace(first, vectors=other, preprocessing={"search_with": "part"}),
        dataclasses.replace(index_helpers.people(1, first=3), paths=["é/\u4e2d.jpg"]),
    ]


@target
class EmbeddingsFile(Target):
    """Embeddings files: bytes, and headers."""

    name = "embeddings"

    def make(self) -> None:
        for number, people in enumerate(_people()):
            save_embeddings(self.home / f"{number}.st", people)
            self.seeds.append((self.home / f"{number}.st").read_bytes())
        self.odd = [
            self.rewritten(self.seeds[0], about)
            for about in ({"kind": 1}, {"order": []}, {"order": "embedding"}, {"order": ["x"]},
                          {"weights_hash": 1}, {"preprocessing": {"search_with": {}}},
                          {"preprocessing": {"size": [1]}}, {"preprocessing": []})
        ] + [torch_bytes({"a": torch.zeros(2)}), b"", b"{}"]  # fmt: skip
        one = self.seeds[2]  # image, whose number may stand alone
        header = json.loads(one[8 : 8 + int.from_bytes(one[:8], "little")])
        header["pids"]["shape"] = []
        self.odd.append(self.with_header(one, header))
        first = _people()[0]
        names = list(first.paths)
        vectors = {"embedding": first.vectors["embedding"] * np.float32(1.5)}
        for number, change in enumerate(
            (
                {"paths": [""] * 40}, {"paths": [names[0]] * 40},
                {"paths": ["\udcff.jpg", *names[1:]]}, {"vectors": vectors},
                {"preprocessing": {**_KNOWN, "tta": "flip"}}, {"preprocessing": {}},
                {"preprocessing": {**_KNOWN, "intensity_range": "minmax"}},
            )
        ):  # fmt: skip
            save_embeddings(self.home / f"odd{number}.st", dataclasses.replace(first, **change))
            self.odd.append((self.home / f"odd{number}.st").read_bytes())
        self.odd += [Place.EMPTY, Place.FOLDER]

    @staticmethod
    def rewritten(content: bytes, about: Any) -> bytes:
        """With other facts: keys of a dictionary replace those that are there."""
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        before = json.loads(header["__metadata__"]["vireid"])
        header["__metadata__"]["vireid"] = json.dumps(
            {**before, **about} if isinstance(about, dict) else about
        )
        return EmbeddingsFile.with_header(content, header)

    @staticmethod
    def with_header(content: bytes, header: Any) -> bytes:
        size = int.from_bytes(content[:8], "little")
        text = json.dumps(header).encode("utf-8", "surrogatepass")
        return len(text).to_bytes(8, "little") + text + content[8 + size :]

    def mutate(self, r: random.Random, seed: bytes) -> bytes:
        what = r.random()
        if what < 0.4:
            return mutations.of_bytes(r, seed)
        size = int.from_bytes(seed[:8], "little")
        header = json.loads(seed[8 : 8 + size])
        if what < 0.6:
            return self.with_header(seed, mutations.of_value(r, header))
        about = json.loads(header["__metadata__"]["vireid"])
        header["__metadata__"]["vireid"] = json.dumps(mutations.of_value(r, about, self.words))
        return self.with_header(seed, header)

    def use(self, value: bytes) -> None:
        use_embeddings(self.put("e.st", value), self.work)


@target
class EmbeddingsValues(Target):
    """Embeddings files that are whole, with values that can't be."""

    name = "emb_values"

    def make(self) -> None:
        for number, people in enumerate(_people()):
            path = self.home / f"{number}.st"
            save_embeddings(path, people)
            with safe_open(path, framework="np") as file:
                about = file.metadata()["vireid"]
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.seeds.append((arrays, about))
        whole = self.seeds[0]
        self.odd = [({"pids": whole[0]["pids"]}, whole[1])]
        for name in whole[0]:
            for odd in (np.zeros(3), np.zeros((40, 2), np.int32), np.zeros(40, np.uint8),
                        np.arange(40)[::-1], np.full(40, -7), np.full(40, -7.0)):  # fmt: skip
                self.odd.append(({**whole[0], name: odd}, whole[1]))

    def mutate(self, r: random.Random, seed: Any) -> Any:
        arrays = {name: array.copy() for name, array in seed[0].items()}
        for _ in range(r.choice([1, 1, 2, 3])):
            name = r.choice(list(arrays))
            array = arrays[name]
            what = r.random()
            if what < 0.1:
                del arrays[name]
                if not arrays:
                    break
                continue
            if what < 0.2:
                arrays[name] = array[: r.randrange(len(array) + 1)]
                continue
            if what < 0.3:
                kinds = ["f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8", "?"]
                with np.errstate(all="ignore"):
                    arrays[name] = array.astype(r.choice(kinds))
                continue
            if not array.size:
                continue
            if array.dtype.kind == "f":
                value = r.choice(
                    [np.nan, np.inf, -np.inf, 0, -1, 1e300, 1.7e12, -6.3e10, 1e9, 2e10]
                )
            else:
                value = r.choice([-(2**63), 2**63 - 1, -2, -1, 0, 1, 2, 7, 255, 10**12, 4294901760])
            rows = slice(None) if r.random() < 0.2 else r.randrange(len(array))
            with np.errstate(all="ignore"):
                array[rows] = np.array(value).astype(array.dtype)
        return arrays, seed[1]

    def use(self, value: Any) -> None:
        arrays, about = value
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        content = safetensors_bytes(arrays, {"vireid": about})
        use_embeddings(self.put("e.st", content), self.work)


# What the package writes and reads again ------------------------------------------------------


class _Kept(Target):
    """Files of a folder that the package made; the seed is a file's name (or a pattern of several
    names) and its bytes.

    Whatever happened to one, there is a sentence or the same answer as before.
    """

    def make_folder(self) -> Path:
        """The folder."""
        raise NotImplementedError

    def make(self) -> None:
        self.folder = self.make_folder()
        self.originals = {one.name: one.read_bytes() for one in sorted(self.folder.iterdir())}
        self.seeds = list(self.originals.items())
        self.odd = [(name, content) for name in self.originals
                    for content in (Place.EMPTY, Place.FOLDER, b"", b"{}", b"\xff")]  # fmt: skip

    def mutate(self, r: random.Random, seed: Any) -> Any:
        name, content = seed
        if name.endswith(".json") and r.random() < 0.7:
            value = mutations.of_value(r, json.loads(content), self.words)
            return name, json.dumps(value).encode("utf-8", "surrogatepass")
        return name, mutations.of_bytes(r, content)

    def damage(self, name: str, content: bytes | Place) -> None:
        """The folder as it was, but for files of this name."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for one, before in self.originals.items():
            put(self.folder / one, before)
        for path in list(self.folder.glob(name)):
            put(path, content)


@target
class DecodedImages(_Kept):
    """What is kept of a data set: its decoded images, the table beside them, its hash."""

    name = "decoded"

    def make_folder(self) -> Path:
        self.data = load_dataset("folder", fakes.make_folder(self.work / "data", identities=3))
        self.images = np.array(prepare(self.data, size=SIZE, workers=1).images)
        self.hash = data_hash(self.data)
        (self.data.root / ".vireid" / ".lock").unlink(missing_ok=True)
        return self.data.root / ".vireid"

    def make(self) -> None:
        super().make()
        (array,) = (name for name in self.originals if name.endswith(".npy"))
        (table,) = (name for name in self.originals if name.endswith(".csv"))
        text, rows = self.originals[table], self.originals[table].splitlines(keepends=True)
        (kept,) = (name for name in self.originals if name.endswith(".sha256"))
        self.odd.append((kept, b"0" * 64 + self.originals[kept][64:]))
        fortran = self.originals[array].replace(b"False", b"True ", 1)
        assert fortran != self.originals[array]
        self.odd += [(array, fortran), (table, text.replace(b",1\n", b",yes\n", 1)),
                     (table, b"".join([*rows[:1], *rows[:0:-1]])),
                     (table, text.replace(b",1\n", b",0\n", 1)),
                     (table, text.replace(b",1\n", b"0,1\n", 1)),
                     (array, self.originals[array][:-1] + b"?")]  # fmt: skip

    def use(self, value: tuple[str, bytes | Place]) -> None:
        name, content = value
        self.damage(name, content)
        assert data_hash(self.data) == self.hash
        store = prepare(self.data, size=SIZE, workers=1)
        assert store.valid.all() and not store.broken
        store.check(np.arange(len(store.images)))
        assert np.array_equal(store.images, self.images)


@target
class UnfinishedEmbed(_Kept):
    """A `vireid embed` that was stopped: what it had done, and how it goes on."""

    name = "parts"

    def make_folder(self) -> Path:
        images = fakes.make_folder(self.work / "images", identities=2, images=1)
        self.rows = self.work / "rows.csv"
        files = sorted(images.rglob("*.png"))
        self.rows.write_text(
            "path,modality\n"
            + "".join(f"{one.as_posix()},{n % 2}\n" for n, one in enumerate(files))
        )
        (self.work / "images" / files[0].relative_to(images)).write_bytes(b"no image")
        options = method_class("base").model_defaults(ARCH, "none")
        torch.manual_seed(1)
        network = build_method("base", options, Sizes(num_pids=2, num_cameras=2))
        self.embedder = Embedder(network, {"size": list(SIZE)}, device="cpu")
        self.out = self.work / "out.safetensors"
        self.embed()
        self.whole = self.out.read_bytes()
        self.out.unlink()

        def stop(job: Any) -> None:
            raise InputError("stopped")

        with pytest.MonkeyPatch.context() as patch, suppress(InputError):
            patch.setattr("vireid.embed.job._Job._finish", stop)
            self.embed()
        folder = self.work / "out.safetensors.parts"
        (folder / "part-000002.json").unlink()  # it was stopped before
        return folder

    def embed(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vireid.embed.job.PART", 1)
            quietly(
                embed_files, self.embedder, self.rows, self.out, batch_size=1, skip_broken=True,
                workers=1,
            )  # fmt: skip

    def make(self) -> None:
        super().make()
        marks = {name: json.loads(content) for name, content in self.originals.items()
                 if name.startswith("part-")}  # fmt: skip
        (broken,) = (name for name, mark in marks.items() if mark["broken"])
        for change in ({"broken": [99]}, {"broken": []}, {"broken": [10**30]}, {"vectors": {}}):
            self.odd.append((broken, json.dumps({**marks[broken], **change}).encode()))
        old = {"broken": marks[broken]["broken"]}  # as an earlier version wrote it
        result = self.originals["embeddings.safetensors"]
        self.odd += [(broken, json.dumps(old).encode()), ("embeddings.safetensors", result[:-400])]
        self.odd += [("part-*.json", b'{"broken": []}'), ("[.j]*", Place.EMPTY), ("*", Place.EMPTY)]
        self.odd.append(
            ("job.json", self.originals["job.json"].replace(b'"float16"', b'"float32"'))
        )

    def use(self, value: tuple[str, bytes | Place]) -> None:
        self.damage(*value)
        self.out.unlink(missing_ok=True)
        try:
            self.embed()
        except InputError:
            assert not self.out.exists()
            raise
        assert self.out.read_bytes() == self.whole


@target
class SweepState(_Kept):
    """What a sweep knows of its runs, and of tests that it has made; whatever is damaged of these
    is tested again."""

    name = "tested"

    def make_folder(self) -> Path:
        folder = self.home / "tested"
        folder.mkdir()
        done = {"test": ["--rerank"], "reports": ["test/all/report.json"]}
        tests = {"1" * 64: [["--tta", "flip"], done]}
        (folder / "a.json").write_text(json.dumps(tests))
        state = [{"run": str(self.home), "state": "done"}, {"run": "no", "state": "failed"}]
        (folder / "sweep.json").write_text(json.dumps(state))
        return folder

    def make(self) -> None:
        super().make()
        gone = json.dumps([{"run": "gone", "state": "done"}])
        self.odd.append(("sweep.json", gone.encode()))

    def use(self, value: tuple[str, bytes | Place]) -> None:
        self.damage(*value)
        assert all(isinstance(run, Path) for run in runs_of(self.folder))
        tests = _tested(self.folder / "a.json", "1" * 64)
        words = [_words(test) for test in tests]
        assert all(isinstance(word, str) for test in words for word in test)
        if not tests:
            raise InputError("All tests are made again.")


# Indexes --------------------------------------------------------------------------------------


class _IndexFolder(Target):
    def make(self) -> None:
        for number, count in enumerate((30, 150)):  # the second one has a projection
            folder = self.home / f"index{number}"
            about = {"weights_hash": index_helpers.HASH, "dim": index_helpers.DIM,
                     "embedding": "embedding", "image_roots": (str(self.home),),
                     "preprocessing": {}}  # fmt: skip
            with LocalIndex.create(folder, options=index_helpers.SMALL, **about) as index:
                index.add(index_helpers.people(count))
                index.update(index_helpers.people(3))
                index.remove(paths=index_helpers.people(9, first=5).paths)
            assert (folder / "codes-0001.i8").exists() == bool(number)

    @contextmanager
    def copied(self, number: int) -> Iterator[Path]:
        folder = self.work / "index"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.home / f"index{number}", folder)
        yield folder

    def try_all(self, folder: Path) -> None:
        """What one does with an index: search, verify, then change it."""
        with LocalIndex.open(folder, options=index_helpers.SMALL) as index:
            use_index(index, self.work)
            problems = index.verify()
        with LocalIndex.open(folder, write=True, options=index_helpers.SMALL) as index:
            index.add(index_helpers.people(5, first=1000))
            index.update(index_helpers.people(12, first=2))
            index.remove(older_than=100.0)
            index.compact()
            again = index.verify()
            use_index(index, self.work)
        assert problems or not again, f"compaction made problems: {again}"


@target
class IndexBytes(_IndexFolder):
    """The files of an index, their bytes changed."""

    name = "index_bytes"

    def make(self) -> None:
        super().make()
        self.seeds = [
            (number, path.name, path.read_bytes())
            for number in (0, 1)
            for path in sorted((self.home / f"index{number}").iterdir())
            if path.name != "writer.lock"
        ]
        with np.load(self.home / "index1" / "projection-0001.npz") as file:
            arrays = {name: file[name] for name in file.files}
        vectors = (self.home / "index0" / "vectors-0001.f16").read_bytes()
        self.odd = [(0, "vectors-0001.f16", vectors[:-2]), (1, "codes-0001.i8", b"x"),
                    (0, "vectors-0001.f16", bytes(len(vectors))), (1, "projection-0001.npz", b"x"),
                    (0, "index.sqlite", b"text" * 300)]  # fmt: skip
        self.odd += [(1, name, place) for number, name, _ in self.seeds if number
                     for place in (Place.EMPTY, Place.FOLDER)]  # fmt: skip
        self.odd += [
            (1, "projection-0001.npz", _npz(**change))
            for change in ({}, {**arrays, "axes": np.zeros((16, 0), np.float32),
                                "steps": np.zeros(0, np.float32)},
                           {**arrays, "mean": 1 - arrays["mean"]}, {"mean": np.zeros(3)},
                           {"axes": np.zeros(4), "steps": np.zeros(4)},
                           {"steps": np.zeros((2, 2), np.complex64)}, {"fitted": np.array("x")})
        ]  # fmt: skip

        self.odd += [(0, "writer.lock", text) for text in (
            b"", b"{}", b"\xff", b"[" * 10_000, b'{"pid": "x", "host": 1, "since": null}',
            json.dumps({"pid": 7, "host": "h" * 70_000, "since": "\x1b[2J"}).encode(),
        )]  # fmt: skip

    def mutate(self, r: random.Random, seed: Any) -> Any:
        number, name, content = seed
        if name == "projection-0001.npz" and r.random() < 0.5:
            with np.load(io.BytesIO(content)) as file:
                arrays = {name: file[name] for name in file.files}
            odd = r.choice([np.zeros(3), np.zeros((16, 4), np.float32), np.array(-1), np.array(0.5),
                            np.array("x"), np.array([np.nan]), np.array(2**62)])  # fmt: skip
            arrays[r.choice(list(arrays))] = odd
            return number, name, _npz(**arrays)
        return number, name, mutations.of_bytes(r, content)

    def use(self, value: Any) -> None:
        number, name, content = value
        with self.copied(number) as folder:
            if name != "writer.lock":
                put(folder / name, content)
                self.try_all(folder)
                return
            lock = WriterLock(folder)
            try:
                put(folder / name, content)
                LocalIndex.open(folder, write=True).close()
            finally:
                lock.release()


def _bomb_archive(name: str) -> bytes:
    """A small archive that says it unpacks to 2 GiB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"")
        archive.getinfo(name).file_size = 2**31
    return file.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@target
class IndexRows(_IndexFolder):
    """An index's SQLite file, edited by hand.

    Edits of single entries must not make the others unreadable.
    """

    name = "index_sql"
    columns = ("id", "slot", "path", "camid", "pid", "modality", "time", "checksum")
    values = (
        "NULL", "0", "1", "-1", "2", "-2", "3000000000", "9223372036854775807", "1.5", "1e300",
        "'x'", "''", "x'ff00'", "CAST(x'ff2e6a7067' AS TEXT)", "'7'", "-9223372036854775808",
        "9e18", "NULL", "'a' || char(0)", "9e999", "-1.0", "7258118400.0",
    )  # fmt: skip
    facts = (
        "null", "1", "-1", "0", "1.5", '"x"', "[]", "{}", "x", "", "NaN", "1e999", "99999999999999",
        "10000000000000000000000", "true", '["a", 1]', '{"size": 1}', '{"size": [1]}', "[[",
        '{"search_with": {}}', '["/etc"]', '""', '{"tta": []}', "4", "9223372036854775807",
    )  # fmt: skip
    keys = ("format", "generation", "written", "projection", "projected", "weights_hash",
            "embedding", "dim", "image_roots", "preprocessing", "last_projection",
            "prefixes", "strangers", "camera_names")  # fmt: skip
    schema = (
        "DROP TABLE entries", "DROP TABLE about", "DROP TABLE tombstones", "DELETE FROM about",
        "ALTER TABLE entries RENAME COLUMN pid TO person", "ALTER TABLE entries ADD COLUMN more",
        "ALTER TABLE entries DROP COLUMN checksum", "CREATE VIEW more AS SELECT * FROM entries",
        "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END",
        "DELETE FROM entries", "INSERT INTO tombstones (slot) VALUES ('x')",
        "INSERT INTO tombstones (slot) VALUES (99999999)", "UPDATE tombstones SET slot = -5",
        "INSERT INTO about VALUES ('more', '1')", "DELETE FROM tombstones",
        "INSERT INTO tombstones (slot) SELECT slot FROM entries",
        "UPDATE entries SET slot = slot + 10000", "UPDATE entries SET slot = -slot - 1",
        "INSERT INTO tombstones (number, slot) VALUES (9223372036854775807, 1)",
    )  # fmt: skip

    def make(self) -> None:
        super().make()
        self.seeds = [(number, False, ["SELECT 1"]) for number in (0, 1)]
        self.odd = [(number, False, [text]) for number in (0, 1) for text in self.schema]
        self.odd += [
            (0, True, [f"UPDATE entries SET {column} = {value} WHERE id = 15"])
            for column in self.columns
            for value in self.values
        ]
        self.odd += [
            (number, False, [f"UPDATE about SET value = '{value}' WHERE key = '{key}'"])
            for number in (0, 1)
            for key in self.keys
            for value in ("null", "-1", '"x"', "[]", "1e999", "x", "99999999999")
        ]  # fmt: skip
        with closing(sqlite3.connect(self.home / "index1" / "index.sqlite")) as connection:
            known = connection.execute("SELECT value FROM about WHERE key = 'strangers'").fetchone()
        strangers = json.loads(known[0])
        tail = next(iter(strangers["tails"].values()))
        self.odd += [
            (1, False, [f"UPDATE about SET value = '{json.dumps(value)}' WHERE key = 'strangers'"])
            for value in (
                {**strangers, "tails": {"visible": {**tail, **change}}}
                for change in ({"pairs": 0}, {"ranks": []}, {"ranks": [0] * len(tail["ranks"])},
                               {"similarities": [None]}, {"more": 1})
            )
        ]  # fmt: skip
        self.odd.append((1, False, ["UPDATE about SET value = '0' WHERE key = 'written'"]))
        self.odd += [
            (0, False, [f"INSERT OR REPLACE INTO about VALUES ('camera_names', '{names}')"])
            for names in (json.dumps({"9" * 5000: "a", "x": "a", "1": 2, "2": ""}), "[]")
        ]

    def mutate(self, r: random.Random, seed: Any) -> Any:
        statements, rows_only = [], True
        for _ in range(r.choice([1, 1, 1, 2, 4])):
            what = r.random()
            if what < 0.5:
                column, value = r.choice(self.columns), r.choice(self.values)
                statements.append(
                    f"UPDATE OR IGNORE entries SET {column} = {value} WHERE id = {r.randrange(30)}"
                )
            elif what < 0.6:
                cells = ", ".join(r.choice(self.values) for _ in self.columns)
                statements.append(f"INSERT OR IGNORE INTO entries VALUES ({cells})")
            elif what < 0.92:
                rows_only = False
                key = r.choice(self.keys)
                value = r.choice([*self.facts, *mutations.WORDS[:30]]).replace("'", "''")
                statements.append(
                    f"UPDATE about SET value = '{value}' WHERE key = '{key}'"
                    if r.random() < 0.8
                    else f"DELETE FROM about WHERE key = '{key}'"
                )
            else:
                rows_only = False
                statements.append(r.choice(self.schema))
        return seed[0], rows_only, statements

    def use(self, value: Any) -> None:
        number, rows_only, statements = value
        with self.copied(number) as folder:
            with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
                for statement in statements:
                    try:
                        connection.execute(statement.replace("\0", ""))
                    except sqlite3.Error:  # SQLite itself refuses the edit
                        continue
                connection.commit()
            if rows_only:
                self.others_are_found(folder, len(statements))
            self.try_all(folder)

    def others_are_found(self, folder: Path, edited: int) -> None:
        """Entries that were not edited are still found."""
        try:
            with LocalIndex.open(folder, options=index_helpers.SMALL) as index:
                hits = use_index(index, self.work)
        except InputError as error:
            raise AssertionError(f"one bad row makes the index unreadable: {error}") from error
        assert len(hits[0]) >= 21 - 2 * edited, f"{len(hits[0])} entries are left"


# Reports --------------------------------------------------------------------------------------


@target
class Reports(Target):
    """report.json."""

    name = "report"

    def make(self) -> None:
        data = examples.sysu_like(people=5, images=2)
        rows = np.arange(len(data))
        for seed, rerank in ((0, False), (1, True)):
            report = evaluate(
                data, ProtocolOptions(num_trials=2), examples.embeddings_of(data, rows, seed), rows,
                rerank=rerank, context={"seed": seed, "method": "mcl", "more": {"a": [1]}},
            )  # fmt: skip
            self.seeds.append(report.to_plain())
        report.write(self.home)
        self.queries = (self.home / "queries.npz").read_bytes()
        one = self.seeds[0]
        twin = copy.deepcopy(one)
        twin["protocol"] |= {"seed": 5, "weights_hash": "1" * 64}
        plain = [Report.from_plain(copy.deepcopy(value)) for value in (one, twin)]
        self.twin, self.seeds = plain[1], [*self.seeds, average_reports(plain).to_plain()]
        record = {
            "options": {"seed": 0, "method": "mcl", "recipe": {"lr": 0.1}}, "options_hash": "1",
            "code": {"method": {"name": "my.py:My", "sha256": "2" * 64, "copies": ["my.py"]}},
            "versions": {"torch": "2.9"}, "commit": None, "data_hash": "3" * 64, "ranks": 1,
            "start_hash": None, "changes": ["torch was 2.8 and is 2.9, from epoch 2 on"],
        }  # fmt: skip
        self.seeds.append({**one, "record": record})
        self.odd = [
            {**one, key: value}
            for key in one
            for value in (None, 1, "x", [], {}, [1], {"embedding": 1}, {"embedding": {"rank1": 1}})
        ]
        self.odd += [{**one, "record": {**record, key: v}} for key in record for v in (1, {"a": 1})]
        mean = self.seeds[2]
        columns = report.queries
        self.odd += [Place.EMPTY, Place.FOLDER]
        self.odd += [
            (one, queries)
            for queries in (
                Place.EMPTY, Place.FOLDER, b"x", _npz(), _npz(**{**columns, "pids": np.zeros(1)}),
                _npz(pids=np.zeros(2)), _npz(**{name: np.array("x") for name in columns}),
                _npz(**{name: np.array(1) for name in columns}), self.queries[:-30],
                _bomb_archive("pids.npy"),
            )
        ]  # fmt: skip
        self.odd += [
            {**mean, "averaged": {**mean["averaged"], "values": {}}},
            {**one, "protocol": {**one["protocol"], "embeddings": []}},
            {**one, "protocol": {**one["protocol"], "embeddings": ["curves"]}},
            {**one, "protocol": {**one["protocol"], "trials": [1]}},
            {**one, "reranked": {"other": one["pooled"]}},
            {**one, "confidence": {"pooled": {"rank1": [0.5]}}},
            {**one, "counts": {name: [1] for name in one["counts"]}},
            {**one, "pooled": {"mean_ap": one["pooled"]["mean_ap"]}},
        ]

    def mutate(self, r: random.Random, seed: Any) -> Any:
        what = r.random()
        if what < 0.1:
            return mutations.of_text(r, json.dumps(seed), ' ,:"[]{}')
        if what < 0.2:
            return seed, mutations.of_bytes(r, self.queries)
        return mutations.of_value(r, seed, self.words)

    def use(self, value: Any) -> None:
        value, queries = value if isinstance(value, tuple) else (value, self.queries)
        self.put("queries.npz", queries)
        if not isinstance(value, (bytes, Place)):
            value = json.dumps(value).encode("utf-8", "surrogatepass")
        report = Report.load(self.put("report.json", value))
        str(report), repr(report), report_markdown(report)
        quietly(results.print, report.to_table())
        report.write(self.work / "again")
        assert Report.load(self.work / "again" / "report.json") == report
        comparison = compare([report, self.twin])
        comparison.write(self.work / "compared")
        quietly(results.print, comparison.to_table())
        with suppress(InputError):
            paper_table([report, self.twin]).write(self.work / "paper")
        with suppress(InputError):
            for found in compare_paired([report], [self.twin]):
                found.to_markdown(), quietly(results.print, found.to_table())
        try:
            mean = average_reports([report, self.twin])
        except InputError:
            return
        mean.write(self.work / "mean")


# ----------------------------------------------------------------------------------------------


def quietly(function: Callable[..., Any], *args: Any, **words: Any) -> Any:
    """Call a function that prints, with nothing on the terminal."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    before = console._file, results._file  # `file` would be the stream of this moment
    with nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        console.file = results.file = nowhere
        try:
            return function(*args, **words)
        finally:
            console._file, results._file = before
