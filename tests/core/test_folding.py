"""Texts as people search for them: what folds to what, and what stays as it is."""

import pytest

from keyturn.core.folding import FOLDS, folded


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("García", "garcia"),
        ("GARCI\u0301A", "garcia"),
        ("Søren Łukasz Đặng", "soren lukasz dang"),
        ("Ελλάς", "ελλασ"),
        ("straße", "straße"),
        ("Юрий", "юрий"),
        ("日本", "日本"),
        ("o'neill_90%", "o'neill_90%"),
        ("", ""),
    ],
)
def test_accents_and_capitals_fold(text: str, plain: str) -> None:
    """Letters lose their accents and capitals; what is another letter, or a sign, stays."""
    assert folded(text) == plain


def test_a_database_can_fold_with_the_same_table() -> None:
    """Each letter becomes one letter or nothing, none is a quote, and to fold twice changes nothing more."""
    assert all(len(letter) == 1 and len(plain) <= 1 for letter, plain in FOLDS.items())
    assert "'" not in FOLDS
    assert not {"'", "\\", "%", "_"} & set(FOLDS.values())
    assert all(folded(plain) == plain for plain in FOLDS.values())
