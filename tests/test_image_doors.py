"""One image file has one answer through every door that opens it.

The doors are found in the source: a module that decodes images and isn't tried here fails the
tests, and so does one that decodes without saying how.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fakes
import httpx
import numpy as np
import pytest
import server_kit
from PIL import Image

from vireid.data import load_dataset, prepare
from vireid.data.decode_pool import DecodePool
from vireid.data.decoding import decode, read_image
from vireid.data.facts import AS_PUBLISHED, UPRIGHT, Decoding
from vireid.data.inspect import inspect
from vireid.data.pixels import content_key
from vireid.embed import embed_files, load_embeddings
from vireid.embed.ring import shared_pixels
from vireid.index import Searcher, create_index, open_index
from vireid.index.output import Query, save_figure
from vireid.server.images import GalleryImages
from vireid.types import InputError

SOURCE = Path(__file__).parent.parent / "src" / "vireid"
DECODERS = {"decode", "read_image", "to_rgb", "decode_into", "DecodePool", "decode_upload"}
BELOW = Decoding(intensity_range="28000:31060")
MINMAX = Decoding(intensity_range="minmax")


# ---- what each door makes of an image, as numbers that depend on all of its pixels


def by_process(file: Path, decoding: Decoding, world: server_kit.World, tmp_path: Path):
    with shared_pixels(1, (32, 16)) as (pixels, handle):
        with DecodePool(pixels, 2, handle, decoding) as pool:
            problems = pool.submit([0], [file])[0].result()
        if problems:
            raise InputError(problems[0][1])
        return pixels[0].copy()


def by_pixel_store(file: Path, decoding: Decoding, world: server_kit.World, tmp_path: Path):
    root = fakes.make_folder(tmp_path / "own", identities=2, images=1)
    new = root / "visible" / "person01" / file.name
    new.write_bytes(file.read_bytes())
    data = load_dataset("folder", root, intensity_range=decoding.intensity_range)
    store = prepare(data, size=(32, 16))
    row = [sample.path for sample in data.samples].index(f"visible/person01/{file.name}")
    return np.array(store.images[row])


def by_inspection(file: Path, decoding: Decoding, world: server_kit.World, tmp_path: Path):
    root = fakes.make_folder(tmp_path / "seen", identities=2, images=1)
    new = root / "visible" / "person01" / file.name
    new.write_bytes(file.read_bytes())
    found = inspect("folder", root, intensity_range=decoding.intensity_range)
    deep = found["suspicious"]["deep"]["examples"]
    if deep:
        raise InputError(f"{deep[0]} has more than 8 bits per channel")
    return np.array([[size["height"], size["width"]] for size in found["sizes"]])


def by_embedder(file: Path, decoding: Decoding, world: server_kit.World, tmp_path: Path):
    return world.embedder.embed([file], "infrared", decoding=decoding).embedding


def by_embed(file: Path, decoding: Decoding, world: server_kit.World, tmp_path: Path):
    (tmp_path / "list.txt").write_text(str(file))
    out = tmp_path / "v.safetensors"
    embed_files(
        world.embedder, tmp_path / "list.txt", out, modality=1, dtype="float32", decoding=decoding
    )
    found = load_embeddings(out)
    assert Decoding.of(found.preprocessing) == decoding
    return found.embedding


def by_search(file: Path, decoding: Decoding, world: server_kit.World, tmp_path: Path):
    with open_index(world.index) as index:
        searcher = Searcher(index, world.embedder, intensity_range=decoding.intensity_range)
        (vector,) = searcher.embed([file], "infrared")
        (hits,) = searcher.search_images([file], "infrared", top=60)
        searcher.notes(vector, "infrared", file)
    return np.array([[hit.row_id, round(hit.similarity, 4)] for hit in hits])


def by_server(file: Path, decoding: Decoding, world: server_kit.World, tmp_path: Path):
    settings = replace(server_kit.LOOSE, intensity_range=decoding.intensity_range)
    with server_kit.running(world, settings) as server, server.client() as client:
        answer = server_kit.post(client, file.read_bytes(), top=60)
    return _numbers(answer)


def _numbers(answer: httpx.Response):
    if answer.status_code != 200:
        raise InputError(answer.json()["error"]["sentence"])
    return np.array([[int(h["row_id"]), round(h["similarity"], 4)] for h in answer.json()["hits"]])


def by_thumbnail(file: Path, decoding: Decoding, world: server_kit.World, tmp_path: Path):
    found = world.embedder.embed([world.root / "cam1/0001/0000.jpg"], "visible")
    url, here = tmp_path / f"index {file.name} {decoding}", replace(found, paths=[file.name])
    facts = {"weights_hash": found.weights_hash, "dim": found.embedding.shape[1]}
    with create_index(url, image_roots=[file.parent], **facts) as index:
        index.add(here)
        data = GalleryImages(index, max_pixels=10**6, decoding=decoding).jpeg(1, "full")
    return np.asarray(Image.open(io.BytesIO(data)))


def by_figure(file: Path, decoding: Decoding, world: server_kit.World, tmp_path: Path):
    query = tmp_path / "drawn" / "query"  # both names are drawn beside it
    query.parent.mkdir(exist_ok=True)
    query.write_bytes(file.read_bytes())
    save_figure(tmp_path / "figure.png", [Query((query,))], [[]], decoding)
    drawn = np.asarray(Image.open(tmp_path / "figure.png"))
    query.unlink()
    save_figure(tmp_path / "figure.png", [Query((query,))], [[]], decoding)
    if np.array_equal(drawn, Image.open(tmp_path / "figure.png")):
        raise InputError("drawn in grey: it has more than 8 bits per channel")
    return drawn


DOORS: dict[str, tuple[Callable, ...]] = {  # module that decodes → what a user does with it
    "data/decoding.py": (),
    "data/decode_worker.py": (by_process,),
    "data/decode_pool.py": (by_process,),
    "data/pixels.py": (by_pixel_store,),
    "data/inspect.py": (by_inspection,),
    "embed/embedder.py": (by_embedder, by_search),
    "embed/job.py": (by_embed,),
    "embed/colours.py": (by_embed,),
    "index/output.py": (by_figure,),
    "index/searcher.py": (by_search,),
    "server/service.py": (by_server,),
    "server/uploads.py": (by_server,),
    "server/images.py": (by_thumbnail,),
}
ALL = sorted({door for doors in DOORS.values() for door in doors}, key=lambda door: door.__name__)


def calls_of_decoders() -> list[tuple[str, ast.Call]]:
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in DECODERS:
                found.append((path.relative_to(SOURCE).as_posix(), node))
    return found


def test_every_module_that_decodes_is_tried() -> None:
    assert {module for module, _ in calls_of_decoders()} == DOORS.keys()


def test_nobody_decodes_without_saying_how() -> None:
    for module, call in calls_of_decoders():
        words = [ast.unparse(one) for one in (*call.args, *(k.value for k in call.keywords))]
        assert any("decoding" in word for word in words), f"{module}: {ast.unparse(call)}"


# ---- more than 8 bits


@pytest.fixture(scope="module")
def thermal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`raw.*`: a frame as a thermal camera writes it; `grey.png`: the same with 8 bits."""
    folder = tmp_path_factory.mktemp("thermal")
    grey = np.asarray(fakes.image(3, True, 5, (96, 48)).convert("L")).copy()
    grey[0, :2] = 0, 255  # so that minmax finds the whole range
    raw = (28000 + 12 * grey.astype(np.uint16)).astype(np.uint16)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(raw).save(folder / "raw.png")
    Image.fromarray(raw).save(folder / "raw.tif")
    Image.fromarray(raw).save(folder / "raw.jp2")
    Image.fromarray(raw.astype(">u2")).save(folder / "big_endian.tif")
    Image.fromarray(raw.astype(np.float32)).save(folder / "float.tiff")
    Image.fromarray(raw.astype(np.int32)).save(folder / "int32.tif")
    for name, maximum in (("raw.pgm", 65535), ("raw14.pgm", 40000)):
        head = f"P5\n48 96\n{maximum}\n".encode()
        (folder / name).write_bytes(head + raw.astype(">u2").tobytes())
    return folder


