"""Images in which there is no person, or not only one, are named by every door; people aren't."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import server_kit as kit
from command_kit import run, said
from PIL import Image

import vireid
from vireid.data.decoding import is_person_shaped, notes_on
from vireid.embed import embed_files
from vireid.embed.colours import ColourCheck
from vireid.index.outliers import Outliers
from vireid.types import Modality

CPU = ("--device", "cpu")
FRAME = "1920 x 1080 pixels. One person, cut out, is about twice as high as wide"
FLAT = "hardly anything"
FAR = "of another kind than those of the index"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, world: kit.World) -> Path:
    """A frame of a whole place, a grey image of a person's shape, and a person."""
    folder = tmp_path_factory.mktemp("queries")
    shutil.copy(world.root / "cam3/0002/0001.jpg", folder / "person.jpg")
    rough = np.random.default_rng(0).integers(0, 255, (27, 48), np.uint8)
    Image.fromarray(rough).resize((1920, 1080)).save(folder / "frame.jpg")
    Image.new("RGB", (72, 144), (128, 128, 128)).save(folder / "grey.jpg")
    return folder


def test_what_is_shaped_like_a_person() -> None:
    assert all(is_person_shaped(*size) for size in [(144, 288), (64, 128), (100, 130), (50, 280)])
    assert not any(is_person_shaped(*size) for size in [(1920, 1080), (96, 96), (40, 300), (9, 9)])


def test_people_are_not_remarked_on(world: kit.World, folder: Path) -> None:
    with Image.open(folder / "person.jpg") as person:
        assert notes_on(person.convert("RGB"), Modality.INFRARED) == []
    (day,) = Path(__file__).parent.glob("recipes/day/0001.jpg")
    with Image.open(day) as person:
        assert notes_on(person.convert("RGB"), Modality.VISIBLE) == []


def notes(answer: dict) -> list[str]:
    """Which of the three sentences an answer has."""
    text = " ".join(answer["notes"])
    assert len(answer["notes"]) == sum(word in text for word in (FRAME, FLAT, FAR))
    return [word for word in (FRAME, FLAT, FAR) if word in text]


