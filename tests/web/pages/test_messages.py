"""Pages of one message: what went wrong, in words for people."""

from __future__ import annotations

import pytest

from keyturn.errors import (
    Conflict,
    ForeignForm,
    KeyturnError,
    NotFound,
    PermissionMissing,
    StoreUnavailable,
    TooManyFailures,
)
from keyturn.web.pages.frame.messages import message_of
from keyturn.web.responses import internal_error, response_of


@pytest.mark.parametrize(
    ("error", "title", "told"),
    [
        (NotFound(), "Page not found", "There is nothing at <code>/profile/&lt;b&gt;</code>."),
        (PermissionMissing("AUDIT"), "You can’t do this", "It needs the permission <b>AUDIT</b>"),
        (ForeignForm("No."), "Nothing was changed", "No."),
        (StoreUnavailable(), "Try again in a moment", "Keyturn can’t reach its database."),
        (TooManyFailures(retry_after=3), "Too many attempts", "wait"),
        (Conflict("Taken."), "That didn’t work", "Taken."),
        (None, "Something went wrong", "give your administrator the request ID <code>r7</code>."),
    ],
)
def test_each_kind_of_answer_has_its_words(error: KeyturnError | None, title: str, told: str) -> None:
    """The page says what happened, and of a defect nothing but the id under which the log knows it."""
    answer = internal_error() if error is None else response_of(error)
    message = message_of(answer.status, answer.body.message, error, path="/profile/<b>", request_id="r7")
    assert message.title == title
    assert told in message.text
