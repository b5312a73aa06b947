"""Captions, stories, definitions and slogans of drawn scenes.

A text whose keywords were swapped must read like any other text, so that only the picture tells
that it is wrong. Swapping is a Markov chain over words ("black" becomes "white" or "red" ...), and
words are used as often as in its stationary distribution: swapping changes no frequency. A text
says each kind of attribute once (one colour, one size, one direction): how two such words go
together would betray a swap.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from imgtext_tf.data.antonyms import load_antonyms
from tfrecords_tools.scene_drawing import Scene, Thing
from tfrecords_tools.scene_kinds import COLOURS, KINDS, PLACES, SIZES, SUPERCATEGORIES

Look = tuple[str, str, str]
SIDES = {"left": "to the left", "right": "to the right"}
HEIGHTS = {"above": ("above", "on top of"), "below": ("below", "beneath", "under", "underneath")}

CAPTIONS = (
    "{a} {relation} {b} {place} {time}.",
    "{a} is {relation} {b} {place} {time}.",
    "There is {a} {relation} {b} {place} {time}.",
    "{time} one sees {a} {relation} {b} {place}.",
    "{a} stands {relation} {b} {place} {time}.",
)
STORY = (
    ("Once {time} there was {hero}.", "{hero} went for a walk {time}.", "{time} came {hero}."),
    ("It stood {relation} {b}.", "It came {relation} {b}.", "It was {relation} {b}."),
    ("Then it met {b}.", "Then it found {b}.", "Then it saw {b}."),
    ("Later it passed {b}.", "Later {b} came by.", "Soon it spoke with {b}."),
    ("So {the_hero} went home.", "What an hour for {the_hero}!", "{the_hero} was proud."),
)
DEFINITIONS = (
    ("The {name} is {hero}.", "A {name} is {hero}.", "{name} is the name of {hero}."),
    ("It is found {relation} {b}.", "It lives {relation} {b}.", "It stays {relation} {b}."),
    ("One sees it {time}.", "It comes out {time}.", "It is on the move {time}."),
)
SLOGANS = (
    "Taste Feel Dream Share Discover Enjoy Celebrate Trust Choose Imagine Love Remember".split(),
    "more the every our another pure your real simple true".split(),
    "joy freedom wonder comfort magic pleasure courage adventure luck laughter glory".split(),
    (
        "Today,Every hour,For life,With friends,Together,At once,For everyone,Without regret,"
        "Just because,For you,Once more,Naturally"
    ).split(","),
)
SYLLABLES = (
    "bl br d dr f fl g gl gr k kl l m n p pl r s sk sn sp t tr v w z".split(),
    "a e i o u oo".split(),
    "b d g l m n p r t v x z mb nd lt rk".split(),
    "a e i o u".split(),
    "b k m p t x z".split(),
)


@functools.cache
def frequencies(words: tuple[str, ...]) -> tuple[float, ...]:
    """How often to use each of some keywords so that swapping changes no frequency.

    Raises:
        ValueError: if a word's opposite is not among the words.
    """
    opposites = {entry.keyword: entry.opposites for entry in load_antonyms().entries}
    chain = np.zeros((len(words), len(words)))
    for row, word in enumerate(words):
        for opposite in opposites.get(word, ()):
            if opposite not in words:
                raise ValueError(f"the scenes lack {opposite!r}, an opposite of {word!r}: add it")
            chain[row, words.index(opposite)] = 1 / len(opposites[word])
    if not np.allclose(chain.sum(axis=1), 1):
        raise ValueError(f"a word of {words} has no opposite: take it out of the scenes")
    # pi = pi P with sum(pi) = 1, as a least-squares problem.
    system = np.vstack([chain.T - np.eye(len(words)), np.ones(len(words))])
    target = np.append(np.zeros(len(words)), 1.0)
    return tuple(np.linalg.lstsq(system, target, rcond=None)[0].tolist())


def draw_looks(rng: np.random.Generator, count: int, first: Look | None = None) -> list[Look]:
    """Draws (kind, colour, size) of things of different supercategories.

    Args:
        rng: decides all.
        count: number of things.
        first: the look of the first thing, where it is given.
    """
    looks = [first] if first else []
    families = [family for family in SUPERCATEGORIES if not first or family != KINDS[first[0]][0]]
    for index in rng.permutation(len(families))[: count - len(looks)]:
        kinds = [kind for kind, (family, _) in KINDS.items() if family == families[index]]
        looks.append((_one(rng, kinds), _keyword(rng, COLOURS), _keyword(rng, SIZES)))
    return looks


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Says where one thing of a scene is as seen from another."""
    a, b = (scene.things[i] for i in rng.permutation(len(scene.things))[:2])
    coloured, sized = rng.integers(2, size=2).tolist()
    return _fill(
        _one(rng, CAPTIONS),
        scene,
        rng,
        (a, b),
        a=_words(a, colour=coloured == 0, size=sized == 0),
        b=_words(b, colour=coloured == 1, size=sized == 1),
    )


