"""Words of any script: what a metric counts, and whether the next one stands apart from the one before."""

import re
import unicodedata

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of the scripts that put no space between words: Thai, Lao, Burmese, Khmer, Kana and Han."""


def unspaced(text: str) -> bool:
    """Whether a text begins with a letter of a script that puts no space between words."""
    return _UNSPACED.match(text) is not None


class Words:
    """Cuts texts for `rouge_score`, whose own way knows the letters a to z alone."""

    def tokenize(self, text: str) -> list[str]:
        """Returns the words of a text in lower case, and each letter by itself where no space divides words.

        A word is a run of letters, digits and the marks on them. For English that is what ROUGE always was.
        """
        words: list[str] = []
        goes_on = False
        for character in unicodedata.normalize("NFKC", text.lower()):
            kind = unicodedata.category(character)[0]
            alone = unspaced(character)
            if goes_on and (kind == "M" or (kind in "LN" and not alone and not unspaced(words[-1]))):
                words[-1] += character
            elif kind in "LN":
                words.append(character)
            goes_on = kind in "LN" or (goes_on and kind == "M")
        return words
