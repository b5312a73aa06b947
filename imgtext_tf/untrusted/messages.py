"""Messages that repeat what a file holds, of which a single name may have millions of letters."""

from __future__ import annotations

SHOWN_LETTERS = 1500  # a path of usual length, what is wrong there, and the mend
# Of an error, which may list what is wrong with several files.
_ERROR_LETTERS = 4000
_GAP = " [...] "


def shortened(text: object, most: int = SHOWN_LETTERS) -> str:
    """A text as a message shows it: of a long one the beginning and the end."""
    text = str(text)
    if len(text) <= most:
        return text
    half = (most - len(_GAP)) // 2
    return f"{text[:half]}{_GAP}{text[-half:]}"


class ShortError(Exception):
    """An error that may repeat what a file holds; the middle of a long message is left out."""

    def __init__(self, message: object = "") -> None:
        """Keeps the message, or its beginning and end."""
        super().__init__(shortened(message, _ERROR_LETTERS))
