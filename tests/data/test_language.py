import json

import pytest

from imgtext_tf.data import language

KNOWN = frozenset(
    "a the man dog dogs two red car beach runs on in front of stands boat hard".split()
)


@pytest.mark.parametrize(
    "text",
    [
        "Ein Mann steht vor einem roten Auto.",
        "Zwei Hunde laufen am Strand.",
        "Un homme se tient devant une voiture rouge.",
        "Un hombre está de pie frente a un coche rojo.",
        "Due cani corrono sulla spiaggia.",
        "Dois cães correm na praia.",
        "Een man staat voor een rode auto.",
        "To hunde løber på stranden.",
        "Dva psi běží po pláži.",
        "Kırmızı bir arabanın önünde duran bir adam.",
        "Kaksi koiraa juoksee rannalla.",
        "Мужчина стоит перед красной машиной.",
        "一个男人站在一辆红色汽车前面。",
        "एक आदमी लाल कार के सामने खड़ा है।",
    ],
)
def test_other_languages_are_told(text):
    assert language.foreign([text], KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "A man in a red coat stands in front of a café.",
        "Dogs running",
        "Paris 1998",
        "Just do it!",
        "DIE HARD",
        "The Rio de la Plata lies between Argentina and Uruguay.",
        "",
    ],
)
def test_english_is_english(text):
    assert language.foreign([text], KNOWN) == ""


def test_unknown_words_alone_say_nothing_without_a_vocabulary():
    assert language.foreign(["Kaksi koiraa juoksee rannalla"]) == ""


def test_real_english_texts_are_not_suspected(kit):
    """2,000 captions and all definitions and slogans of the kit."""
    texts = []
    with open(kit / "flickr30k_text" / "train_captions.tsv", encoding="utf-8") as file:
        for line, _ in zip(file, range(2000), strict=False):
            texts.append(line.rstrip("\n").split("\t")[-1])
    with open(kit / "imagenet" / "wikipedia_summaries.jsonl", encoding="utf-8") as file:
        texts += [json.loads(line)["summary"] for line in file]
    slogans = json.loads((kit / "ads/image/Slogans.json").read_text(encoding="utf-8"))
    texts += [slogan for of_image in slogans.values() for slogan in of_image]
    assert [text for text in texts if language.foreign([text])] == []


def test_what_a_vocabulary_expects():
    german = language.Expected("ein eine und der die das in mit auf".split())
    assert german.doubt(["Ein Mann steht."]) == german.doubt(["A man in a red coat."]) == ""
    reason = german.doubt(["Мужчина стоит перед красной машиной."])
    assert reason == (
        "the text may not be in the model's language: its letters are of another script"
    )
    russian = language.Expected("и в не на он с что".split())
    assert russian.doubt(["Мужчина стоит."]) == russian.doubt(["A man."]) == ""
    english = language.Expected([*KNOWN, *"is and to an man are at his from by".split()])
    assert english.doubt(["A man stands."]) == ""
    assert english.doubt(["Ein Mann steht vor dem Auto."]).startswith("the text may not be English")
    assert language.Expected([]).doubt(["A man."]) == ""


def test_a_vocabulary_tells_its_language():
    english = "a the in of on with is and to an man are at woman his from by two".split()
    assert language.is_english_vocabulary(english)
    assert not language.is_english_vocabulary("ein eine und der die das in mit auf".split())
