"""Texts written by users: read in linear time, refused beyond a maximum length, and never quoted in full."""

from __future__ import annotations

import math

from . import limits

_DIGITS = frozenset("0123456789+-.eE")
_QUOTED = 60


def quoted(value: object, most: int = _QUOTED) -> str:
    """A value for an error message: its `repr` on one line, shortened to about `most` characters."""
    if isinstance(value, str):
        text = repr(value[:most])
        return text if len(value) <= most else f"{text[:-1]}...{text[-1]} ({len(value)} characters)"
    if isinstance(value, int) and value.bit_length() > 128:  # Python refuses to print thousands of digits
        return f"a whole number of {math.ceil(value.bit_length() * math.log10(2))} digits"
    if isinstance(value, (bool, int, float, type(None))):
        return repr(value)
    if isinstance(value, (list, tuple)) and all(isinstance(item, (int, float, str)) for item in value[:8]):
        shown = ", ".join(quoted(item, 20) for item in value[:8])
        return f"[{shown}, ...] ({len(value)} items)" if len(value) > 8 else f"[{shown}]"
    return type(value).__name__


def shortened(text: object, most: int = 200) -> str:
    """Foreign text (another library's message, a file name) on one line of about `most` characters."""
    line = " ".join(str(text)[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most // 2].rstrip()} ... {line[-most // 2 :].lstrip()}"


def check_length(text: str, name: str, most: int = limits.TEXT) -> None:
    """Raises ValueError for a text of more than `most` characters."""
    if len(text) > most:
        raise ValueError(f"The {name} has {len(text)} characters: give at most {most}.")


def words_of(text: str) -> list[str]:
    """The words between commas, semicolons and spaces. Linear in the length of the text."""
    return text.replace(",", " ").replace(";", " ").split()


def read_number(word: str) -> float | None:
    """A plain decimal number such as -0.5, .5 or 1e-3; None for anything else, such as infinity or too many digits."""
    if len(word) > limits.NUMBER or not _DIGITS.issuperset(word):
        return None
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_numbers(text: str, name: str, most: int) -> list[float]:
    """Numbers from text like "0.2, 0.4 0.6". Raises ValueError for more than `most` numbers and for other words."""
    check_length(text, name)
    words = words_of(text)
    if len(words) > most:
        raise ValueError(f"The {name} are {len(words)} numbers: give at most {most}.")
    numbers = []
    for word in words:
        number = read_number(word)
        if number is None:
            raise ValueError(
                f"The {name} cannot be read at {quoted(word)}: give numbers separated by commas, such as '0.8, 0.6'."
            )
        numbers.append(number)
    return numbers
