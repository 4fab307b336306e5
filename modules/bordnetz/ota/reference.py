"""Whether the twin's reference means the campaign that is signed for this vehicle."""

from __future__ import annotations

from bordnetz.uptane.custom import Campaign


def odds(asked: str, signed: Campaign | None) -> str | None:
    """What is at odds between the two, in words.

    What is signed alone decides what is installed.  But whoever has set the reference waits for
    something else: a URL leads to an older or another vehicle's folder, the campaign was not
    assigned or not published, or its id is misspelt.

    Args:
        asked: The campaign's id in the reference.
        signed: The campaign of the metadata that was found there, verified in full.

    Returns:
        Words for an operator; None: nothing is at odds.
    """
    if signed is None:
        return (
            f"the reference names campaign {asked}, but nothing is signed for this vehicle to "
            "install; assign and publish it, or correct the reference"
        )
    if signed.id == asked:
        return None
    return (
        f"the reference names campaign {asked}, but campaign {signed.id} is signed for this "
        "vehicle, and that counts; assign and publish the one, or correct the reference"
    )
