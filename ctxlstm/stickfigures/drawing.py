"""How stick figures and their scenery look: the drawing half of the generated data set (see __init__.py).

All lengths are pixels of the finished 320 x 240 video unless a comment says body heights; y points downwards. Pictures
are drawn FINE times as large and then reduced, which makes the edges smooth.
"""

import colorsys
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 320, 240  # pixels, as in UCF101
FINE = 3

Colour = tuple[int, ...]

SKINS = ((250, 214, 186), (236, 188, 152), (212, 156, 116), (176, 120, 84), (134, 88, 62), (98, 64, 48))
HAIRS = ((44, 36, 38), (84, 54, 40), (140, 90, 50), (206, 164, 96), (168, 76, 46), (186, 184, 190))
SHIRT_HUES = (0.0, 0.03, 0.09, 0.13, 0.38, 0.47, 0.53, 0.58, 0.63, 0.7, 0.9, 0.96)
SKY_HUES = (0.02, 0.07, 0.11, 0.14, 0.42, 0.48, 0.53, 0.57, 0.61, 0.67, 0.74, 0.86, 0.94)
GROUND_HUES = (0.04, 0.09, 0.12, 0.3, 0.38, 0.5, 0.6, 0.7)

# Limbs from the far end to the body: two joints, the radius at each in body heights, the colour in Look.
ARM = (
    ("elbow", "hand", 0.024, 0.019, "skin"),
    ("hand", "hand", 0.026, 0.026, "skin"),
    ("shoulder", "elbow", 0.037, 0.028, "shirt"),
)
LEG = (
    ("foot", "toe", 0.023, 0.018, "shoes"),
    ("knee", "foot", 0.034, 0.025, "trousers"),
    ("hip", "knee", 0.05, 0.035, "trousers"),
)


class Look(NamedTuple):
    """What the clips of one group share; height and floor in pixels, leg (thigh or shank) to shoulder in body heights."""

    height: float
    floor: float
    leg: float
    head: float
    shoulder: float
    girth: float  # 1: neither thin nor stout
    style: int  # of the hair: 0 short, 1 long, 2 a bun, 3 a cap
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    wood: Colour


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Colour (red, green, blue) from 0 to 255 for a hue in turns, a saturation and a value from 0 to 1."""
    return tuple(round(255 * v) for v in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor below 1) or lighter."""
    return tuple(min(255, round(v * factor)) for v in colour)


def random_look(rng: np.random.Generator) -> Look:
    """Draw proportions and colours of a figure."""
    u, hue = rng.uniform, rng.choice(SHIRT_HUES)
    sizes = u([112, 202, 0.225, 0.082, 0.17, 0.85], [138, 220, 0.255, 0.1, 0.22, 1.2])
    return Look(
        *sizes.tolist(),
        style=int(rng.integers(4)),
        skin=SKINS[rng.integers(len(SKINS))],
        hair=HAIRS[rng.integers(len(HAIRS))],
        shirt=hsv(hue, u(0.4, 0.68), u(0.72, 0.94)),
        trousers=hsv(hue + u(0.35, 0.65), u(0.2, 0.45), u(0.28, 0.5)),
        shoes=hsv(u(), u(0, 0.4), u(0.2, 0.95)),
        wood=hsv(u(0.05, 0.1), u(0.4, 0.55), u(0.5, 0.72)),
    )


class Pen:
    """Draws in pixels of the video on a canvas that is FINE times as large and begins at `origin`."""

    def __init__(self, canvas: Image.Image, origin: tuple[int, int] = (0, 0)):
        self.draw, self.origin = ImageDraw.Draw(canvas, "RGBA"), origin

    def _fine(self, *points: Any) -> list[float]:
        return [(v - o) * FINE for point in points for v, o in zip(point, self.origin, strict=True)]

    def polygon(self, colour: Colour, *points: Any) -> None:
        """Filled polygon."""
        self.draw.polygon(self._fine(*points), fill=colour)

    def disc(self, colour: Colour, x: float, y: float, rx: float, ry: float | None = None) -> None:
        """Filled ellipse around (x, y), a circle without ry."""
        ry = rx if ry is None else ry
        self.draw.ellipse(self._fine((x - rx, y - ry), (x + rx, y + ry)), fill=colour)

    def block(self, colour: Colour, x0: float, y0: float, x1: float, y1: float, radius: float = 0) -> None:
        """Filled rectangle, its corners rounded by `radius`."""
        self.draw.rounded_rectangle(self._fine((x0, y0), (x1, y1)), radius * FINE, fill=colour)

    def limb(self, colour: Colour, a: Any, ra: float, b: Any, rb: float) -> None:
        """Tapered limb with round ends: discs of radii ra at a and rb at b, and their common tangents."""
        (ax, ay), (bx, by) = map(float, a), map(float, b)
        turn = math.acos(min(1, max(-1, (ra - rb) / max(math.hypot(bx - ax, by - ay), 1e-6))))
        angle, sides = math.atan2(by - ay, bx - ax), []
        for x, y, r, k in ((ax, ay, ra, 1), (bx, by, rb, 1), (bx, by, rb, -1), (ax, ay, ra, -1)):
            sides.append((x + r * math.cos(angle + k * turn), y + r * math.sin(angle + k * turn)))
        self.polygon(colour, *sides)
        self.disc(colour, ax, ay, ra)
        self.disc(colour, bx, by, rb)


