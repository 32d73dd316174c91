from __future__ import annotations

import pytest

from tactful.rewriting.language import why_not_english


@pytest.mark.parametrize(
    "text",
    [
        "you are an idiot, read the article",
        "gonna watch the match tonite lol",
        "Idiot!",
        "Bonjour",  # too short to tell, and said so in the module
        "12 345",
        "",
        "уou аrе wrong",  # Cyrillic look-alikes inside English words
        "Trịnh Công Sơn wrote that song and it is lovely",
    ],
)
def test_english_passes(text: str) -> None:
    """English passes, informal and disguised English too."""
    assert why_not_english(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Das Wetter ist heute wirklich schön in Berlin",
        "Je ne pense pas que ce soit une bonne idée",
        "Eres un idiota y no sabes nada de esto",
        "Olet väärässä, lue se artikkeli ensin",
        "Ты неправ, прочитай статью",
        "你错了,看看文章吧",
        "أنت مخطئ، اقرأ المقال",
        "तुम गलत हो, लेख पढ़ो",
    ],
)
def test_other_languages_are_told(text: str) -> None:
    """Other languages are out of scope, by script or by words, and the reason says which."""
    assert "only English is screened" in why_not_english(text)
