"""The twin's reference and what is signed: an operator sees where they do not mean the same."""

from bordnetz.ota.reference import odds
from bordnetz.uptane.custom import Campaign


def test_a_reference_to_the_campaign_that_is_signed_is_in_order():
    assert odds("autumn", Campaign(id="autumn")) is None


def test_a_reference_to_another_campaign_than_the_signed_one_names_both():
    words = odds("autumn", Campaign(id="summer"))
    assert "reference names campaign autumn" in words
    assert "campaign summer is signed" in words
    assert "correct the reference" in words


def test_a_reference_where_nothing_is_signed_says_what_to_do():
    words = odds("autumn", None)
    assert "reference names campaign autumn" in words
    assert "assign and publish it" in words


def test_the_words_are_short_however_long_the_names_are():
    assert len(odds("a" * 128, Campaign(id="b" * 128))) < 512
