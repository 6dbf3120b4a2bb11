"""Augmentation of CAJ, DNS, RLE and DEEN: golden values, plain loops, and what mutants break."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import adjust_hue

from vireid.data import Augment, AugmentOptions
from vireid.data.augment import MEAN, STD
from vireid.data.operations import mix_channels, radical_rectangles, recolour, shift_hue
from vireid.data.rectangles import draw_rectangles, sides
from vireid.methods.recipes import AUGMENTATIONS
from vireid.types import InputError

GOLDEN = Path(__file__).parent.parent / "golden"
SIZE = (36, 18)


def golden(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / f"{name}.npz"))


def batch(image: np.ndarray) -> Tensor:
    """A golden (3, H, W) image as our (1, H, W, 3) batch."""
    return torch.tensor(image).permute(1, 2, 0)[None]


def within_four_errors(ours: np.ndarray, expected: float, error: float) -> bool:
    """Whether the mean of samples lies within 4 combined standard errors of a golden mean."""
    own = ours.std() / np.sqrt(len(ours))
    return bool(abs(ours.mean() - expected) <= 4 * np.hypot(own, error) + 1e-12)


# Channels ------------------------------------------------------------------------------------

COLOURS = [
    *((f"exchange_gray3_idx{i}", "image", i + 1) for i in range(4)),
    *((f"adaptgray_idx{i}_grey", "image", i + 1) for i in range(3)),
    *((f"infrared_adaptgray_idx{i}", "infrared_image", i + 1) for i in range(3)),
    ("infrared_adaptgray_idx3_grey", "infrared_image", 4),
    ("adaptgray_idx0_keep", "image", 1),
]


@pytest.mark.parametrize(("name", "image", "colour"), COLOURS)
def test_channel_operations(name: str, image: str, colour: int) -> None:
    file = golden("caj")
    found = recolour(batch(file[f"channel/{image}"]), torch.tensor([colour]))
    torch.testing.assert_close(found, batch(file[f"channel/{name}"]), atol=1e-6, rtol=0)


def test_unchanged_is_unchanged() -> None:
    image = torch.randn(3, 4, 5, 3)
    assert torch.equal(recolour(image, torch.zeros(3, dtype=torch.int64)), image)


def test_mutant_exchange_before_normalising() -> None:
    """Before it, copying a channel of a grey infrared image changes nothing, and fails."""
    file = golden("caj")
    std, mean = torch.tensor(STD), torch.tensor(MEAN)
    image = batch(file["channel/infrared_image"])
    early = (recolour(image * std + mean, torch.tensor([1])) - mean) / std
    late = batch(file["channel/infrared_adaptgray_idx0"])
    assert (early - late).abs().max() > 0.1
    options = replace(AUGMENTATIONS["caj"], channel_order="before")
    images, draws = made(options)
    assert not np.allclose(applied(options, images, draws), one_by_one(images, draws), atol=1e-3)


@pytest.mark.parametrize(
    ("preset", "rows", "name", "share"),
    [
        ("caj", slice(100, 200), "exchange_gray2", 1.0),
        ("caj", slice(200, 300), "adaptgray", 1.0),
        ("dns", slice(0, 100), "exchange_gray3", 2 / 3),
        ("dns-regdb", slice(0, 100), "exchange_gray2", 2 / 3),
        ("dns-llcm", slice(0, 100), "exchange_gray2", 2 / 3),
    ],
)
def test_colours_are_as_frequent_as_published(
    preset: str, rows: slice, name: str, share: float
) -> None:
    options = AUGMENTATIONS[preset]
    num_visible = 100 * options.visible_views
    draws = Augment(options, SIZE).draw(num_visible + 100, num_visible, 200, seed=0, epoch=0)
    colour = draws[:, rows, 3].ravel()
    file = golden("caj")
    expected = file[f"channel/frequency/{name}"] * share
    expected[3] += 1 - share
    errors = file[f"channel/frequency/{name}_standard_error"]
    for value, frequency, error in zip((1, 2, 3, 0, 4), expected, errors):
        assert within_four_errors((colour == value).astype(float), frequency, error), value
    untouched = {"caj": slice(0, 100)}.get(preset, slice(100, 200))
    assert np.all(draws[:, untouched, 3] == 0)
    if preset == "dns":
        plain, error = (
            golden("dns")[f"augment/visible_plain_or_exchanged_{k}"][0]
            for k in ("frequency", "standard_error")
        )
        assert within_four_errors((colour == 0).astype(float), plain, error)


def test_half_of_all_images_are_grey_in_both_modalities() -> None:
    for preset in ("deen", "deen-mild", "rle-grey"):
        draws = Augment(AUGMENTATIONS[preset], SIZE).draw(200, 100, 50, seed=0, epoch=0)
        for rows in (slice(0, 100), slice(100, 200)):
            assert within_four_errors((draws[:, rows, 3] == 4).ravel().astype(float), 0.5, 0.0)
            assert set(np.unique(draws[:, rows, 3])) == {0, 4}


def test_grey_is_rounded_as_pillow_rounds() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, *SIZE, 3), dtype=np.uint8)
    draws = np.zeros((8, 8), np.int32)
    draws[:, 3] = 4
    still = {"pad": 0, "flip": 0.0, "grey": 1.0}
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    for rounding in (True, False):
        out = applied(AugmentOptions(**still, grey_rounding=rounding), images, draws)
        value = (out * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]) * 255
        off = np.abs(value - expected[:, None])
        assert (off.max() < 1e-3) == rounding and off.max() < 0.502


def test_hue_is_shifted_as_torchvision_shifts_it() -> None:
    image = torch.rand(6, 8, 5, 3)
    image[1, ..., 1] = image[1, ..., 0]  # two channels alike
    image[2] = image[2, ..., :1]
    image[3, :2] = 0.0
    shifts = torch.tensor([0.3, -0.45, 0.21, 0.5, -0.07, 0.0])
    found = shift_hue(image, shifts)
    for one, ours, shift in zip(image, found, shifts.tolist()):
        theirs = adjust_hue(one.permute(2, 0, 1), shift).permute(1, 2, 0)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert torch.equal(found[2], image[2]) and torch.equal(found[5], image[5])
    assert golden("dns")["augment/hue_jitter_on_grey_max_change"] == 0
    draws = Augment(AUGMENTATIONS["dns-llcm"], SIZE).draw(200, 100, 50, seed=0, epoch=0)
    drawn = np.ascontiguousarray(draws[..., 8]).view(np.float32)
    assert (drawn[:, :100] == 0).all() and (np.abs(drawn) <= 0.5).all()
    assert within_four_errors(drawn[:, 100:].ravel(), 0.0, 0.0)
    assert drawn[:, 100:].std() == pytest.approx(1 / np.sqrt(12), rel=0.02)


# Mixing and radical rectangles ---------------------------------------------------------------


@pytest.mark.parametrize("number", range(6))
def test_mixed_channels(number: int) -> None:
    file = {k.removeprefix(f"moderate/{number}/"): v for k, v in golden("rle").items()}
    weights = torch.zeros(1, 3)
    if file["coin"] <= 0.5:
        weights = torch.tensor(file["betas"] / file["betas"].sum(), dtype=torch.float32)[None]
    found = mix_channels(batch(file["image"]), weights)
    torch.testing.assert_close(found, batch(file["output"]), atol=1e-6, rtol=0)


def test_weights_of_mixtures_are_distributed_as_published() -> None:
    draws = Augment(AUGMENTATIONS["rle"], SIZE).draw(200, 100, 100, seed=0, epoch=0)
    weights = np.ascontiguousarray(draws[..., 12:15]).view(np.float32).reshape(-1, 3)
    mixed = weights.sum(1) > 0
    file = {k.removeprefix("moderate/statistics/"): v for k, v in golden("rle").items()}
    assert within_four_errors(
        mixed.astype(float), file["probability"], file["probability_standard_error"]
    )
    weights = weights[mixed]
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    for channel in range(3):
        ours, error = weights[:, channel], file["weight_standard_error"][channel]
        assert within_four_errors(ours, file["weight_mean"][channel], error)
    inside = np.clip((weights.ravel() * 20).astype(int), 0, 19)
    for place, (share, error) in enumerate(
        zip(file["weight_histogram"], file["weight_histogram_standard_error"])
    ):
        assert within_four_errors((inside == place).astype(float), share, error), place


def published_radical(file: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Rectangles (1, R, 4) and factors (1, R, 3) of a golden case."""
    height, width = file["image"].shape[1:]
    attempts = file["attempts"][file["attempts"][:, 2] >= 0]
    h, w = sides(attempts[:, 0] * height * width, attempts[:, 1])
    rectangles = np.stack([attempts[:, 2], attempts[:, 3], h, w], 1).astype(np.int32)
    return torch.tensor(rectangles)[None], torch.tensor(attempts[:, 4:], dtype=torch.float32)[None]