RAW = ("raw.png", "raw.tif", "raw.jp2", "big_endian.tif", "float.tiff", "int32.tif", "raw.pgm",
       "raw14.pgm")  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_an_explicit_range_gives_the_8_bit_image(thermal: Path, name: str) -> None:
    expected = np.asarray(read_image(thermal / "grey.png"))
    for decoding in (BELOW, MINMAX):
        found = np.asarray(read_image(thermal / name, decoding))
        assert np.abs(found.astype(int) - expected).max() <= ("14" in name), decoding
    with pytest.raises(InputError, match=r"more than 8 bits per channel.*`intensity_range`"):
        read_image(thermal / name)


@pytest.mark.parametrize("door", ALL)
def test_deep_images_through_every_door(
    door: Callable, thermal: Path, world: server_kit.World, tmp_path: Path
) -> None:
    for decoding, name in ((BELOW, "raw.png"), (MINMAX, "raw.tif")):
        (tmp_path / name).mkdir()
        (tmp_path / f"8 {name}").mkdir()
        found = door(thermal / name, decoding, world, tmp_path / name)
        as_grey = door(thermal / "grey.png", decoding, world, tmp_path / f"8 {name}")
        assert np.array_equal(found, as_grey)
        with pytest.raises(InputError, match="more than 8 bits per channel"):
            door(thermal / name, UPRIGHT, world, tmp_path / f"8 {name}")


