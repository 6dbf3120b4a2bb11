"""From light to the pixels of a file: lens, motion, exposure, noise, tone, compression."""

from __future__ import annotations

import cv2
import numpy as np

from vireid.synthetic.pictures.camera import Camera
from vireid.synthetic.pictures.view import View
from vireid.synthetic.preset import Preset


def reduce_frame(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Area-average (H, W, C) float32 down to the sensor's pixels, as a sensor collects light."""
    out = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return out.reshape(height, width, -1)


def _smear(image: np.ndarray, view: View) -> np.ndarray:
    length, angle = view.motion
    pixels = length * image.shape[0]
    if pixels < 1:
        return image
    size = 2 * int(np.ceil(pixels / 2)) + 3
    kernel = np.zeros((size, size), np.float32)
    middle = size // 2
    for s in np.linspace(-0.5, 0.5, 4 * size):
        x, y = middle + s * pixels * np.cos(angle), middle + s * pixels * np.sin(angle)
        kernel[int(round(y)), int(round(x))] += 1
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _lens(image: np.ndarray, sigma: float, view: View) -> np.ndarray:
    shape = image.shape
    if sigma > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    return _smear(image, view).reshape(shape)


def _noise(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Noise that is slightly spread, as after demosaicing; it grows with the root of the light
    (photons are counted) on top of a part that doesn't (reading the sensor)."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if image.shape[2] == 3:
        noise = 0.6 * noise + 0.4 * noise.mean(-1, keepdims=True)
    noise *= strength * (0.6 + 0.8 * np.sqrt(np.clip(image, 0, 1)))
    return 1.5 * cv2.GaussianBlur(noise, (0, 0), 0.55).reshape(image.shape)


def _bytes(image: np.ndarray) -> np.ndarray:
    out = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.repeat(out, 3, axis=2) if out.shape[2] == 1 else out


def develop_visible(
    light: np.ndarray, camera: Camera, view: View, preset: Preset, rng: np.random.Generator
) -> np.ndarray:
    """Linear RGB (h, w, 3) to display RGB (h, w, 3) uint8."""
    image = _lens(light, camera.blur * view.blur, view)
    lamp = (1.12, 1.0, 0.78) if view.night else (1.0, 1.0, 1.0)
    image = image * (
        np.array(camera.cast, np.float32)
        * np.array(lamp, np.float32)
        * np.float32(camera.exposure * view.exposure)
    )
    # A shoulder for highlights, then the exponent that displays undo (sRGB's is about 2.2).
    image = np.clip(image / (1 + 0.12 * image) * 1.05, 0, 1) ** np.float32(1 / 2.2)
    grey = image.mean(-1, keepdims=True)
    image = grey + (image - grey) * np.float32(view.saturation)
    image = (image - 0.5) * np.float32(view.contrast) + 0.5
    strength = camera.noise * preset.noise * (2.5 if view.night else 1)
    return _bytes(image + _noise(rng, image, strength))


def develop_infrared(
    light: np.ndarray, camera: Camera, view: View, preset: Preset, rng: np.random.Generator
) -> np.ndarray:
    """Near-infrared light (h, w, 1) to three equal channels (h, w, 3) uint8."""
    height, width = light.shape[:2]
    y = (np.arange(height, dtype=np.float32) + 0.5)[:, None] / height
    x = (np.arange(width, dtype=np.float32) + 0.5)[None] / width
    cone = np.exp(
        -1.3 * (((x - 0.5 - view.spot[0]) * 0.5) ** 2 + (y - 0.45 - view.spot[1]) ** 2)
    ).astype(np.float32)
    image = light * cone[..., None] * np.float32(1.15 * view.exposure)
    image = _lens(image, camera.blur * view.blur, view)
    glow = cv2.GaussianBlur(np.clip(image - 0.8, 0, 1), (0, 0), height / 40).reshape(image.shape)
    image = np.clip(image + 0.2 * glow, 0, 1.2) ** np.float32(1 / 1.75)
    image = (image - 0.45) * np.float32(view.contrast * 1.05) + 0.46
    return _bytes(image + _noise(rng, image, camera.noise * preset.noise))


def develop_thermal(
    degrees: np.ndarray, view: View, preset: Preset, rng: np.random.Generator
) -> np.ndarray:
    """Temperatures (h, w, 1) in °C to three equal channels (h, w, 3) uint8: automatic range,
    the halo of the sharpening such cameras do, column noise."""
    low, high = view.air - 4, view.heat_top
    image = np.clip((degrees[..., 0] - low) / (high - low), 0, 1).astype(np.float32)
    image += 0.25 * (image - cv2.GaussianBlur(image, (0, 0), image.shape[0] / 18))
    image += rng.standard_normal((1, image.shape[1]), dtype=np.float32) * np.float32(
        0.012 * preset.noise
    )
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape, dtype=np.float32), (0, 0), 0.7)
    image += grain * np.float32(0.02 * preset.noise)
    return _bytes(image[..., None])


def compress(image: np.ndarray, quality: int) -> bytes:
    """RGB (h, w, 3) uint8 as the bytes of a JPEG."""
    ok, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not ok:
        raise RuntimeError("OpenCV could not encode a JPEG.")
    return data.tobytes()


def as_compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """The image after compression and decompression, RGB."""
    data = np.frombuffer(compress(image, quality), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if pixels is None:
        raise RuntimeError("OpenCV could not decode its own JPEG.")
    return np.ascontiguousarray(pixels[..., ::-1])
