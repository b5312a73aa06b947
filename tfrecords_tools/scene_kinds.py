"""What scenes show: the shapes of each kind of thing, colours and grounds."""

import math

COLOURS = {
    "red": (216, 40, 42),
    "orange": (245, 138, 28),
    "yellow": (250, 218, 48),
    "green": (46, 160, 56),
    "blue": (38, 92, 222),
    "purple": (138, 58, 190),
    "pink": (246, 128, 190),
    "brown": (122, 72, 38),
    "tan": (212, 170, 116),
    "gray": (138, 140, 144),
    "black": (34, 34, 38),
    "white": (250, 250, 250),
}
# Radius of a thing, in picture widths.
SMALL, LARGE = 0.12, 0.19
SIZES = {"small": SMALL, "little": SMALL, "large": LARGE, "big": LARGE}
# Colour of the sky, and how bright the land is then; both muted: none of COLOURS.
TIMES = {
    "during the day": ((206, 224, 236), 1.0),
    "at night": ((70, 76, 112), 0.5),
}
# Each kind of place: how texts say it, and the colour of its land. Two, and named in every caption:
# with six, a small network met unrelated pairs' places in some runs only, within 1,500 steps.
PLACES = {
    "sea": ("on the sea", (104, 166, 214)),
    "desert": ("in the desert", (228, 160, 104)),
}