def test_colour_with_16_bits(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 5, 3), np.uint16)
    for name in ("a.png", "a.tiff"):
        cv2.imwrite(str(tmp_path / name), pixels)
        whole = Decoding(intensity_range="0:65535")
        assert np.array_equal(read_image(tmp_path / name, whole), pixels[..., ::-1] >> 8)
        for decoding in (UPRIGHT, BELOW, MINMAX):  # its lower bits can't be read
            with pytest.raises(InputError, match="more than 8 bits per channel"):
                read_image(tmp_path / name, decoding)


def test_values_beyond_the_range_and_none_at_all(tmp_path: Path) -> None:
    values = np.array([[-40.0, 0.0, 10.0], [40.0, np.nan, np.inf]], np.float32)
    Image.fromarray(values).save(tmp_path / "c.tif")
    celsius = Decoding(intensity_range="0:20")
    found = np.asarray(read_image(tmp_path / "c.tif", celsius))[..., 0]
    assert found.tolist() == [[0, 0, 128], [255, 0, 255]]
    found = np.asarray(read_image(tmp_path / "c.tif", MINMAX))[..., 0]
    assert found.tolist() == [[0, 128, 159], [255, 0, 255]]
    for flat in (np.full((2, 2), 7.5, np.float32), np.full((2, 2), np.nan, np.float32)):
        Image.fromarray(flat).save(tmp_path / "flat.tif")
        assert not np.asarray(read_image(tmp_path / "flat.tif", MINMAX)).any()


@pytest.mark.parametrize(
    "text", ["", "28000", "1:2:3", "31000:28000", "5:5", "a:b", "nan:1", "0:inf", "max"]
)
def test_ranges_that_are_none(text: str) -> None:
    if text:
        with pytest.raises(InputError, match="`intensity_range` is"):
            Decoding(intensity_range=text)
    assert Decoding(intensity_range=" MinMax ") == MINMAX
    assert Decoding(intensity_range="-20:40.5").limits == (-20, 40.5)
    assert Decoding(intensity_range="none") == UPRIGHT


def test_what_the_index_holds_decides(thermal: Path, world: server_kit.World, tmp_path) -> None:
    """The range travels: image → embeddings → index → queries; another one is refused."""
    found = world.embedder.embed([thermal / "raw.png"], "infrared", decoding=BELOW)
    facts = {"weights_hash": found.weights_hash, "dim": found.embedding.shape[1]}
    with create_index(tmp_path / "ix", **facts) as index:
        index.add(found)
        assert Decoding.of(index.info().preprocessing) == BELOW
        (hits,) = Searcher(index, world.embedder).search_images([thermal / "raw.tif"], "infrared")
        assert hits[0].similarity == pytest.approx(1, abs=1e-4)
        with pytest.raises(InputError, match=r"`intensity_range` is minmax, but .* 28000:31060"):
            Searcher(index, world.embedder, intensity_range="minmax")
        other = world.embedder.embed([thermal / "raw.tif"], "infrared", decoding=MINMAX)
        with pytest.raises(InputError, match="intensity_range: 'minmax' here, '28000:31060' in"):
            index.add(other)
        stored = replace(BELOW, orientation="stored")
        other = world.embedder.embed([thermal / "raw.tif"], "infrared", decoding=stored)
        with pytest.raises(InputError, match="orientation: 'stored' here, 'upright' in the index"):
            index.add(other)
        day = world.embedder.embed([thermal / "grey.png"], "visible")  # no range changes 8 bits
        assert index.add(day).added == 1
    with create_index(tmp_path / "old", preprocessing={"size": [64, 32]}, **facts) as index:
        plain = {"size": [64, 32], "orientation": "upright", "intensity_range": None}
        assert index.add(replace(day, preprocessing=plain)).added == 1  # an earlier version's index
        with pytest.raises(InputError, match="intensity_range"):
            index.add(replace(found, preprocessing={**plain, "intensity_range": "28000:31060"}))