@pytest.mark.parametrize("number", range(10))
def test_radical_rectangles(number: int) -> None:
    file = {k.removeprefix(f"radical/{number}/"): v for k, v in golden("rle").items()}
    rectangles, factors = published_radical(file)
    if rectangles.shape[1]:  # what comes after the end changes nothing
        rectangles, factors = torch.cat([rectangles] * 2, 1), torch.cat([factors] * 2, 1)
    for published in (False, True):
        found = radical_rectangles(batch(file["image"]), rectangles, factors, published=published)
        torch.testing.assert_close(found, batch(file["output"]), atol=1e-6, rtol=0)


def test_radical_rectangles_are_distributed_as_published() -> None:
    file = {k.removeprefix("radical/statistics/"): v for k, v in golden("rle").items()}
    small = Image.fromarray(file["picture_before_resize"])
    picture = np.asarray(small.resize((192, 384), Image.Resampling.BILINEAR), np.float32) / 255
    options, count = replace(AUGMENTATIONS["rle"], early_erase=0.0, mix=0.0), 80
    augment = Augment(options, (384, 192))
    draws = augment.draw(4 * count, 2 * count, 1, seed=0, epoch=0)[0, :, 8:]
    chosen = draws[:, 2] > 0
    assert within_four_errors(
        chosen.astype(float), file["probability"], file["probability_standard_error"]
    )
    draws = torch.from_numpy(draws[chosen][:count])
    rectangles = draws[:, :40].reshape(count, 10, 4)
    assert (rectangles[..., 2] > 0).all() and (rectangles[..., 2] < 384).all()
    factors = draws[:, 40:].contiguous().view(torch.float32).reshape(count, 10, 3)
    image = torch.tensor(picture).expand(count, -1, -1, -1)
    found = radical_rectangles(image, rectangles, factors).flatten(1)
    for name, value in (
        ("mean_pixel", found.mean(1)), ("min_pixel", found.amin(1)), ("max_pixel", found.amax(1))
    ):  # fmt: skip
        mean, error = file[f"{name}_mean"], file[f"{name}_standard_error"]
        assert within_four_errors(value.numpy(), mean, error), name