def story(scenes: Sequence[Scene], rng: np.random.Generator) -> list[str]:
    """Tells five scenes, one sentence each, that share their time and first thing, the hero."""
    return [
        _about_hero(_one(rng, sentences), scene, rng)
        for sentences, scene in zip(STORY, scenes, strict=True)
    ]


def definition(name: str, scene: Scene, rng: np.random.Generator) -> str:
    """Defines a made-up name as the first thing of a scene."""
    return " ".join(_about_hero(_one(rng, s), scene, rng, name=name) for s in DEFINITIONS)


def slogans(count: int, rng: np.random.Generator) -> list[str]:
    """Invents `count` different slogans that name no thing.

    Raises:
        ValueError: if there are not so many.
    """
    return [
        f"{verb} {which} {good}. {end}." for verb, which, good, end in _mix(SLOGANS, count, rng)
    ]


def names(count: int, rng: np.random.Generator) -> list[str]:
    """Invents `count` different names of concepts.

    Raises:
        ValueError: if there are not so many.
    """
    return ["".join(parts) for parts in _mix(SYLLABLES, count, rng)]


def relation(a: Thing, b: Thing, rng: np.random.Generator) -> str:
    """Where `a` is as seen from `b`, by the larger of the two distances."""
    right, down = a.x - b.x, a.y - b.y
    if abs(right) > abs(down):
        return SIDES["right" if right > 0 else "left"] + " of"
    return _keyword(rng, HEIGHTS["below" if down > 0 else "above"], sum(HEIGHTS.values(), ()))


def _about_hero(template: str, scene: Scene, rng: np.random.Generator, **words: str) -> str:
    hero, b = scene.things[:2]
    return _fill(
        template,
        scene,
        rng,
        (hero, b),
        hero=_words(hero, colour=True, size=True),
        the_hero=f"the {hero.colour} {hero.kind}",
        b=_words(b),
        **words,
    )


def _fill(
    template: str, scene: Scene, rng: np.random.Generator, pair: tuple[Thing, Thing], **words: str
) -> str:
    words |= {"relation": relation(*pair, rng), "place": PLACES[scene.place][0]}
    text = template.format(time=scene.time, **words)
    return text[:1].upper() + text[1:]


def _words(thing: Thing, *, colour: bool = False, size: bool = False) -> str:
    words = [thing.size] * size + [thing.colour] * colour + [thing.kind]
    return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _keyword(rng: np.random.Generator, some, among=None) -> str:
    """Draws one of `some` by the frequencies of the words `among` which they are."""
    among = tuple(among or some)
    weights = np.array([frequencies(among)[among.index(word)] for word in some])
    return list(some)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _mix(parts: Sequence[Sequence[str]], count: int, rng: np.random.Generator) -> list[tuple]:
    combinations = list(itertools.product(*parts))
    if count > len(combinations):
        raise ValueError(
            f"only {len(combinations)} can be invented, not {count}: draw fewer scenes"
        )
    return [combinations[i] for i in rng.permutation(len(combinations))[:count].tolist()]