def draw_scenery(rng: np.random.Generator, look: Look) -> Image.Image:
    """Draw the backdrop of a group, 960 x 720: two soft tones, and in them a room, hills, a town or the sea."""
    u, horizon, side = rng.uniform, look.floor - rng.uniform(18, 34), rng.choice([-1, 1])
    hue = rng.choice(SKY_HUES) + u(-0.02, 0.02)
    top, low = hsv(hue, u(0.14, 0.34), u(0.78, 0.92)), hsv(hue + u(-0.1, 0.1), u(0.04, 0.13), u(0.93, 0.98))
    near, warm = (
        hsv(rng.choice(GROUND_HUES), u(0.12, 0.34), u(0.6, 0.82)),
        hsv(u(0.07, 0.14), u(0.25, 0.5), 0.99),
    )
    rows = np.arange(HEIGHT * FINE)[:, None] / FINE
    sky = np.array(top) + (np.array(low) - top) * np.clip(rows / horizon, 0, 1)
    ground = np.array(near) * (1 - 0.16 * np.clip((rows - horizon) / (HEIGHT - horizon), 0, 1))
    column = np.where(rows < horizon, sky, ground).astype(np.uint8)[:, None]
    canvas = Image.fromarray(np.repeat(column, WIDTH * FINE, axis=1))
    pen, kind = Pen(canvas), rng.integers(4)
    if kind:  # outdoors: the sun in its glow
        x, y, r = u(30, 290), horizon - u(70, 150), u(13, 24)
        for grow, alpha in ((1.9, 50), (1.4, 80), (1, 255)):
            pen.disc((*warm, alpha), x, y, r * grow)
    if kind == 0:  # a room: window, picture, skirting board, rug
        x, y, w, h = 160 + side * u(60, 100), u(28, 48), u(26, 40), u(52, 74)
        frame = shade(low, 1.06)
        pen.block(frame, x - w - 4, y - 4, x + w + 4, y + h + 4, 3)
        pen.block(hsv(u(0.5, 0.58), u(0.2, 0.36), 0.95), x - w, y, x + w, y + h, 2)
        pen.block(hsv(u(0.2, 0.4), 0.3, 0.78), x - w, y + h * u(0.5, 0.8), x + w, y + h)
        pen.block(frame, x - 1.5, y, x + 1.5, y + h)
        pen.block(frame, x - w, y + h / 2 - 1.5, x + w, y + h / 2 + 1.5)
        x, y, w = 160 - side * u(60, 110), u(40, 70), u(14, 24)
        pen.block(look.wood, x - w - 3, y - 3, x + w + 3, y + 1.4 * w + 3, 2)
        pen.block(warm, x - w, y, x + w, y + 1.4 * w)
        pen.disc(hsv(hue + 0.5, 0.4, 0.8), x + w * u(-0.4, 0.4), y + 0.7 * w, 0.4 * w)
        pen.block(shade(low, 0.94), 0, horizon - 5, WIDTH, horizon)
        rug = hsv(hue + u(0.4, 0.6), 0.3, u(0.75, 0.9))
        pen.disc((*rug, 150), u(120, 200), look.floor + 4, u(80, 130), u(9, 14))
    elif kind == 1:  # clouds, two chains of hills, round trees
        for x, y, r in zip(u(20, 300, 3), u(22, 70, 3), u(6, 12, 3), strict=True):
            for dx, k in ((-1.3, 0.75), (0, 1.1), (1.3, 0.8)):
                pen.disc((255, 255, 255, 190), x + dx * r, y - (k - 0.75) * r, r * k)
        green, xs = u(0.2, 0.42), np.linspace(0, WIDTH, 81)
        for level, swell, tone in ((u(26, 44), u(6, 16), 0.86), (u(8, 18), u(4, 9), 0.76)):
            wave = np.sin(xs / u(28, 60) + u(0, 6)) + 0.4 * np.sin(xs / u(12, 20) + u(0, 6))
            chain = zip(xs, horizon - level - swell * wave, strict=True)
            pen.polygon(hsv(green, 1.1 - tone, tone), *chain, (WIDTH, horizon), (0, horizon))
        for x, r in zip(u(10, 310, 4), u(9, 18, 4), strict=True):
            pen.block(look.wood, x - 1.8, horizon - 1.6 * r, x + 1.8, horizon + 2)
            leaves = hsv(green + u(-0.04, 0.04), u(0.35, 0.5), u(0.55, 0.68))
            pen.disc(leaves, x, horizon - 2 * r, r, 1.15 * r)
    elif kind == 2:  # a town: two rows of houses, the near one with windows
        for tall, tone in ((u(80, 120), 0.94), (u(45, 75), 0.8)):
            left = u(-30, 0)
            while left < WIDTH:
                right, roof = left + u(24, 52), horizon - tall * u(0.55, 1.1)
                pen.block(hsv(hue + u(-0.05, 0.05), u(0.08, 0.2), tone), left, roof, right, horizon)
                for x in np.arange(left + 5, right - 7, 9) if tone < 0.9 else ():
                    for y in np.arange(roof + 7, horizon - 9, 13):
                        light = (*warm, 230) if u() < 0.5 else (*shade(near, 0.8), 130)
                        pen.block(light, x, y, x + 4, y + 6)
                left = right + u(0, 5)
    else:  # the sea: bands of light on the water, a sail
        water, shore = hsv(u(0.45, 0.6), u(0.22, 0.4), u(0.72, 0.86)), horizon - u(24, 40)
        pen.block(water, 0, shore, WIDTH, horizon)
        for y, x in zip(np.linspace(shore + 5, horizon - 4, 6), u(0, 260, 6), strict=True):
            pen.block(shade(water, 1.1), x, y, x + u(30, 90), y + 1.4, 0.7)
        x, y, s = u(30, 290), shore + 4, u(9, 15)
        pen.polygon((252, 250, 244), (x, y), (x, y - 2.5 * s), (x + side * s, y))
        pen.polygon(look.wood, (x - s, y), (x + s, y), (x + s / 2, y + 4), (x - s / 2, y + 4))
    # Things that some classes use also stand around unused in others, so a thing does not reveal the class.
    for thing, x in zip(("chair", "box", "ball", "plant"), rng.permutation([28, 70, 250, 292]), strict=True):
        if u() < 0.35:
            draw_thing(pen, look, thing, x + u(-10, 10), horizon + u(4, 9), rng.choice([-1, 1]), 0.85)
    return canvas


