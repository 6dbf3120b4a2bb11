"""The z-buffer rasteriser. `raster_numpy` is its NumPy twin, equal to the bit, 20 times slower.

Both work in float32, evaluate the same expressions in the same order and never use fast-math,
so a test can hold one against the other.
"""

from __future__ import annotations

import numpy as np

from vireid.synthetic.jit import jit

_HALF = np.float32(0.5)
_ONE = np.float32(1.0)


@jit
def raster(points, faces, cut, double_sided, height, width):
    """Draw triangles; of several at a pixel the nearest stays.

    Args:
        points: (V, 3) float32: pixel x, pixel y, 1/depth.
        faces: (F, 3) int32; clockwise on the screen is the front.
        cut: (V,) float32; where its perspective-correct interpolation is negative, nothing is
            drawn: this is how clothes end within a triangle.
        double_sided: (F,) bool.
        height, width: of the image, pixels.

    Returns:
        inverse depth (H, W) float32, 0 where empty; triangle number (H, W) int32, -1 where empty;
        weights of the second and third corner (H, W, 2) float32, perspective-correct.
    """
    inverse_depth = np.zeros((height, width), np.float32)
    triangle = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    for t in range(len(faces)):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        if cut[a] < 0 and cut[b] < 0 and cut[c] < 0:
            continue
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        abx, aby, acx, acy = bx - ax, by - ay, cx - ax, cy - ay
        area = abx * acy - aby * acx
        if area == 0 or (area > 0 and not double_sided[t]):
            continue
        inverse_area = _ONE / area
        x0 = max(0, int(np.ceil(min(ax, bx, cx) - _HALF)))
        x1 = min(width - 1, int(np.floor(max(ax, bx, cx) - _HALF)))
        y0 = max(0, int(np.ceil(min(ay, by, cy) - _HALF)))
        y1 = min(height - 1, int(np.floor(max(ay, by, cy) - _HALF)))
        for y in range(y0, y1 + 1):
            dy = np.float32(y) + _HALF - ay
            for x in range(x0, x1 + 1):
                dx = np.float32(x) + _HALF - ax
                w1 = (dx * acy - dy * acx) * inverse_area
                w2 = (abx * dy - aby * dx) * inverse_area
                w0 = _ONE - w1 - w2
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                i1 = w1 * bz
                i2 = w2 * cz
                inverse = w0 * az + i1 + i2
                if inverse <= inverse_depth[y, x]:
                    continue
                u1 = i1 / inverse
                u2 = i2 / inverse
                if (_ONE - u1 - u2) * cut[a] + u1 * cut[b] + u2 * cut[c] < 0:
                    continue
                inverse_depth[y, x] = inverse
                triangle[y, x] = t
                weights[y, x, 0] = u1
                weights[y, x, 1] = u2
    return inverse_depth, triangle, weights


def raster_numpy(points, faces, cut, double_sided, height, width):
    """`raster` without a compiler: every triangle's box is unrolled into pixels, and a stable
    sort by depth lets the nearest write last. Same arguments and results."""
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    corners = np.stack([a, b, c])
    low, high = corners.min(0), corners.max(0)
    x0 = np.maximum(0, np.ceil(low[:, 0] - _HALF)).astype(np.int64)
    x1 = np.minimum(width - 1, np.floor(high[:, 0] - _HALF)).astype(np.int64)
    y0 = np.maximum(0, np.ceil(low[:, 1] - _HALF)).astype(np.int64)
    y1 = np.minimum(height - 1, np.floor(high[:, 1] - _HALF)).astype(np.int64)
    cuts = cut[faces]
    kept = np.flatnonzero(
        (area != 0) & ((area < 0) | double_sided) & (cuts >= 0).any(1) & (x1 >= x0) & (y1 >= y0)
    )
    box_width = (x1 - x0 + 1)[kept]
    count = box_width * (y1 - y0 + 1)[kept]
    t = np.repeat(kept, count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    row, column = np.divmod(within, np.repeat(box_width, count))
    x, y = x0[t] + column, y0[t] + row
    dx = x.astype(np.float32) + _HALF - a[t, 0]
    dy = y.astype(np.float32) + _HALF - a[t, 1]
    with np.errstate(divide="ignore"):
        inverse_area = (_ONE / area)[t]
    w1 = (dx * ac[t, 1] - dy * ac[t, 0]) * inverse_area
    w2 = (ab[t, 0] * dy - ab[t, 1] * dx) * inverse_area
    w0 = _ONE - w1 - w2
    inside = (w0 >= 0) & (w1 >= 0) & (w2 >= 0)
    t, w0, w1, w2 = t[inside], w0[inside], w1[inside], w2[inside]
    pixel = y[inside] * width + x[inside]
    i1, i2 = w1 * b[t, 2], w2 * c[t, 2]
    inverse = w0 * a[t, 2] + i1 + i2
    seen = inverse > 0
    t, i1, i2, inverse, pixel = t[seen], i1[seen], i2[seen], inverse[seen], pixel[seen]
    u1, u2 = i1 / inverse, i2 / inverse
    kept = (_ONE - u1 - u2) * cuts[t, 0] + u1 * cuts[t, 1] + u2 * cuts[t, 2] >= 0
    t, u1, u2, inverse, pixel = t[kept], u1[kept], u2[kept], inverse[kept], pixel[kept]
    # Stable and reversed: of equally near triangles the first must write last.
    order = np.argsort(inverse[::-1], kind="stable")
    order = len(inverse) - 1 - order
    inverse_depth = np.zeros(height * width, np.float32)
    triangle = np.full(height * width, -1, np.int32)
    weights = np.zeros((height * width, 2), np.float32)
    at = pixel[order]
    inverse_depth[at] = inverse[order]
    triangle[at] = t[order]
    weights[at, 0] = u1[order]
    weights[at, 1] = u2[order]
    return (
        inverse_depth.reshape(height, width),
        triangle.reshape(height, width),
        weights.reshape(height, width, 2),
    )
