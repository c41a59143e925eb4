"""Questions to the documentation: answered with quotations, in each form, and never kept."""

from __future__ import annotations

import json
import re
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn.web.pages.documentation.site import QUESTIONS_PER_MINUTE

if TYPE_CHECKING:
    from tests.web.sites import Site

QUESTIONS = Path(__file__).parents[3] / "documentation" / "questions.json"
PAGE = "/docs/howto/rotate-a-key"
QUESTION = "rotate a key without downtime"
NONSENSE = "mediaeval falconry timetable"
KEY = "kt_7hQ2mZ9fT1xD_Jr0cW8abcdefghijklmnopqrstuvQe4b1X"
TOKEN = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl"


def test_an_answer_has_the_parts_that_agents_know(site: Site) -> None:
    """Question, answer, follow-up questions and sources stand in this order, and links carry the goal."""
    with site.client() as client:
        answer = client.get(f"{PAGE}.md", params={"ask": QUESTION, "goal": "no outage"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    parts = re.findall(r"^# .*$", answer.text, re.MULTILINE)
    assert parts == [f"# {QUESTION}", "# Suggested Follow-up Questions:", "# Sources:"]
    follow_ups = answer.text.partition(parts[1])[2].partition(parts[2])[0]
    assert follow_ups.count("&goal=no%20outage)") == follow_ups.count("- [") > 0
    assert f"({site.url}{PAGE}" in answer.text.partition(parts[2])[2]


def test_an_answer_quotes_a_page_word_for_word(site: Site) -> None:
    """The text of the answer stands on the page that it names, under the heading that it names."""
    with site.client() as client:
        found = client.get("/docs", params={"ask": QUESTION}, headers={"Accept": "application/json"}).json()
        assert found["question"] == QUESTION
        assert found["answered"] is True
        for quoted in (found["answer"], *found["excerpts"]):
            page = client.get(f"{quoted['page']}.md").text
            last_line = quoted["text"].strip().splitlines()[-1]
            assert last_line in page
            assert len(quoted["text"]) <= 1300
            assert f'id="{quoted["anchor"]}"' in client.get(quoted["page"]).text or "›" not in quoted["title"]
        assert 1 <= len(found["excerpts"]) <= 3
        assert found["sources"]
        assert all(one["page"].startswith(site.url) for one in (*found["sources"], *found["followups"]))


def test_every_answer_is_shown_under_the_reader_s_address(site: Site) -> None:
    """No form of any answer, nor any page, shows what stands in the file for an address or a repository."""
    questions = [one["question"] for one in json.loads(QUESTIONS.read_text())["answerable"]]
    forms = ("text/html", "text/markdown", "application/json")
    with site.client() as client:
        for question, form in zip(questions, cycle(forms), strict=False):
            answer = client.get("/docs", params={"ask": question}, headers={"Accept": form})
            assert answer.status_code == 200
            assert ".invalid" not in answer.text, (question, form)


def test_what_it_does_not_know_it_does_not_answer(site: Site) -> None:
    """A question about something else gets the nearest pages, and no invented answer."""
    with site.client() as client:
        found = client.get("/docs", params={"ask": NONSENSE}, headers={"Accept": "application/json"}).json()
        page = client.get("/docs", params={"ask": NONSENSE}, headers={"Accept": "text/html"}).text
        markdown = client.get("/docs.md", params={"ask": NONSENSE}).text
    assert (found["answered"], found["answer"], found["excerpts"]) == (False, None, [])
    assert len(found["related"]) == 3
    for text in (page, markdown):
        assert "The documentation does not answer this." in text


@pytest.mark.parametrize("accept", ["text/html", "text/markdown", "application/json"])
def test_an_answer_is_kept_by_nobody(site: Site, accept: str) -> None:
    """No cache keeps it and no search engine lists it."""
    with site.client() as client:
        answer = client.get(PAGE, params={"ask": QUESTION}, headers={"Accept": accept})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-robots-tag"] == "noindex"
    assert answer.headers["vary"] == "Accept"
    assert "etag" not in answer.headers


def test_no_question_is_logged(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the log of requests nor an error tells what was asked."""
    with site.client() as client:
        for question in ("secretive pelican question", "secretive pelican " * 40, KEY + " pelican"):
            client.get("/docs.md", params={"ask": question})
            client.get("/docs", params={"ask": question}, headers={"Accept": "text/html"})
    written = capsys.readouterr()
    assert "pelican" not in written.out + written.err


@pytest.mark.parametrize(
    "credential",
    [
        KEY,
        f"Bearer {TOKEN}",
        f"key_{KEY}",
        f"密钥{KEY}",
        f"x{TOKEN}",
        KEY.replace("_", "%5F"),
        KEY.replace("_", "%255F"),
        f"{KEY[:3]}\u200b{KEY[3:]}",
        f"Basic {KEY[3:11]}{KEY[16:30]}",
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "text/markdown", "application/json"])
def test_a_question_with_a_credential_is_not_answered(site: Site, credential: str, accept: str) -> None:
    """Who pastes a key is told to revoke it; the key is not sent back."""
    with site.client() as client:
        answer = client.get("/docs", params={"ask": f"is {credential} good?"}, headers={"Accept": accept})
    assert answer.status_code == 422
    assert "revoke that credential" in answer.text
    assert credential.rpartition(" ")[2] not in answer.text


@pytest.mark.parametrize("question", ["", " ", "a" * 513])
def test_a_question_has_bounds(site: Site, question: str) -> None:
    """None, and more than 512 characters, are refused with a sentence."""
    with site.client() as client:
        answer = client.get("/docs.md", params={"ask": question})
    assert answer.status_code == 422
    assert "1 to 512 characters" in answer.text


@pytest.mark.parametrize(
    "question",
    ['"', "a OR b NOT c", "title: rotate", "rotate*", "'; DROP TABLE page; --", "日本語", "()", "^a NEAR b"],
)
def test_a_question_is_no_query_language(site: Site, question: str) -> None:
    """Signs that mean something to the index are words like others."""
    with site.client() as client:
        assert client.get("/docs.md", params={"ask": question}).status_code == 200


def test_markup_in_a_question_stays_text(site: Site) -> None:
    """A question cannot put anything into the page."""
    with site.client() as client:
        page = client.get(
            "/docs", params={"ask": "<script>alert(1)</script> key"}, headers={"Accept": "text/html"}
        )
    assert "<script>alert" not in page.text


@pytest.mark.parametrize("second", ["goal", "ask"])
def test_no_parameter_is_overlooked(site: Site, second: str) -> None:
    """A credential in the goal, or in a second question, is refused as well, and not sent back."""
    with site.client() as client:
        answer = client.get("/docs.md", params=[("ask", "rotate"), (second, KEY)])
    assert answer.status_code == 422
    assert KEY not in answer.text


def test_a_goal_has_a_bound(site: Site) -> None:
    """It is repeated in every link to a further question."""
    with site.client() as client:
        answer = client.get("/docs.md", params={"ask": "rotate", "goal": "a" * 513})
    assert answer.status_code == 422
    assert "at most 512 characters" in answer.text


def test_a_question_makes_no_link(site: Site) -> None:
    """A mark of Markdown in a question is a sign like any other."""
    with site.client() as client:
        answer = client.get("/docs.md", params={"ask": "rotate [sign in](https://evil.example)"})
    assert answer.text.startswith("# rotate \\[sign in\\](https://evil.example)\n")


def test_one_address_asks_only_so_often(site: Site) -> None:
    """Above the limit it is 429 with a time to wait; pages are read on."""
    with site.client() as client:
        answers = [client.get("/docs.md", params={"ask": "key"}) for _ in range(QUESTIONS_PER_MINUTE + 20)]
        assert answers[0].status_code == 200
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) > 0
        assert client.get(PAGE).status_code == 200