def draw_thing(
    pen: Pen, look: Look, thing: str, x: float, floor: float, facing: int, scale: float = 1
) -> None:
    """Draw a chair, box, ball or plant that stands on `floor`; x is the middle of its seat or body."""
    unit, wood = look.height * scale, look.wood
    if thing == "chair":
        seat, w, r = floor - (look.leg - 0.035) * unit, 0.11 * unit, 1.7 * scale
        for dx, tone in ((-0.7, 0.72), (0.8, 0.72), (-0.95, 0.9), (0.95, 0.9)):
            pen.limb(shade(wood, tone), (x + dx * w, seat), r, (x + 1.08 * dx * w, floor - 1), r)
        back = x - facing * 1.05 * w
        pen.limb(wood, (back, seat), 1.5 * r, (back - facing * 0.25 * w, seat - 0.27 * unit), 1.3 * r)
        pen.block(shade(wood, 1.08), x - 1.2 * w, seat - 1, x + 1.2 * w, seat + 4.5 * scale, 2)
    elif thing == "box":
        s = 0.085 * unit
        pen.block(shade(wood, 1.25), x - s, floor - 1.7 * s, x + s, floor, 2)
        pen.block(shade(wood, 1.4), x - s, floor - 1.7 * s, x + s, floor - 1.2 * s, 2)
        pen.block(wood, x - 0.16 * s, floor - 1.7 * s, x + 0.16 * s, floor)
    elif thing == "ball":
        pen.disc((240, 234, 224), x, floor - 0.05 * unit, 0.05 * unit)
        pen.disc(look.trousers, x + 0.01 * unit, floor - 0.045 * unit, 0.024 * unit)
    else:
        for lean in (-0.11, -0.04, 0.03, 0.1):
            leaf, tip = hsv(0.36 + lean / 5, 0.42, 0.58 + lean), floor - (0.36 - 0.5 * abs(lean)) * unit
            pen.limb(leaf, (x, floor - 0.13 * unit), 1.5, (x + lean * unit, tip), 0.03 * unit)
        pen.limb(
            (184, 122, 100), (x, floor - 0.12 * unit), 0.065 * unit, (x, floor - 0.045 * unit), 0.045 * unit
        )


