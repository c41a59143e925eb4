"""Texts as they are shown: characters that nobody sees, or that turn a line around, stand in brackets.

One rule for what comes in and for what goes out: `find_deceptive` is asked of each text that is given, and
`shown` is applied to whatever is shown, which may be from before the rule, or of somebody else's making.
"""

import re
import unicodedata

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls but for line ends, formatting characters that are not seen, fillers, and variation selectors
(Unicode 16: `Cf` but for visible signs, and `Default_Ignorable_Code_Point`)."""

_JOINERS = "\u200c\u200d"
_VIRAMA = 9
_JOINED = re.compile("[\u0600-\u08ff\ufb50-\ufdff\ufe70-\ufefe]")
"""Scripts in which joiners show: Arabic and its relatives."""
_EMOJI_STYLE = "\ufe0f"


def find_deceptive(text: str) -> str | None:
    """Return the first character that must not be in a text that is shown; None if there is none."""
    if text.isascii() and text.isprintable():
        return None
    return next((found[0] for found in _UNSEEN.finditer(text) if not _belongs(text, found.start())), None)


def shown(text: str) -> str:
    """Return a text with what nobody would see as its code: `⟨U+202E⟩`."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(
        lambda found: found[0] if _belongs(text, found.start()) else f"⟨U+{ord(found[0]):04X}⟩", text
    )


def shown_json(encoded: bytes) -> bytes:
    """Return JSON that says the same, with what nobody would see escaped (RFC 8259, section 7)."""
    if encoded.isascii():
        return encoded
    return _UNSEEN.sub(_escape, encoded.decode()).encode()


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _belongs(text: str, at: int) -> bool:
    """Return whether a joiner or emoji style stands where its script needs it (RFC 5892, appendix A)."""
    character, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if not before:
        return False
    is_symbol = unicodedata.category(before) in {"So", "Sk"} or before == _EMOJI_STYLE
    if character == _EMOJI_STYLE:
        return unicodedata.category(before) == "So"
    if character not in _JOINERS or not after:
        return False
    if unicodedata.combining(before) == _VIRAMA or (_JOINED.match(before) and _JOINED.match(after)):
        return True
    return character == "\u200d" and is_symbol and unicodedata.category(after) == "So"