def test_a_black_area_stays_black_and_is_nan_where_published() -> None:
    image = torch.zeros(2, 48, 24, 3)
    image[0, 40:] = torch.rand(8, 24, 3)
    image[1, :, :, 1] = torch.rand(48, 24)  # one channel is not black
    rectangles = torch.tensor([[[2, 3, 10, 8], [0, 0, 44, 20], [5, 5, 9, 9]]] * 2).int()
    factors = torch.rand(2, 3, 3) * 0.5 + 0.4
    found = radical_rectangles(image, rectangles, factors)
    assert found.isfinite().all()
    assert (found[0, :40] == 0).all() and (found[1, ..., 0] == 0).all()
    assert not torch.equal(found[0], image[0]) and not torch.equal(found[1], image[1])
    found = radical_rectangles(image, rectangles, factors, published=True)
    assert found[0].isnan().any() and found[1].isnan().any()


# Erasing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_name", "key", "preset", "size", "first"),
    [
        ("caj", "erasing", "caj", (288, 144), 4),
        ("rle", "erasing", "rle", (384, 192), 8),
        ("deen", "erasing_sysu", "deen", (384, 144), 4),
    ],
)
def test_erasing(file_name: str, key: str, preset: str, size: tuple[int, int], first: int) -> None:
    """The published draws give the published rectangles; ours have the same statistics."""
    file = {k.removeprefix(f"{key}/"): v for k, v in golden(file_name).items() if k.startswith(key)}
    for draw, expected in zip(file["draws"], file["rectangles"]):
        tries = draw[1:][draw[1:] >= 0]
        if not expected[2]:
            assert draw[0] > 0.5
            continue
        *pairs, top, left = tries.tolist()
        area, aspect = pairs[-2:]
        h, w = sides(np.array(area * size[0] * size[1]), np.array(aspect))
        assert (top, left, h, w) == tuple(expected)
    rows = 30_000
    options = replace(AUGMENTATIONS[preset], radical=0.0)
    draws = Augment(options, size).draw(rows, rows * 2 // 3, 1, seed=0, epoch=0)[0]
    top, left, height, width = draws[:, first : first + 4].T.astype(float)
    erased = height > 0
    ours = {
        "probability": erased.astype(float),
        "top": top[erased], "left": left[erased], "height": height[erased],
        "width": width[erased], "area": (height * width)[erased] / (size[0] * size[1]),
    }  # fmt: skip
    for name, values in ours.items():
        mean = file["statistics/" + (name if name == "probability" else f"{name}_mean")]
        error = file[f"statistics/{name}_standard_error"]
        assert within_four_errors(values, mean, error), name
    for name, limit in (("height", size[0]), ("width", size[1])):
        places = (ours[name] * 12 / limit).astype(int)
        for place, share in enumerate(file[f"statistics/{name}_histogram"]):
            error = np.sqrt(share * (1 - share) / file["statistics/number"])
            assert within_four_errors((places == place).astype(float), share, error), (name, place)


def test_early_erasing_draws_as_torchvision() -> None:
    """Aspect evenly on a logarithmic scale, at most 10 tries."""
    generator, height, width = np.random.default_rng(1), 288, 144
    ours = draw_rectangles(generator, 20_000, (height, width), (0.02, 0.33), (0.3, 3.3), "log")
    theirs = []
    for _ in range(20_000):
        for _ in range(10):
            area = height * width * generator.uniform(0.02, 0.33)
            aspect = np.exp(generator.uniform(np.log(0.3), np.log(3.3)))
            h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if h < height and w < width:
                theirs.append((generator.integers(height - h + 1),
                               generator.integers(width - w + 1), h, w))  # fmt: skip
                break
        else:
            theirs.append((0, 0, 0, 0))
    for column in range(4):
        a, b = np.sort(ours[:, column]), np.sort(np.array(theirs)[:, column])
        both = np.concatenate([a, b])
        apart = np.searchsorted(a, both, "right") - np.searchsorted(b, both, "right")
        assert np.abs(apart).max() / len(a) < 0.02
    uniform = draw_rectangles(generator, 20_000, (height, width), (0.02, 0.33), (0.3, 3.3))
    assert np.median(uniform[:, 2] / uniform[:, 3]) > 1.4  # evenly, wide ones are rare


# Whole pipelines -----------------------------------------------------------------------------


def made(options: AugmentOptions, rows: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Images (rows, H, W, 3) and draws of one step."""
    images = np.random.default_rng(0).integers(0, 256, (rows, *SIZE, 3), dtype=np.uint8)
    images[-8:] = images[-8:, :, :, :1]  # exactly grey, as infrared files are
    num_visible = rows * options.visible_views // (options.visible_views + 1)
    return images, Augment(options, SIZE).draw(rows, num_visible, 3, seed=1, epoch=2)[1]


def applied(options: AugmentOptions, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return Augment(options, SIZE)(torch.from_numpy(images), torch.from_numpy(draws)).numpy()


def shifted(image: np.ndarray, shift: float) -> np.ndarray:
    """Hue by torchvision, of an (H, W, 3) image."""
    plane = adjust_hue(torch.tensor(image).permute(2, 0, 1).clone(), shift)
    return plane.permute(1, 2, 0).numpy() if shift else image


def one_by_one(images: np.ndarray, draws: np.ndarray, *, early: str = "", **words) -> np.ndarray:
    """Augmentation an image at a time, as METHODS reads, in float64; (B, 3, H, W).

    Args:
        early: what the columns after the first eight are, of "erase", "mix", "radical" and "hue".
        words: `fill`, `pad`, and `colour` "before" or "after".
    """
    fill, order = words.get("fill", (0.4914, 0.4822, 0.4465)), words.get("colour", "after")
    pad, out = words.get("pad", 10), []
    for image, draw in zip(images, draws):
        crop_y, crop_x, flip, colour, y, x, h, w = draw[:8]
        height, width, _ = image.shape
        now = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        now = now[crop_y : crop_y + height, crop_x : crop_x + width].astype(np.float64)
        now = now[:, ::-1] if flip else now
        if order == "before" and colour == 4:
            grey = (now.astype(int) @ [19595, 38470, 7471] + 32768) >> 16
            now = np.repeat(grey[..., None], 3, axis=2)
        now, rest = now / 255, draw[8:]
        floats = rest.view(np.float32).astype(np.float64)
        if "hue" in early:
            now = shifted(now, floats[-1])
        if "mix" in early:
            weights = floats[4:7]
            if weights.sum() > 0:
                now = np.repeat((now @ weights)[..., None], 3, axis=2)
        if "radical" in early:
            gain = np.ones_like(now)
            for top, left, high, wide, *factors in np.hstack(
                [rest[7:47].reshape(10, 4), floats[47:].reshape(10, 3)]
            ):
                if not high:
                    break
                here = (slice(int(top), int(top + high)), slice(int(left), int(left + wide)))
                scale = factors / now[here].max((0, 1))
                now[here] *= scale
                gain[here] *= scale
                if gain.min() < 0.1:
                    break
        if "erase" in early:
            top, left, high, wide = rest[:4]
            now[top : top + high, left : left + wide] = (0.4914, 0.4822, 0.4465)
        now = (now - MEAN) / STD
        now[y : y + h, x : x + w] = fill
        if order == "after" and colour == 4:
            now = np.repeat((now @ [0.2989, 0.5870, 0.1140])[..., None], 3, axis=2)
        elif order == "after" and colour:
            now = np.repeat(now[..., colour - 1 : colour], 3, axis=2)
        out.append(now.transpose(2, 0, 1))
    return np.stack(out)


# Without padding for RLE: published rectangles make NaN of it in images that are so small.
PIPELINES: dict[str, dict] = {
    "caj": {},
    "dns": {"early": "erase hue"},
    "dns-regdb": {"early": "erase"},
    "dns-llcm": {"early": "hue"},
    "rle": {"early": "erase mix radical", "pad": 0},
    "rle-grey": {"early": "erase mix radical", "pad": 0, "colour": "before"},
    "deen": {"fill": (0.485, 0.456, 0.406), "colour": "before"},
    "deen-mild": {"fill": (0.485, 0.456, 0.406), "colour": "before"},
}


@pytest.mark.parametrize("preset", PIPELINES)
def test_presets_equal_a_loop_over_images(preset: str) -> None:
    options = replace(AUGMENTATIONS[preset], pad=PIPELINES[preset].get("pad", 10))
    images, draws = made(options)
    found = applied(options, images, draws)
    np.testing.assert_allclose(found, one_by_one(images, draws, **PIPELINES[preset]), atol=2e-5)


@pytest.mark.parametrize(
    ("preset", "mutant"),
    [
        ("dns", {"early": "hue"}),  # one erasing instead of two
        ("rle", {"early": "erase mix", "pad": 0}),
        ("rle-grey", {"early": "erase mix radical", "pad": 0, "colour": "after"}),
        ("deen", {"colour": "before"}),  # the other methods' fill
    ],
)
def test_mutants_of_the_pipelines_differ(preset: str, mutant: dict) -> None:
    options = replace(AUGMENTATIONS[preset], pad=PIPELINES[preset].get("pad", 10))
    images, draws = made(options)
    found = applied(options, images, draws)
    assert np.abs(found - one_by_one(images, draws, **mutant)).max() > 1e-2


def test_two_views_of_an_image_are_drawn_independently() -> None:
    draws = Augment(AUGMENTATIONS["caj"], SIZE).draw(96, 64, 50, seed=0, epoch=0)
    first, second = draws[:, :32], draws[:, 32:64]
    for column in (0, 2, 4):
        a, b = first[..., column].ravel(), second[..., column].ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.1


def test_turning_a_part_on_moves_no_other_number() -> None:
    plain = AugmentOptions(erase=0.5, channel=0.3)
    more = replace(plain, mix=0.5, radical=0.5, early_erase=0.5)
    few, many = (Augment(one, SIZE).draw(16, 8, 4, seed=0, epoch=0) for one in (plain, more))
    assert few.shape[-1] == 8 and np.array_equal(many[..., :8], few)
    without = Augment(replace(more, mix=0.0), SIZE).draw(16, 8, 4, seed=0, epoch=0)
    assert np.array_equal(without[..., 12:], many[..., 15:])


@pytest.mark.parametrize(
    "wrong",
    [
        {"early_erase_area": (0.5, 0.2)},
        {"radical_area": (0.5, 0.2)},
        {"early_erase_aspect": (3.0, 0.3)},
        {"mix_beta": 0.0},
        {"second_channel": 0.5},
    ],
)
def test_options_check_themselves(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        AugmentOptions(**wrong)


@pytest.mark.parametrize("preset", ["caj", "dns", "rle-grey"])
def test_autocast_changes_nothing(preset: str) -> None:
    options = AUGMENTATIONS[preset]
    images, draws = made(options, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = applied(options, images, draws)
    assert np.array_equal(mixed, applied(options, images, draws))


@pytest.mark.long
@pytest.mark.parametrize("preset", ["caj", "dns", "rle-grey"])
def test_compiles_whole(preset: str) -> None:
    augment = Augment(AUGMENTATIONS[preset], SIZE)
    images, draws = map(torch.from_numpy, made(augment.options, 6))
    compiled = torch.compile(augment, fullgraph=True)
    torch.testing.assert_close(compiled(images, draws), augment(images, draws), atol=2e-5, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("preset", PIPELINES)
def test_can_be_captured_in_a_cuda_graph(preset: str) -> None:
    augment = Augment(AUGMENTATIONS[preset], SIZE).cuda()
    images, draws = (torch.from_numpy(one).cuda() for one in made(augment.options))
    blank = torch.zeros_like(draws)
    for _ in range(3):
        augment(images, blank)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = augment(images, blank)
    blank.copy_(draws)
    graph.replay()
    assert torch.equal(out, augment(images, draws))
    cpu = applied(augment.options, images.cpu().numpy(), draws.cpu().numpy())
    np.testing.assert_allclose(out.cpu().numpy(), cpu, atol=2e-5)
