"""What the portal sets: the update module's desired properties."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from bordnetz.edge.twin import PRIVATE, WHOLE
from bordnetz.uptane.custom import Name

Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=4096)]
"""Of a folder; a query, as a shared access signature has, goes behind each file's name."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class Reference(_Model):
    """Where an update is; what it is, is in signed metadata alone.

    Attributes:
        id: Of the campaign.
        director: This vehicle's director repository.
        image: The image repository's metadata.
        targets: The payloads.
        time: A time server; None: there is none, and the director's time.json has to do.
    """

    id: Name
    director: Url
    image: Url
    targets: Url
    time: Url | None = None


class Metered(_Model):
    """What an expensive link may be used for.

    Attributes:
        metered: Whether the link is one now.
        most_bytes: Payload bytes a campaign may cost over it; 0: none.
    """

    metered: bool = False
    most_bytes: Annotated[int, Field(ge=0, le=1 << 40)] = 0


class Desired(_Model):
    """The desired properties; without a reference the module has nothing to look for.

    Attributes:
        campaign: Where to look.
        check_interval: Seconds between two looks.
        proxy: For HTTPS, as ``http://proxy:3128``; None: none.
        link: What the link may be used for.
    """

    campaign: Annotated[Reference | None, PRIVATE, WHOLE] = None
    check_interval: Annotated[float, Field(ge=10, le=604_800, allow_inf_nan=False)] = 3600
    proxy: Annotated[Url | None, PRIVATE] = None
    link: Metered = Metered()
