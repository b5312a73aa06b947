"""A plain check that a text is English, by its letters, its function words and known words.

It needs no model and no download. It is meant for a warning: a classifier of English texts answers
for any text, and its answer for another language means nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

_WORD = re.compile(r"[^\W\d_]+")
_ANOTHER_SCRIPT = "its letters are of another script"

_ENGLISH = frozenset(
    "a about above after again against all also am an and any are around as at away back be "
    "because been before behind being below between both but by can could did do does down "
    "during each every few for from had has have having he her here him his how i if in into is "
    "it its itself just like made make many may more most much my near next no nor not of off "
    "on one only onto or other our out over own same she should since so some such than that "
    "the their them then there these they this those through to too toward two under until up "
    "upon us very was we were what when where which while who whose why will with within "
    "without would you your".split()
)
# Frequent function words that are rare as English words.
_OTHERS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "German": "der das und ist ein eine einen einem einer eines nicht mit auf dem des sich "
        "auch von zu im für wird sind bei nach über oder aber wenn noch wie nur sie "
        "wir ihr zum zur vor durch beim vom steht sitzt",
        "French": "le la les des une est et dans avec qui que pas ce cette ces aux du sont il "
        "elle leur deux ne nous vous où près sous devant très mais l d qu c n s",
        "Spanish": "el la los las una unos y es con por que su sus del al como está están más "
        "pero muy sobre entre este esta estos en junto niño hombre mujer de se lo",
        "Italian": "il lo gli della dello delle degli di che è un una con per sono nel nella sul "
        "sulla ed anche come questo questa al alla dei mentre suo sua si e",
        "Portuguese": "o os da das dos uma um é com não na nas em por que seu sua ao à mais está "
        "são como mas homem mulher e num numa pelo pela",
        "Dutch": "het een van en met op naar zijn niet die dat aan voor uit bij ook door over "
        "wordt staat zit twee mannen haar hun deze de te er",
        "Swedish, Danish or Norwegian": "och en ett är på som med av för det att inte sig den "
        "har till står sitter två og er på et ikke af til der han hun jeg som seg ved",
        "Polish or Czech": "się na nie jest w z i do że przez jak po przy dla są oraz je v "
        "ve se si že na jsou který která pod nad u ze",
        "Turkish": "bir ve bu da de için ile çok olan gibi daha ne var kadar üzerinde yanında",
        "Romanian": "și un o este în cu pe care la nu din sunt mai fi lui ei unui unei",
        "Indonesian or Malay": "yang dan di ke dari ini itu dengan untuk pada adalah sedang "
        "seorang dua orang sebuah tidak",
        "Vietnamese": "một và là của trong người có không được với đang trên cái con cho",
    }.items()
}


def foreign(sentences: Sequence[str], known_words: Collection[str] = ()) -> str:
    """Why a text does not look like English; "" where it does, or is too short to tell.

    It is not English if half of its letters are not Latin; if function words of one other language
    outnumber the English ones; or if most of its words are not known and a fifth of them at most
    are English function words.

    Args:
        sentences: of the text.
        known_words: in lower case, such as a vocabulary's; none means that nothing is said of them.
    """
    words = _words(sentences)
    if _is_of_another_script(words):
        return _ANOTHER_SCRIPT
    english = sum(word in _ENGLISH for word in words)
    hits = {
        language: sum(word in its_words for word in words)
        for language, its_words in _OTHERS.items()
    }
    likely = max(hits, key=hits.get)
    if hits[likely] >= 2 and hits[likely] > english:
        return f"it reads like {likely}"
    unknown = sum(word not in known_words for word in words) if known_words else 0
    if 5 * english <= len(words) < 2 * unknown and (len(words) >= 4 or hits[likely]):
        return "most of its words are unknown, and few are English function words"
    return ""


class Expected:
    """What a model's vocabulary says of the language of the texts that it can read."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """Reads the vocabulary, whose most frequent words are the first ones."""
        # A vocabulary of another language would make every text of that language suspicious.
        self._known = frozenset(vocabulary) if is_english_vocabulary(vocabulary) else None
        self._is_latin = not _is_of_another_script(_words(vocabulary))

    def doubt(self, sentences: Sequence[str]) -> str:
        """Why the model may not read the language of a text; "" where nothing speaks for that.

        Of a text for a vocabulary that is not English, only the script is looked at, and that only
        where the vocabulary's is Latin.
        """
        if self._known is not None:
            reason = foreign(sentences, self._known)
            return f"the text may not be English: {reason}" if reason else ""
        if self._is_latin and _is_of_another_script(_words(sentences)):
            return f"the text may not be in the model's language: {_ANOTHER_SCRIPT}"
        return ""


def _words(sentences: Sequence[str]) -> list[str]:
    text = unicodedata.normalize("NFC", " ".join(sentences)).lower().replace("’", "'")
    return _WORD.findall(text)


def _is_of_another_script(words: Sequence[str]) -> bool:
    """Whether half of the letters are not Latin."""
    letters = [letter for word in words for letter in word if letter.isalpha()]
    strange = sum("LATIN" not in unicodedata.name(letter, "") for letter in letters)
    return bool(letters) and 2 * strange >= len(letters)


def is_english_vocabulary(words: Sequence[str]) -> bool:
    """Whether the most frequent words of a vocabulary, its first ones, are English."""
    return sum(word in _ENGLISH for word in words[:200]) >= 10
