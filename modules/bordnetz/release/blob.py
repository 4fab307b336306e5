"""A container of Azure Blob Storage.

Who may write there comes from the environment alone: AZURE_STORAGE_CONNECTION_STRING, or
AZURE_STORAGE_SAS_TOKEN for the container.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContainerClient, ContentSettings

from bordnetz.release.destination import METADATA, OTHER, Destination, is_immutable
from bordnetz.release.errors import ReleaseError

CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
SAS = "AZURE_STORAGE_SAS_TOKEN"

# At DEBUG and INFO the SDK writes addresses.
logging.getLogger("azure").setLevel(logging.WARNING)


class BlobDestination(Destination):
    """Publishes into a container, or below a prefix of it."""

    workers = 10  # as many connections as the SDK's pool keeps

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        """Take a container.

        Args:
            url: ``https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]``; for an emulator
                ``http://127.0.0.1:10000/ACCOUNT/CONTAINER[/PREFIX]``.
            environment: Where the credential is.

        Raises:
            ReleaseError: The URL is none of these, or there is no credential.
        """
        parts = urlsplit(url)
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ReleaseError(
                "the URL must not carry a token, which others on this machine could see; set "
                f"{SAS} or {CONNECTION} instead"
            )
        segments = [segment for segment in parts.path.split("/") if segment]
        account = f"{parts.scheme}://{parts.netloc}"
        if _is_emulator(parts.hostname or ""):
            account = "/".join([account, *segments[:1]])
            segments = segments[1:]
        if not segments:
            raise ReleaseError(f"{url}: the container is missing")
        self._prefix = "".join(f"{segment}/" for segment in segments[1:])
        self._container = _client(account, segments[0], environment)
        self.name = f"blob:{account}/{segments[0]}/{self._prefix}"

    def put(self, path: str, data: bytes) -> None:
        """Put a file."""
        self._upload(path, data, len(data))

    def put_file(self, path: str, source: Path) -> None:
        """Put a copy of a file."""
        try:
            with source.open("rb") as file:
                self._upload(path, file, source.stat().st_size)
        except OSError as error:
            raise ReleaseError(f"{source}: cannot be read: {error.strerror}") from error

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._container.delete_blob(self._prefix + path)
        except ResourceNotFoundError:
            pass
        except AzureError as error:
            raise self._refused(path, error) from None

    def sync(self) -> None:
        """What was taken is kept."""

    def _upload(self, path: str, data: Any, length: int) -> None:
        settings = ContentSettings(
            content_type=METADATA if path.endswith(".json") else OTHER,
            cache_control="public, max-age=31536000, immutable"
            if is_immutable(path)
            else "no-cache",
        )
        try:
            self._container.upload_blob(
                self._prefix + path,
                data,
                length=length,
                overwrite=True,
                content_settings=settings,
            )
        except AzureError as error:
            raise self._refused(path, error) from None

    def _refused(self, path: str, error: AzureError) -> ReleaseError:
        # The text of an SDK's error may hold the address with its token.
        reason = type(error).__name__
        if isinstance(error, HttpResponseError):
            reason = f"{getattr(error, 'error_code', None) or reason} (HTTP {error.status_code})"
        return ReleaseError(
            f"{self.name}{path}: not taken: {reason}; check that the container is there and that "
            f"the credential in {CONNECTION} or {SAS} may write and delete in it, then "
            "publish again: what is there already is not sent twice"
        )


def _client(account: str, container: str, environment: Mapping[str, str]) -> ContainerClient:
    try:
        if connection := environment.get(CONNECTION):
            service = BlobServiceClient.from_connection_string(connection)
            if service.url.rstrip("/").partition("?")[0].rstrip("/") != account:
                raise ReleaseError(f"{CONNECTION} is that of another account than {account}")
            return service.get_container_client(container)
        if token := environment.get(SAS):
            return ContainerClient(account, container, credential=token.lstrip("?"))
    except ValueError:
        raise ReleaseError(
            f"{CONNECTION} or {SAS}: no valid credential; copy it from the portal again"
        ) from None
    raise ReleaseError(
        f"no credential for {account}: set {SAS} to a token of the container (write, "
        f"delete), or {CONNECTION}"
    )


def _is_emulator(host: str) -> bool:
    """There, the account is a part of the path."""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
