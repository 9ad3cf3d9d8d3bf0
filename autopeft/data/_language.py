"""Tells the script of texts, and guesses their language where that is cheap."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice

_SAMPLE = 500
_CHARACTERS = 400
_STOP_WORDS = {
    "en": "the and of to is in that it for was with on not this are you",
    "de": "der die und das ist nicht ein eine zu den mit sich von ich auf",
    "fr": "le la les et des est une un dans pas que pour du je vous",
    "es": "el los las y es una un que no en por con para lo su",
    "it": "il di che è la non un una per sono del con gli le questo",
    "pt": "o os as e é uma um que não em por com para do da",
    "nl": "de het een en van is niet dat ik op te zijn met voor",
    "pl": "i w nie na się z to jest że do jak o ale co po",
    "sv": "och att det som en på är av för den inte jag med ett",
    "tr": "bir ve bu da de için çok ne gibi daha ama var ile o",
}
_ONE_LANGUAGE = {"Hangul": "ko", "Hiragana": "ja", "Katakana": "ja", "Greek": "el", "Hebrew": "he", "Thai": "th"}
_LEAST_SHARE = 0.08


def script_of(texts: Iterable[str]) -> str:
    """Returns the script of most letters by its Unicode name, such as ``Latin`` or ``Cyrillic``, or ``unknown``."""
    counts = _scripts(list(islice(texts, _SAMPLE)))
    return counts.most_common(1)[0][0] if counts else "unknown"


def language_of(texts: Iterable[str]) -> str:
    """Returns the likely language as an ISO 639-1 code, or ``unknown``.

    Latin script is told by stop words, Cyrillic by letters that only one language has, and other scripts where
    one language alone uses them. A guess: it serves remarks to the user and breaks ties between suggestions.
    """
    sample = list(islice(texts, _SAMPLE))
    counts = _scripts(sample)
    script = counts.most_common(1)[0][0] if counts else "unknown"
    if script == "Latin":
        return _by_stop_words(sample)
    if script == "Cyrillic":
        return _by_letters(sample)
    if script == "Cjk":  # Japanese mixes Han characters with kana, Chinese does not
        kana = counts["Hiragana"] + counts["Katakana"]
        return "ja" if kana > counts["Cjk"] / 10 else "zh"
    return _ONE_LANGUAGE.get(script, "unknown")


def _scripts(texts: Sequence[str]) -> Counter[str]:
    characters = Counter(character for text in texts for character in text[:_CHARACTERS] if character.isalpha())
    counts: Counter[str] = Counter()
    for character, count in characters.items():
        counts[_script(character)] += count
    return counts


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").split(" ")[0].split("-")[0].title()


def _by_stop_words(texts: Sequence[str]) -> str:
    words = Counter(word for text in texts for word in text[:_CHARACTERS].casefold().split())
    shares = {name: sum(words[word] for word in stop.split()) / words.total() for name, stop in _STOP_WORDS.items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= _LEAST_SHARE else "unknown"


def _by_letters(texts: Sequence[str]) -> str:
    letters = Counter(letter for text in texts for letter in text[:_CHARACTERS].casefold())
    ukrainian, russian = letters["і"] + letters["ї"] + letters["є"], letters["ы"] + letters["э"] + letters["ё"]
    if not ukrainian + russian:
        return "unknown"
    return "uk" if ukrainian > russian else "ru"
