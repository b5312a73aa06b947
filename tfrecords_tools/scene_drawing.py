"""Scenes: a few coloured things at a place and time, laid out and drawn, anti-aliased."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tfrecords_tools.scene_kinds import COLOURS, KINDS, PLACES, SIZES, TIMES, TINTS

OVERSAMPLING = 3
JPEG_QUALITY = 90
GAP = 0.02  # Between two things, in picture widths.
MARGIN = 0.0625  # Free at each edge, so that an evaluation's central crop of 87.5 % cuts nothing.
# Things lie beside or above each other, not in between: one of the two distances is this much more.
CLEAR = 1.3


@dataclass(frozen=True)
class Thing:
    """One thing of a scene; `x`, `y` and `radius` in picture widths."""

    kind: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    mirrored: bool

    def box(self, pixels: int) -> tuple[float, float, float, float]:
        """Left, top, width and height in pixels, cut at the picture's edge."""
        left, top = max(self.x - self.radius, 0.0), max(self.y - self.radius, 0.0)
        right, bottom = min(self.x + self.radius, 1.0), min(self.y + self.radius, 1.0)
        return tuple(round(pixels * v, 2) for v in (left, top, right - left, bottom - top))


@dataclass(frozen=True)
class Scene:
    """Things, each of another kind, at a place and a time; `seed` decides how they are drawn."""

    things: tuple[Thing, ...]
    place: str
    time: str
    seed: int


def lay_out(
    looks: list[tuple[str, str, str]], place: str, time: str, rng: np.random.Generator
) -> Scene:
    """Places things so that none covers another and each is wholly inside the picture.

    Which look is drawn does not depend on whether it is easy to place: where the things find no
    room, they are all placed anew, so that every mix of sizes is as frequent as it was asked for.

    Args:
        looks: (kind, colour, size) of each thing.
        place: a key of `PLACES`.
        time: a key of `TIMES`.
        rng: decides positions, mirroring and small variations.
    """
    radii = [SIZES[size] * rng.uniform(0.93, 1.07) for _, _, size in looks]
    while True:
        spots: list[tuple[float, float]] = []
        for radius in radii:
            for x, y in rng.uniform(MARGIN + radius, 1 - MARGIN - radius, size=(20, 2)).tolist():
                if all(
                    math.hypot(x - u, y - v) > radius + other + GAP
                    and max(abs(x - u), abs(y - v)) > CLEAR * min(abs(x - u), abs(y - v))
                    for (u, v), other in zip(spots, radii, strict=False)
                ):
                    spots.append((x, y))
                    break
        if len(spots) == len(looks):
            break
    mirrored = (rng.random(len(looks)) < 0.5).tolist()
    things = tuple(
        Thing(*look, *spot, radius, flip)
        for look, spot, radius, flip in zip(looks, spots, radii, mirrored, strict=True)
    )
    return Scene(things, place, time, int(rng.integers(2**31)))


def draw(scene: Scene, pixels: int) -> Image.Image:
    """Draws a scene as an RGB picture of `pixels` x `pixels`."""
    rng = np.random.default_rng(scene.seed)
    canvas = _ground(scene, pixels * OVERSAMPLING, rng)
    for thing in scene.things:
        _draw_thing(canvas, thing, rng)
    return canvas.reduce(OVERSAMPLING)


def jpeg(picture: Image.Image) -> bytes:
    """Encodes a picture as JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _ground(scene: Scene, width: int, rng: np.random.Generator) -> Image.Image:
    """Sky above land, with hills and specks that no text speaks of."""
    sky, light = TIMES[scene.time]
    land = np.array(PLACES[scene.place][1]) * light
    sky, land = (np.array(c, int) + rng.integers(-10, 11, size=3) for c in (sky, land))
    canvas = Image.new("RGB", (width, width), tuple(sky.tolist()))
    pen = ImageDraw.Draw(canvas)
    horizon = width * rng.uniform(0.4, 0.65)
    hill = tuple(((sky + land) // 2).tolist())
    for centre in rng.uniform(0, width, size=2).tolist():
        reach = width * rng.uniform(0.3, 0.6)
        rise = width * rng.uniform(0.08, 0.2)
        pen.ellipse((centre - reach, horizon - rise, centre + reach, horizon + rise), fill=hill)
    pen.rectangle((0, horizon, width, width), fill=tuple(land.tolist()))
    for x, y in rng.uniform(0, width, size=(6, 2)).tolist():
        base, size = (sky if y < horizon else land), width * rng.uniform(0.008, 0.02)
        speck = tuple((base + rng.choice([-16, 16])).tolist())
        pen.ellipse((x - size, y - size, x + size, y + size), fill=speck)
    return canvas


def _draw_thing(canvas: Image.Image, thing: Thing, rng: np.random.Generator) -> None:
    width = canvas.width
    centre, radius = np.array([thing.x, thing.y]) * width, thing.radius * width
    scale = np.array([-radius if thing.mirrored else radius, radius])
    hue = np.clip(np.array(COLOURS[thing.colour]) + rng.integers(-12, 13, size=3), 0, 255)
    shade = hue * 0.72 if hue.mean() > 60 else hue + 38
    tints = TINTS | {"body": tuple(hue.tolist()), "shade": tuple(shade.astype(int).tolist())}
    # A hole shows the ground that lies at its middle.
    tints["hole"] = canvas.getpixel(tuple(centre.astype(int).tolist()))
    pen = ImageDraw.Draw(canvas)
    for shape, tint, *numbers in KINDS[thing.kind][1]:
        angles = numbers[4:] if shape == "pie" else []
        points = np.array(numbers[: len(numbers) - len(angles)]).reshape(-1, 2) * scale + centre
        if shape == "area":
            pen.polygon([tuple(p) for p in points.tolist()], fill=tints[tint])
            continue
        bounds = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        if shape == "box":
            pen.rectangle(bounds, fill=tints[tint])
        elif shape == "oval":
            pen.ellipse(bounds, fill=tints[tint])
        else:
            start, end = (180 - angles[1], 180 - angles[0]) if thing.mirrored else angles
            pen.pieslice(bounds, start, end, fill=tints[tint])