# Each kind of thing: its supercategory and its strokes, drawn in turn. A stroke is a shape, a tint
# and coordinates in [-1, 1] (x to the right, y down): "oval" and "box" take left, top, right,
# bottom; "pie" two angles more (degrees, clockwise from the right); "area" takes points.
# Tints: "body" is the thing's colour, "shade" a darker or lighter one of it, the others are fixed.
KINDS: dict[str, tuple[str, tuple[tuple, ...]]] = {
    "fish": (
        "animal",
        (
            ("area", "shade", 0.4, 0, 1, -0.6, 0.85, 0, 1, 0.6),
            ("oval", "body", -1, -0.55, 0.6, 0.55),
            ("area", "shade", -0.3, 0.05, 0.2, -0.2, 0.2, 0.3),
            ("oval", "pale", -0.75, -0.28, -0.45, 0.02),
            ("oval", "ink", -0.68, -0.22, -0.52, -0.06),
        ),
    ),
    "duck": (
        "animal",
        (
            ("area", "gold", -1, -0.4, -0.6, -0.6, -0.6, -0.25),
            ("area", "shade", 0.4, 0.1, 1, -0.35, 0.9, 0.35),
            ("box", "ink", -0.15, 0.5, -0.05, 1),
            ("box", "ink", 0.15, 0.5, 0.25, 1),
            ("oval", "body", -0.55, -0.3, 0.75, 0.65),
            ("oval", "body", -0.75, -0.85, -0.05, -0.1),
            ("pie", "shade", -0.2, -0.25, 0.6, 0.45, 0, 180),
            ("oval", "ink", -0.56, -0.6, -0.4, -0.44),
        ),
    ),
    "car": (
        "vehicle",
        (
            ("area", "shade", -0.6, -0.1, -0.35, -0.6, 0.35, -0.6, 0.65, -0.1),
            ("area", "pale", -0.42, -0.12, -0.24, -0.46, 0, -0.46, 0, -0.12),
            ("area", "pale", 0.1, -0.12, 0.1, -0.46, 0.28, -0.46, 0.46, -0.12),
            ("box", "body", -1, -0.12, 1, 0.4),
            ("oval", "ink", -0.75, 0.1, -0.2, 0.65),
            ("oval", "ink", 0.2, 0.1, 0.75, 0.65),
            ("oval", "pale", -0.57, 0.28, -0.38, 0.47),
            ("oval", "pale", 0.38, 0.28, 0.57, 0.47),
        ),
    ),
    "boat": (
        "vehicle",
        (
            ("box", "wood", -0.05, -1, 0.06, 0.3),
            ("area", "body", 0.12, -0.95, 0.12, 0.15, 0.85, 0.15),
            ("area", "shade", -0.12, -0.7, -0.12, 0.15, -0.7, 0.15),
            ("area", "body", -1, 0.3, 1, 0.3, 0.6, 0.85, -0.65, 0.85),
        ),
    ),
    "cottage": (
        "building",
        (
            ("box", "shade", 0.35, -0.9, 0.6, -0.2),
            ("box", "body", -0.8, -0.15, 0.8, 1),
            ("area", "shade", -1, -0.1, 0, -0.95, 1, -0.1),
            ("box", "wood", -0.15, 0.35, 0.25, 1),
            ("box", "pale", -0.6, 0.15, -0.3, 0.5),
            ("box", "pale", 0.4, 0.15, 0.65, 0.5),
        ),
    ),
    "tent": (
        "building",
        (
            ("area", "body", 0, -0.85, 1, 0.8, -1, 0.8),
            ("area", "shade", 0, -0.85, 0.25, 0.8, -0.25, 0.8),
            ("area", "ink", 0, -0.2, 0.16, 0.8, -0.16, 0.8),
            ("box", "wood", -0.04, -1, 0.04, -0.75),
        ),
    ),
    "tree": (
        "plant",
        (
            ("box", "wood", -0.13, 0.2, 0.13, 1),
            ("oval", "shade", -0.85, -0.5, 0.1, 0.45),
            ("oval", "shade", -0.1, -0.5, 0.85, 0.45),
            ("oval", "body", -0.6, -1, 0.6, 0.2),
        ),
    ),
    "flower": (
        "plant",
        (
            ("box", "stem", -0.06, 0, 0.06, 1),
            ("area", "stem", 0, 0.85, 0.55, 0.35, 0.3, 0.8),
            ("oval", "body", -0.25, -1, 0.25, -0.4),
            ("oval", "body", -0.25, -0.2, 0.25, 0.4),
            ("oval", "body", -0.75, -0.55, -0.1, -0.05),
            ("oval", "body", 0.1, -0.55, 0.75, -0.05),
            ("oval", "shade", -0.25, -0.55, 0.25, -0.05),
        ),
    ),
    "apple": (
        "food",
        (
            ("oval", "body", -0.85, -0.5, 0.2, 0.9),
            ("oval", "body", -0.2, -0.5, 0.85, 0.9),
            ("area", "wood", -0.05, -0.35, 0.05, -0.95, 0.17, -0.9, 0.07, -0.35),
            ("area", "stem", 0.1, -0.6, 0.6, -0.95, 0.5, -0.6),
            ("oval", "shade", -0.6, -0.2, -0.4, 0.2),
        ),
    ),
    "mushroom": (
        "food",
        (
            ("box", "cream", -0.25, 0, 0.25, 0.9),
            ("pie", "body", -1, -0.9, 1, 1, 180, 360),
            ("oval", "shade", -0.6, -0.45, -0.2, -0.1),
            ("oval", "shade", -0.05, -0.75, 0.3, -0.45),
            ("oval", "shade", 0.35, -0.35, 0.65, -0.08),
        ),
    ),
    "chair": (
        "furniture",
        (
            ("box", "shade", -0.6, -1, -0.38, 1),
            ("box", "shade", 0.45, 0.2, 0.65, 1),
            ("box", "body", -0.6, -0.9, -0.3, 0.1),
            ("box", "body", -0.6, 0, 0.75, 0.3),
        ),
    ),
    "lamp": (
        "furniture",
        (
            ("box", "ink", -0.06, -0.2, 0.06, 0.9),
            ("pie", "ink", -0.45, 0.6, 0.45, 1.3, 180, 360),
            ("area", "body", -0.35, -1, 0.35, -1, 0.75, 0, -0.75, 0),
            ("area", "shade", -0.69, -0.15, 0.69, -0.15, 0.75, 0, -0.75, 0),
        ),
    ),
    "cup": (
        "kitchen",
        (
            ("oval", "shade", 0.25, -0.35, 1, 0.45),
            ("oval", "hole", 0.42, -0.18, 0.83, 0.28),
            ("area", "body", -0.8, -0.65, 0.65, -0.65, 0.45, 0.8, -0.6, 0.8),
            ("oval", "shade", -0.8, -0.85, 0.65, -0.45),
        ),
    ),
    "bottle": (
        "kitchen",
        (
            ("box", "wood", -0.17, -1, 0.17, -0.8),
            ("box", "body", -0.17, -0.8, 0.17, 0),
            ("oval", "body", -0.45, -0.4, 0.45, 0.5),
            ("box", "body", -0.45, 0.05, 0.45, 1),
            ("box", "pale", -0.45, 0.25, 0.45, 0.7),
        ),
    ),
    "ball": (
        "toy",
        (
            ("oval", "body", -0.9, -0.9, 0.9, 0.9),
            ("pie", "pale", -0.9, -0.9, 0.9, 0.9, 20, 70),
            ("pie", "pale", -0.9, -0.9, 0.9, 0.9, 140, 190),
            ("pie", "pale", -0.9, -0.9, 0.9, 0.9, 260, 310),
            ("oval", "shade", -0.2, -0.2, 0.2, 0.2),
        ),
    ),
    "kite": (
        "toy",
        (
            ("area", "ink", 0, 0.3, 0.3, 0.65, 0.1, 0.8, 0.4, 1, 0.05, 0.82, 0.2, 0.65),
            ("area", "body", 0, -1, 0.65, -0.35, 0, 0.5, -0.65, -0.35),
            ("area", "shade", 0, -1, 0.65, -0.35, 0, -0.35),
            ("area", "shade", 0, 0.5, -0.65, -0.35, 0, -0.35),
        ),
    ),
    "hat": (
        "clothing",
        (
            ("oval", "body", -1, 0.2, 1, 0.75),
            ("area", "body", -0.5, -0.7, 0.5, -0.7, 0.6, 0.45, -0.6, 0.45),
            ("area", "shade", -0.57, 0.1, 0.57, 0.1, 0.6, 0.45, -0.6, 0.45),
        ),
    ),
    "shirt": (
        "clothing",
        (
            ("area", "shade", -0.4, -0.8, -1, -0.35, -0.75, 0.15, -0.3, -0.2),
            ("area", "shade", 0.4, -0.8, 1, -0.35, 0.75, 0.15, 0.3, -0.2),
            ("area", "body", -0.5, -0.8, 0.5, -0.8, 0.5, 0.85, -0.5, 0.85),
            ("pie", "hole", -0.25, -1.05, 0.25, -0.5, 0, 180),
        ),
    ),
    "star": (
        "sky",
        (
            ("area", "body")
            + tuple(
                f((36 * i - 90) * math.pi / 180) * (1.0 if i % 2 == 0 else 0.42)
                for i in range(10)
                for f in (math.cos, math.sin)
            ),
            ("oval", "shade", -0.2, -0.2, 0.2, 0.2),
        ),
    ),
    "cloud": (
        "sky",
        (
            ("oval", "shade", -1, -0.15, -0.1, 0.6),
            ("oval", "shade", 0.2, -0.2, 1, 0.6),
            ("oval", "body", -0.6, -0.6, 0.45, 0.45),
            ("box", "body", -0.6, 0.15, 0.65, 0.6),
        ),
    ),
    "key": (
        "tool",
        (
            ("oval", "body", -1, -0.5, 0, 0.5),
            ("oval", "hole", -0.72, -0.2, -0.32, 0.2),
            ("box", "body", -0.05, -0.14, 1, 0.14),
            ("box", "shade", 0.5, 0.1, 0.65, 0.5),
            ("box", "shade", 0.82, 0.1, 1, 0.5),
        ),
    ),
    "umbrella": (
        "tool",
        (
            ("box", "wood", -0.05, -1, 0.05, 0.8),
            ("pie", "wood", -0.05, 0.5, 0.45, 1, 0, 180),
            ("pie", "hole", 0.05, 0.55, 0.35, 0.9, 0, 180),
            ("pie", "body", -1, -0.85, 1, 1, 180, 360),
            ("pie", "shade", -0.35, -0.85, 0.35, 1, 180, 360),
        ),
    ),
    "drum": (
        "music",
        (
            ("oval", "shade", -0.85, 0.2, 0.85, 0.85),
            ("box", "body", -0.85, -0.35, 0.85, 0.5),
            ("area", "pale", -0.85, 0.5, -0.42, -0.3, 0, 0.5, -0.42, -0.1),
            ("area", "pale", 0, 0.5, 0.42, -0.3, 0.85, 0.5, 0.42, -0.1),
            ("oval", "cream", -0.85, -0.65, 0.85, -0.05),
        ),
    ),
    "bell": (
        "music",
        (
            ("oval", "ink", -0.2, 0.5, 0.2, 0.95),
            ("oval", "shade", -0.15, -1, 0.15, -0.7),
            ("pie", "body", -0.55, -0.85, 0.55, 0.35, 180, 360),
            ("area", "body", -0.55, -0.27, 0.55, -0.27, 0.9, 0.65, -0.9, 0.65),
            ("area", "shade", -0.83, 0.45, 0.83, 0.45, 0.95, 0.7, -0.95, 0.7),
        ),
    ),
}
SUPERCATEGORIES = tuple(dict.fromkeys(family for family, _ in KINDS.values()))
TINTS = {
    "ink": (48, 46, 52),
    "pale": (226, 236, 240),
    "gold": (214, 150, 50),
    "wood": (126, 92, 66),
    "stem": (96, 128, 84),
    "cream": (236, 222, 196),
}
