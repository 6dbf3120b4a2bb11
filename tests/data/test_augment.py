"""Augmentation equals a plain loop over images, and its draws follow the published definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vireid.data import Augment, AugmentOptions, normalise
from vireid.data.augment import ERASE_FILL, ERASE_H, GREY_WEIGHTS, MEAN, STD
from vireid.types import InputError

SIZE = (36, 18)
EVERYTHING = AugmentOptions(pad=5, erase=0.7, channel=0.3, grey=0.3)


def one_by_one(images: np.ndarray, draws: np.ndarray, pad: int) -> np.ndarray:
    """The same, an image at a time, as its definition reads. (B, 3, H, W) float64."""
    out = []
    for image, (crop_y, crop_x, flip, colour, y, x, h, w) in zip(images, draws):
        height, width, _ = image.shape
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        changed = padded[crop_y : crop_y + height, crop_x : crop_x + width].astype(np.float64)
        if flip:
            changed = changed[:, ::-1]
        if 1 <= colour <= 3:
            changed = np.repeat(changed[..., colour - 1 : colour], 3, axis=2)
        elif colour == 4:
            changed = np.repeat((changed @ np.array(GREY_WEIGHTS))[..., None], 3, axis=2)
        changed = (changed / 255 - MEAN) / STD
        changed[y : y + h, x : x + w] = ERASE_FILL
        out.append(changed.transpose(2, 0, 1))
    return np.stack(out)


@pytest.mark.parametrize(
    "options",
    [
        EVERYTHING,
        AugmentOptions(),
        AugmentOptions(pad=0, flip=0),
        AugmentOptions(grey=1.0),
        AugmentOptions(erase=1.0, erase_area=(0.02, 0.4)),
    ],
)
def test_equals_a_loop_over_images(options):
    augment = Augment(options, SIZE)
    images = np.random.default_rng(0).integers(0, 256, size=(64, *SIZE, 3), dtype=np.uint8)
    draws = augment.draw(64, 32, 3, seed=1, epoch=2)[1]
    out = augment(torch.from_numpy(images), torch.from_numpy(draws))
    assert out.dtype == torch.float32
    assert out.shape == (64, 3, *SIZE)
    assert out.is_contiguous()
    np.testing.assert_allclose(out.numpy(), one_by_one(images, draws, options.pad), atol=1e-5)


def test_away_from_a_cpu_images_are_channels_last():
    """As tensor cores read them; PyTorch's device without data stands for a GPU."""
    augment = Augment(EVERYTHING, SIZE).to("meta")
    images = torch.empty(4, *SIZE, 3, dtype=torch.uint8, device="meta")
    out = augment(images, torch.empty(4, 8, dtype=torch.int32, device="meta"))
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_normalise_is_augmentation_without_change():
    images = torch.randint(0, 256, (4, *SIZE, 3), dtype=torch.uint8)
    out = normalise(images)
    plain = (images.double() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(out.double(), plain.permute(0, 3, 1, 2), atol=1e-6, rtol=0)
    assert out.is_contiguous(memory_format=torch.channels_last)
    still = Augment(AugmentOptions(pad=0, flip=0), SIZE)
    torch.testing.assert_close(
        still(images, torch.zeros(4, 8, dtype=torch.int32)), out, atol=1e-5, rtol=0
    )


def test_draws_are_a_pure_function_of_seed_and_epoch():
    augment = Augment(EVERYTHING, SIZE)
    draws = augment.draw(16, 8, 20, seed=3, epoch=4)
    assert draws.dtype == np.int32 and draws.shape == (20, 16, 8)
    assert np.array_equal(draws, Augment(EVERYTHING, SIZE).draw(16, 8, 20, seed=3, epoch=4))
    assert not np.array_equal(draws, augment.draw(16, 8, 20, seed=3, epoch=5))
    assert not np.array_equal(draws, augment.draw(16, 8, 20, seed=4, epoch=4))


def test_draws_have_the_right_frequencies():
    draws = Augment(EVERYTHING, SIZE).draw(200, 100, 200, seed=0, epoch=0).reshape(-1, 8)
    crops = draws[:, :2]
    assert crops.min() == 0 and crops.max() == 10
    shares = np.bincount(crops.ravel(), minlength=11) / crops.size
    np.testing.assert_allclose(shares, 1 / 11, atol=0.01)
    assert np.mean(draws[:, 2]) == pytest.approx(0.5, abs=0.02)
    colour = draws[:, 3].reshape(200, 200)
    assert np.all(colour[:, 100:] == 0)  # infrared rows keep their colour
    shares = np.bincount(colour[:, :100].ravel(), minlength=5) / 20000
    np.testing.assert_allclose(shares, [0.7 * 0.7, 0.1, 0.1, 0.1, 0.7 * 0.3], atol=0.02)
    assert np.mean(draws[:, 6] > 0) == pytest.approx(0.7, abs=0.02)


def published_rectangle(generator: np.random.Generator, size) -> tuple[int, int, int, int]:
    """Random erasing as the published definition reads; (0, 0, 0, 0) where no try fits."""
    for _ in range(100):
        area = generator.uniform(0.1, 0.8) * size[0] * size[1]
        aspect = generator.uniform(0.3, 1 / 0.3)
        h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if w < size[1] and h < size[0]:
            y = generator.integers(0, size[0] - h, endpoint=True)
            x = generator.integers(0, size[1] - w, endpoint=True)
            return int(y), int(x), h, w
    return 0, 0, 0, 0


def test_erased_rectangles_follow_the_published_definition():
    size = (288, 144)
    draws = Augment(AugmentOptions(erase=1.0), size).draw(100, 50, 200, seed=0, epoch=0)
    ours = draws.reshape(-1, 8)[:, 4:].astype(float)
    generator = np.random.default_rng(1)
    theirs = np.array([published_rectangle(generator, size) for _ in range(20000)], float)
    for rectangles in (ours, theirs):
        y, x, h, w = rectangles.T
        assert np.all((y >= 0) & (x >= 0) & (y + h <= size[0]) & (x + w <= size[1]))
        assert np.all((h < size[0]) & (w < size[1]))
    for of in (
        lambda r: r[:, 0],
        lambda r: r[:, 1],
        lambda r: r[:, 2],
        lambda r: r[:, 3],
        lambda r: r[:, 2] * r[:, 3],
        lambda r: r[:, 2] / np.maximum(r[:, 3], 1),
    ):
        a, b = np.sort(of(ours)), np.sort(of(theirs))
        # Kolmogorov-Smirnov: 20,000 against 20,000, far below chance of a false alarm
        both = np.concatenate([a, b])
        distance = np.abs(
            np.searchsorted(a, both, side="right") - np.searchsorted(b, both, side="right")
        ).max() / len(a)
        assert distance < 0.02


def test_impossible_rectangles_erase_nothing():
    options = AugmentOptions(erase=1.0, erase_area=(1.0, 1.0), erase_aspect=1.0)
    draws = Augment(options, (20, 10)).draw(8, 4, 2, seed=0, epoch=0)
    assert np.all(draws[..., 4:] == 0)


@pytest.mark.parametrize(
    "wrong",
    [{"flip": 1.5}, {"pad": -1}, {"erase_area": (0.5, 0.2)}, {"erase_aspect": 0.0}, {"grey": -0.1}],
)
def test_options_check_themselves(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        AugmentOptions(**wrong)


def test_has_no_state_to_save():
    assert Augment(EVERYTHING, SIZE).state_dict() == {}


def test_autocast_changes_nothing():
    augment = Augment(EVERYTHING, SIZE)
    images = torch.randint(0, 256, (8, *SIZE, 3), dtype=torch.uint8)
    draws = torch.from_numpy(augment.draw(8, 4, 1, seed=0, epoch=0)[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = augment(images, draws)
    assert torch.equal(mixed, augment(images, draws))


@pytest.mark.long
def test_compiles_whole():
    augment = Augment(EVERYTHING, SIZE)
    images = torch.randint(0, 256, (8, *SIZE, 3), dtype=torch.uint8)
    draws = torch.from_numpy(augment.draw(8, 4, 1, seed=0, epoch=0)[0])
    compiled = torch.compile(augment, fullgraph=True)
    torch.testing.assert_close(compiled(images, draws), augment(images, draws))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_can_be_captured_in_a_cuda_graph():
    augment = Augment(EVERYTHING, SIZE).cuda()
    images = torch.randint(0, 256, (8, *SIZE, 3), dtype=torch.uint8, device="cuda")
    plan = torch.from_numpy(augment.draw(8, 4, 2, seed=0, epoch=0)).cuda()
    draws = plan[0].clone()
    for _ in range(3):
        augment(images, draws)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = augment(images, draws)
        still = normalise(images)
    draws.copy_(plan[1])
    graph.replay()
    torch.testing.assert_close(out, augment(images, plan[1]))
    torch.testing.assert_close(still, normalise(images))
    cpu = Augment(EVERYTHING, SIZE)(images.cpu(), plan[1].cpu())
    torch.testing.assert_close(out.cpu(), cpu, atol=1e-5, rtol=0)


def test_what_was_done_to_a_row_in_words() -> None:
    options = AugmentOptions(
        erase=0.3, early_erase=0.3, channel=0.3, grey=0.5, mix=0.5, radical=0.5, infrared_hue=0.1
    )
    augment = Augment(options, (64, 32))
    draws = augment.draw(8, 4, 50, seed=0, epoch=0).reshape(-1, augment.columns)
    said = augment.changes(draws)
    erased = np.array(["erased" in words for words in said])
    assert erased[draws[:, ERASE_H] > 0].all()
    assert 0.4 < erased.mean() < 0.6, "before or after normalisation"
    assert {word for words in said for word in words.split(", ") if word} == {
        "one channel", "grey", "erased", "hue", "mixed", "radical",
    }  # fmt: skip
    nothing = Augment(AugmentOptions(), (64, 32))
    assert set(nothing.changes(nothing.draw(8, 4, 1, seed=0, epoch=0)[0])) == {""}