@pytest.mark.parametrize("far", [False, True])
def test_search_page_and_interface_say_why_hits_mean_little(
    world: kit.World, folder: Path, far: bool, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(Outliers, "is_far", lambda *_: far)
    expected = {"frame.jpg": [FRAME], "grey.jpg": [FLAT], "person.jpg": []}
    if far:
        expected = {name: [*words, FAR] for name, words in expected.items()}
    words = ("search", "--index", world.index, "--weights", world.weights, "--images", folder,
             "--modality", "infrared", *CPU)  # fmt: skip
    assert run(*words, "--json") == 0
    shown = capsys.readouterr()
    found = {Path(answer["query"]).name: notes(answer) for answer in json.loads(shown.out)}
    assert found == expected
    for name, sentences in expected.items():
        assert shown.err.count(f"{name}':") == len(sentences)
    with kit.running(world) as server, server.client() as client:
        for name, sentences in expected.items():
            answer = kit.post(client, (folder / name).read_bytes()).json()
            assert notes(answer["query"]) == sentences
        again = client.post("/api/search/by-row", json={"row_id": "1"}).json()
        assert again["query"]["notes"] == []


def test_embed_and_info_count_them(world: kit.World, folder: Path, tmp_path: Path, capsys) -> None:
    words = ("--images", folder, "--modality", "infrared", "--weights", world.weights, *CPU)
    assert run("embed", *words, "--out", tmp_path / "a.st", "--workers", 1) == 0
    message = said(capsys)
    assert "1 of 3 images are not shaped like one person" in message and "frame.jpg" in message
    own = tmp_path / "own"
    for modality in ("visible", "infrared"):
        shutil.copytree(folder, own / modality / "0001")
    assert run("info", own, "--json") == 0
    found = json.loads(capsys.readouterr().out)["suspicious"]["misshapen"]
    assert found["count"] == 2 and "frame.jpg (1080x1920)" in found["examples"][0]


def test_a_job_that_goes_on_still_knows_them(
    world: kit.World, folder: Path, tmp_path: Path, monkeypatch
) -> None:
    """And decoding processes tell of them."""
    many = tmp_path / "many"
    many.mkdir()
    for number in range(70):
        shutil.copy(folder / "person.jpg", many / f"{number:03d}.jpg")
    shutil.copy(folder / "frame.jpg", many / "000.jpg")
    shutil.copy(folder / "frame.jpg", many / "069.jpg")
    monkeypatch.setattr("vireid.embed.job.PART", 1)
    options = {"modality": Modality.INFRARED, "batch_size": 35, "workers": 2}
    (many / "068.jpg").write_bytes(b"not an image")
    with pytest.raises(Exception, match="068"):
        embed_files(world.embedder, many, tmp_path / "out.st", **options)
    shutil.copy(folder / "person.jpg", many / "068.jpg")
    found = embed_files(world.embedder, many, tmp_path / "out.st", **options)
    assert [Path(name).name for name in found.misshapen] == ["000.jpg", "069.jpg"]
    assert found.count == 70


@pytest.mark.parametrize("colour", [True, False])
def test_images_embedded_as_those_of_the_other_sensor_are_noticed(
    colour: bool, world: kit.World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever it is, and through which door."""
    images = tmp_path / "images"
    images.mkdir()
    files = [images / f"{number}.png" for number in range(4)]
    for file in files:
        image_of(6 * colour).save(file)
    (images / "5.png").write_bytes(b"not an image")  # says nothing about colour
    wrong, right = ("infrared", "visible") if colour else ("visible", "infrared")
    looks = "colour" if colour else "no colour"
    words = f"4 of the 4 {wrong} images that were looked at have {looks}, such as '"
    for modality in ("visible", "infrared"):
        out = tmp_path / f"{modality}.st"
        asked = ("--images", images, "--modality", modality, "--weights", world.weights, *CPU)
        assert run("embed", *asked, "--out", out, "--workers", 1, "--skip-broken") == 0
        told = said(capsys)
        assert (words in told) == (modality == wrong) == (f"as such (--modality {right})" in told)
        embedder = vireid.load(world.weights, device="cpu")
        for _ in range(2):
            embedder.embed(files, modality)
        told = said(capsys)
        assert told.count(words) == (modality == wrong) == told.count(f"(`modality` {right})")
    vireid.load(world.weights, device="cpu").embed(files[:1], wrong)
    assert f"The {wrong} image '{files[0]}' has " in said(capsys)


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_some_grey_images_by_day_are_no_mistake(
    modality: str, world: kit.World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor are many with few colours, a single infrared one with colour, or those after a right
    one that are embedded one by one."""
    files = [tmp_path / f"{number}.png" for number in range(10)]
    for number, file in enumerate(files):
        few = 0 if number == 5 else 3
        image_of(few if modality == "visible" and number else 6 * (number == 0)).save(file)
    if modality == "infrared":
        files = [*files[1:], files[0]]
    embedder = vireid.load(world.weights, device="cpu")
    embedder.embed(files, modality)
    for file in files[:3]:
        embedder.embed([file], modality)
    assert said(capsys) == ""


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_half_a_day_in_a_folder_of_both_sensors_is_noticed(
    modality: str, world: kit.World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though it comes after more images of the other half than are looked at."""
    images = tmp_path / "images"
    images.mkdir()
    right, wrong = (6, 0) if modality == "visible" else (0, 6)
    for name, spread, count in (("a", right, 100), ("b", wrong, 40)):
        image_of(spread).save(images / f"{name}000.png")
        for number in range(1, count):
            shutil.copy(images / f"{name}000.png", images / f"{name}{number:03d}.png")
    looks = "no colour" if modality == "visible" else "colour"
    words = f"18 of the 64 {modality} images that were looked at have {looks}, such as '"
    asked = ("--images", images, "--modality", modality, "--weights", world.weights, *CPU)
    assert run("embed", *asked, "--out", tmp_path / "v.st", "--workers", 1) == 0
    told = said(capsys)
    assert told.count(words) == 1 and "b001.png'. What" in told
    assert "by a table with the column modality." in told
    files = sorted(images.iterdir())
    embedder = vireid.load(world.weights, device="cpu")
    embedder.embed(files, modality)
    assert words in said(capsys)
    embedder = vireid.load(world.weights, device="cpu")
    for start in range(95, 110):  # image by image: told once there are too many
        embedder.embed(files[start : start + 1], modality)
    assert said(capsys).count(f"1 of the 6 {modality} images") == 1


def test_search_and_page_say_that_a_query_looks_like_the_other_sensors(
    world: kit.World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each once, beside what else there is to say; nothing of a right one."""
    for name, spread in (("day.png", 6), ("night.png", 0)):
        image_of(spread).save(tmp_path / name)
    looks = {"visible": ("night.png", "no colour", "infrared"),
             "infrared": ("day.png", "colour", "visible")}  # fmt: skip
    with kit.running(world) as server, server.client() as client:
        described = client.get("/api/openapi.json").json()["components"]["schemas"]
        assert "its colours" in described["QueryAnswer"]["properties"]["notes"]["description"]
        for modality, (wrong, seen, other) in looks.items():
            note = f"The image has {seen}, but is searched with as {modality}. If its camera is "
            words = ("search", "--index", world.index, "--weights", world.weights, *CPU)
            assert run(*words, "--images", tmp_path, "--modality", modality, "--json") == 0
            shown = capsys.readouterr()
            for answer in json.loads(shown.out):
                path = Path(answer["query"])
                sent = kit.post(client, path.read_bytes(), modality=modality).json()
                for notes in (answer["notes"], sent["query"]["notes"]):
                    found = [text for text in notes if text.startswith(note)]
                    assert len(found) == (path.name == wrong)
                    assert all(f"search with it as {other}" in text for text in found)
            assert shown.err.count("colour") == 1  # and not again for all of them


def image_of(spread: int) -> Image.Image:
    """A mean spread of the colour channels of so many grey levels."""
    image = np.full((144, 72, 3), 60, np.uint8)
    image[:, :, 0] += spread
    image[:, 40:] += 100
    return Image.fromarray(image)


# ---- vectors of another kind


def of_people(count: int, images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors that differ along 10 of 64 directions, and a little along all."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(9).standard_normal((64, 11)))[0].T
    person = np.repeat(random.standard_normal((count, 10)), images, axis=0)
    person += 0.3 * random.standard_normal(person.shape)
    vectors = 3 * axes[0] + person @ axes[1:] + 0.05 * random.standard_normal((len(person), 64))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.repeat(
        np.arange(count), images
    )


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("sensors", [1, 2])
def test_vectors_off_the_directions_of_people_are_far(labelled: bool, sensors: int) -> None:
    vectors, pids = of_people(60, 4)
    sensor = np.arange(len(pids)) % sensors
    outliers = Outliers(vectors, pids if labelled else np.full_like(pids, -1), sensor)
    others, _ = of_people(50, 2, seed=1)
    strange = np.random.default_rng(2).standard_normal((100, 64))
    strange = strange / np.linalg.norm(strange, axis=1, keepdims=True) + 0.7 * vectors.mean(axis=0)
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    for modality in Modality:
        assert np.mean([outliers.is_far(one, modality) for one in others]) < 0.05
        assert np.mean([outliers.is_far(one, modality) for one in strange]) > 0.95


def test_of_few_images_nothing_is_far() -> None:
    vectors, pids = of_people(10, 5)
    for some in (0, 1, 3, 50):
        outliers = Outliers(vectors[:some], pids[:some], np.zeros(some, int))
        assert not outliers.is_far(np.eye(64)[5], Modality.VISIBLE)
    one = Outliers(vectors, np.zeros(50, int), np.zeros(50, int))  # a single person
    assert not one.is_far(np.eye(64)[5], Modality.VISIBLE)


def test_a_grey_person_in_a_grey_place_may_be_visible() -> None:
    """Faint colours are no reason for a note; none at all, or clear ones in infrared, are."""
    for spread, modality, noted in (
        (0, Modality.VISIBLE, True), (3, Modality.VISIBLE, False), (40, Modality.VISIBLE, False),
        (0, Modality.INFRARED, False), (3, Modality.INFRARED, False), (40, Modality.INFRARED, True),
    ):  # fmt: skip
        pixels = np.random.default_rng(0).integers(0, 200, (96, 48, 1), dtype=np.uint8)
        image = Image.fromarray(pixels + np.array([0, 0, spread], np.uint8))
        assert bool(notes_on(image, modality)) == noted, (spread, modality)


def test_faint_colours_are_not_called_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor counted where images without any are what is told of."""
    visible = np.zeros(20, np.int64) + Modality.VISIBLE
    names = [f"{row}.png" for row in range(20)]

    def told(spreads: list[int]) -> str:
        faint = [np.full((8, 8, 3), 90, np.uint8) + np.array([0, 0, s], np.uint8) for s in spreads]
        ColourCheck().look(dict(enumerate(faint)), visible, names)
        return said(capsys)

    assert "20 of the 20 visible images that were looked at have hardly any colour" in told(
        [3] * 20
    )
    assert (
        "5 of the 20 visible images that were looked at have no colour, such as '15.png'"
        in told([3] * 5 + [40] * 10 + [0] * 5)
    )
