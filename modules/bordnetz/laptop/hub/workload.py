"""The workload API: how a module gets the hub's certificate and its tokens signed.

On the head unit the IoT Edge daemon serves it (``aziot-edged``, workload API 2019-01-30), on a
Unix socket as here.
"""

from __future__ import annotations

import base64
import json
from http import HTTPStatus

from bordnetz.laptop.hub import sas
from bordnetz.laptop.hub.http import HttpError, Request, Response
from bordnetz.laptop.hub.identities import Identities, IdentityError
from bordnetz.laptop.hub.jsontext import parse

API_VERSION = "2019-01-30"


class Workload:
    """Answers the requests of the modules."""

    def __init__(self, identities: Identities, trust_bundle: str) -> None:
        """Signs for ``identities``; ``trust_bundle`` is the authority's certificate as PEM."""
        self._identities, self._trust_bundle = identities, trust_bundle

    def handle(self, request: Request) -> Response:
        """Answers a request.

        Raises:
            HttpError: Unknown path or module, or a body that is not what is signed.
        """
        match request.method, request.path:
            case "GET", ("trust-bundle",):
                return Response(json.dumps({"certificate": self._trust_bundle}).encode())
            case "POST", ("modules", module, "genid", generation, "sign"):
                digest = self._sign(module, generation, request.body)
                return Response(json.dumps({"digest": digest}).encode())
            case _:
                raise HttpError(HTTPStatus.NOT_FOUND, "the stand-in has trust-bundle and sign")

    def _sign(self, module: str, generation: str, body: bytes) -> str:
        try:
            identity = self._identities[module]
        except IdentityError as error:
            raise HttpError(HTTPStatus.NOT_FOUND, str(error)) from error
        if generation != identity.generation:
            raise HttpError(HTTPStatus.NOT_FOUND, f"module '{module}' has another generation")
        try:
            asked = parse(body)
            algorithm, data = asked["algo"], base64.b64decode(asked["data"], validate=True)
        except (ValueError, KeyError, TypeError):
            raise HttpError(HTTPStatus.BAD_REQUEST, "not a request to sign") from None
        if algorithm != "HMACSHA256":
            raise HttpError(HTTPStatus.BAD_REQUEST, "only HMACSHA256 is signed")
        return base64.b64encode(sas.sign(identity.key, data)).decode()