# ---- orientation


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`N.png`: an image stored as orientation N has it; `upright.png`: as it was meant."""
    folder = tmp_path_factory.mktemp("turned")
    meant = fakes.image(5, True, 9, (96, 48))
    meant.save(folder / "upright.png")
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # tag → Image.Transpose that stores it
    for tag, way in undo.items():
        exif = Image.Exif()
        exif[0x0112] = tag
        meant.transpose(Image.Transpose(way)).save(folder / f"{tag}.png", exif=exif)
        meant.transpose(Image.Transpose(way)).save(folder / f"{tag}.webp", exif=exif, lossless=True)
        meant.transpose(Image.Transpose(way)).save(folder / f"{tag}.tif", exif=exif)
    return folder


@pytest.mark.parametrize("tag", range(2, 9))
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_images_are_turned_as_their_tag_says(turned: Path, tag: int, ending: str) -> None:
    expected = np.asarray(read_image(turned / "upright.png"))
    file = turned / f"{tag}.{ending}"
    found = read_image(file)
    assert np.array_equal(found, expected) and found.info == {"orientation": tag}
    if ending != "tif":  # which Pillow itself turns
        published = np.asarray(Image.open(file).convert("RGB"))
        assert np.array_equal(read_image(file, AS_PUBLISHED), published)
        assert not np.array_equal(published, expected)


@pytest.mark.parametrize("door", ALL)
def test_orientation_through_every_door(
    door: Callable, turned: Path, world: server_kit.World, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    found = door(turned / "6.png", UPRIGHT, world, tmp_path / "a")
    assert np.array_equal(found, door(turned / "upright.png", UPRIGHT, world, tmp_path / "b"))


@pytest.mark.parametrize("name", ["sysu", "regdb", "llcm"])
def test_published_pixels_do_not_move(request, name: str, tmp_path: Path) -> None:
    """Of untagged files, and of tagged ones neither; caches of before are still found."""
    root = request.getfixturevalue(f"{name}_root")
    dataset = load_dataset(name, root)
    assert dataset.decoding == AS_PUBLISHED
    store = prepare(dataset, size=(24, 12), cache=tmp_path)
    for row in range(0, len(dataset), 5):
        image = Image.open(root / dataset.samples[row].path).convert("RGB")
        expected = np.asarray(image.resize((12, 24), Image.Resampling.LANCZOS))
        assert np.array_equal(store.images[row], expected)
    facts = replace(dataset.facts, orientation="upright")
    assert content_key(replace(dataset, facts=facts), (24, 12)) != store.key


def test_tagged_files_are_counted(tmp_path: Path, turned: Path) -> None:
    own = fakes.make_folder(tmp_path / "own", identities=2, images=1)
    (own / "visible" / "person01" / "phone.png").write_bytes((turned / "6.png").read_bytes())
    found = inspect("folder", own)["suspicious"]["turned"]
    assert found == {"count": 1, "examples": ["visible/person01/phone.png (turned upright)"]}
    sysu = fakes.make_sysu(tmp_path / "sysu", train=2, val=0, test=2, images=1)
    (sysu / "cam1" / "0001" / "0001.jpg").write_bytes((turned / "6.png").read_bytes())
    found = inspect("sysu", sysu)["suspicious"]["turned"]
    assert found == {"count": 1, "examples": ["cam1/0001/0001.jpg (tag ignored, as published)"]}
    data = load_dataset("sysu", sysu)
    published = decode(sysu / "cam1" / "0001" / "0001.jpg", (24, 12), AS_PUBLISHED)
    assert np.array_equal(prepare(data, size=(24, 12)).images[0], published)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty. A cloud drive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git-LFS pointer"),
        (b"<html>", "it is broken or not an image"),
    ],
)
def test_what_stands_in_for_an_image_is_named(content: bytes, sentence: str, tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_image(tmp_path / "a.jpg")
