"""Translate patterns of ``like`` to regular expressions, or to ranges of texts."""

from functools import cache

__all__ = ["literal_prefix", "next_text", "to_regex"]

_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_SPECIAL = frozenset(".^$*+?()[]{}|\\")
_CASED = 0x20000  # no character above has upper and lower case


def to_regex(pattern: str, *, ignore_case: bool = False) -> str:
    """Return a regular expression for texts that a pattern matches as a whole.

    Parameters
    ----------
    pattern : str
        ``%`` stands for any text, ``_`` for one character; a backslash before a character means the character itself.
    ignore_case : bool
        List upper and lower case of each letter, for engines that ignore the case of some characters only.

    Examples
    --------
    >>> to_regex("a_b%")
    '^a.b.*$'
    >>> to_regex("x.y", ignore_case=True)
    '^[Xx]\\\\.[Yy]$'
    """
    parts = []
    for text, escaped in _characters(pattern):
        if text in ("%", "_") and not escaped:
            parts.append(".*" if text == "%" else ".")
        elif ignore_case and len(forms := _forms_by_character().get(text, text)) > 1:
            parts.append(f"[{forms}]")
        else:
            parts.append(f"\\{text}" if text in _SPECIAL else text)
    return f"^{''.join(parts)}$"


def literal_prefix(pattern: str) -> tuple[str, str]:
    """Return the text up to the first wildcard, and the rest of the pattern.

    Examples
    --------
    >>> literal_prefix("cat%dog")
    ('cat', '%dog')
    """
    prefix, used = "", 0
    for text, escaped in _characters(pattern):
        if text in ("%", "_") and not escaped:
            break
        prefix += text
        used += 2 if escaped else 1
    return prefix, pattern[used:]


def next_text(prefix: str) -> str | None:
    """Return the lowest text, by code points, above all texts that start with a prefix; None if there is none.

    Examples
    --------
    >>> next_text("cat")
    'cau'
    """
    stripped = prefix.rstrip(chr(_LAST))
    if not stripped:
        return None
    following = ord(stripped[-1]) + 1
    return stripped[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


def _characters(pattern: str) -> list[tuple[str, bool]]:
    """Return the characters of a pattern, each with whether a backslash escapes it."""
    characters, escaped = [], False
    for character in pattern:
        if character == "\\" and not escaped:
            escaped = True
            continue
        characters.append((character, escaped))
        escaped = False
    return characters


@cache
def _forms_by_character() -> dict[str, str]:
    """Return all forms of each character that has upper and lower case, by Unicode's simple case folding."""
    groups: dict[str, list[str]] = {}
    for character in map(chr, range(_CASED)):
        groups.setdefault(_folded(character), []).append(character)
    return {form: "".join(forms) for forms in groups.values() if len(forms) > 1 for form in forms}


def _folded(character: str) -> str:
    folded = character.casefold()
    if len(folded) > 1:  # simple folding keeps the length
        folded = character.lower()
    return folded if len(folded) == 1 else character