def draw_figure(
    pen: Pen,
    look: Look,
    at: Mapping[str, np.ndarray],
    facing: int,
    front: bool,
    thing: str,
    where: np.ndarray,
) -> None:
    """Draw the shadow, the figure and its thing ("" for none).

    `at` maps names of joints to (x, y); `facing` is 1 for right and -1 for left; `front` says that the figure is seen
    from the front; `where` is the point (x, y) on which the thing stands. A box goes between the body and the near arm.
    """
    unit, g, turn = look.height, look.girth * look.height, 0 if front else 0.34 * facing

    def limb(parts: tuple, side: str, tone: float = 1) -> None:
        for a, b, ra, rb, colour in parts:
            pen.limb(shade(getattr(look, colour), tone), at[f"{side} {a}"], ra * g, at[f"{side} {b}"], rb * g)

    pen.disc((40, 30, 50, 48), at["pelvis"][0], look.floor + 1, 0.2 * unit, 0.03 * unit)
    if thing not in ("", "box"):
        draw_thing(pen, look, thing, *where, facing)
    if not front:
        limb(ARM, "far", 0.78)
    limb(LEG, "far", 1 if front else 0.8)
    limb(LEG, "near")
    pelvis, chest, (x, y), r = at["pelvis"], at["chest"], at["head"], look.head * unit
    pen.limb(shade(look.skin, 0.88), chest, 0.03 * g, (x, y), 0.03 * g)
    pen.limb(look.trousers, at["near hip"], 0.05 * g, at["far hip"], 0.05 * g)
    collar, belt = {}, {}
    for side in ("near", "far"):
        collar[side] = at[f"{side} shoulder"] + [0, 0.014 * unit]
        belt[side] = at[f"{side} hip"] + 0.16 * (chest - pelvis)
        pen.limb(look.shirt, collar[side], 0.042 * g, belt[side], 0.046 * g)
    pen.polygon(look.shirt, collar["near"], collar["far"], belt["far"], belt["near"])
    pen.limb(look.shirt, collar["near"], 0.042 * g, collar["far"], 0.042 * g)
    pen.limb(look.shirt, belt["near"], 0.046 * g, belt["far"], 0.046 * g)
    if look.style == 1:
        pen.limb(look.hair, (x - 0.8 * turn * r, y), 0.98 * r, (x - 1.6 * turn * r, y + 0.9 * r), 0.6 * r)
    elif look.style == 2:
        pen.disc(look.hair, x - 2.2 * turn * r, y - (1.15 if front else 0.75) * r, 0.42 * r)
    pen.disc(look.hair, x, y - 0.08 * r, r)
    pen.disc(look.skin, x + 0.5 * turn * r, y + 0.18 * r, 0.9 * r)
    if look.style == 3:
        pen.disc(look.shoes, x, y - 0.42 * r, r, 0.66 * r)
        pen.limb(
            shade(look.shoes, 0.8), (x, y - 0.24 * r), 0.14 * r, (x + 3.8 * turn * r, y - 0.22 * r), 0.12 * r
        )
    for dx in (-0.28, 0.28):
        pen.disc((52, 44, 48), x + (1.5 * turn + dx) * r, y + 0.2 * r, 0.1 * r, 0.14 * r)
    if thing == "box":
        draw_thing(pen, look, thing, *where, facing)
    for side in ("far", "near") if front else ("near",):
        limb(ARM, side, 0.96)
