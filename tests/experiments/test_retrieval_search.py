"""How a query's words are read and embedded."""

import pytest

from experiments import retrieval_search


@pytest.mark.parametrize(
    "text", ["-dog", "- dog", "\u2212dog", "\u2013 dog", "\u2014dog", "-1*dog", "-1.:dog"]
)
def test_every_minus_takes_away(text):
    assert retrieval_search.parse_modifiers(text) == [(-1, "dog")]


@pytest.mark.parametrize("text", ["+-dog", "2*-dog", "2*+dog", "--dog", "-*dog", "2*", "+_x", "-"])
def test_what_is_no_word_with_a_sign_is_named(text):
    with pytest.raises(ValueError, match="is no word"):
        retrieval_search.parse_modifiers(text)


def test_weights():
    found = retrieval_search.parse_modifiers("+.5*red -2.:blue 3*dog +7up")
    assert found == [(0.5, "red"), (-2, "blue"), (3, "dog"), (1, "7up")]
