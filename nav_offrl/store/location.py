"""Where a store lies: in a folder, or behind a URL (S3, Google, Azure, HTTP) read by obstore.

Credentials, endpoint and region of a URL come from the environment variables of its provider
(`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, ...). Nothing is ever sent
anywhere unless a URL is given.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import zarr.storage
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from nav_offrl.errors import NavOffrlError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "http", "https")
# A server that does not answer fails a request after these, in s; a dead one fails at once.
CONNECT_TIMEOUT, REQUEST_TIMEOUT, RETRY_TIMEOUT = 5.0, 30.0, 10.0
RETRIES = 3
HTTP_ALLOWED = "AWS_ALLOW_HTTP"


class RemoteStore(zarr.storage.ObjectStore["ObjectStore"]):
    """Objects below a URL, for reading; all faults of network or server become NavOffrlError."""

    def __init__(self, url: str, store: "ObjectStore") -> None:
        super().__init__(store, read_only=True)
        self.url = url

    def __str__(self) -> str:
        return self.url

    def with_read_only(self, read_only: bool = False) -> "RemoteStore":
        """Return the same store: there is no writing to a URL."""
        return self

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object, or a part of it; None where there is none."""
        try:
            return await super().get(key, prototype, byte_range)
        except Exception as error:  # obstore's own and, for some, OSError
            raise _network_error(error, self.url) from error

    def read_range(self, key: str, start: int, stop: int) -> bytes | None:
        """Return bytes `start:stop` of an object, or None where there is none."""
        import obstore
        from obstore.exceptions import NotSupportedError

        try:
            return bytes(obstore.get_range(self.store, key, start=start, end=stop))
        except FileNotFoundError:
            return None
        except NotSupportedError:  # a plain web server sends whole files only
            return bytes(obstore.get(self.store, key).bytes())[start:stop]
        except Exception as error:
            raise _network_error(error, self.url) from error


@dataclass(frozen=True)
class Location:
    """A place to read from.

    `text` names it in messages. `folder` holds what is derived from the store: the store itself,
    or for a URL a folder in the user's cache. `remote` is None for a local store.
    """

    text: str
    folder: Path
    remote: RemoteStore | None = None

    @classmethod
    def of(cls, place: "str | Path | Location") -> "Location":
        """Understand a path or a URL.

        Raises:
            NavOffrlError: a URL of an unknown kind, without a bucket, or without what its
                provider needs.
            ImportError: a URL was given and obstore is not installed.
        """
        if isinstance(place, Location):
            return place
        scheme, rest = _split(place)
        if scheme == "file":
            return cls(str(place), Path("/" + unquote(rest)))
        if not scheme:
            return cls(str(place), Path(place))
        url = f"{scheme}://{rest}"
        return cls(url, _cache_folder(url), RemoteStore(url, _connect(url, scheme)))

    @property
    def address(self) -> str:
        """The URL, or the absolute path: what opens the store from any working directory."""
        return self.text if self.remote is not None else str(self.folder.resolve())

    @property
    def for_zarr(self) -> "str | RemoteStore":
        """What zarr opens."""
        return self.remote if self.remote is not None else str(self.folder)

    def read_range(self, key: str, start: int, stop: int) -> bytes | None:
        """Return bytes `start:stop` of the file `key`, or None where there is none.

        Raises:
            NavOffrlError: the network or the server refuses.
        """
        if self.remote is not None:
            return self.remote.read_range(key, start, stop)
        try:
            with (self.folder / key).open("rb", buffering=0) as file:
                return os.pread(file.fileno(), stop - start, start)
        except FileNotFoundError:
            return None


def writable_path(place: str | Path) -> Path:
    """Return the folder to write a store to.

    Raises:
        NavOffrlError: it is a URL.
    """
    scheme, rest = _split(place)
    if scheme not in ("", "file"):
        raise NavOffrlError(
            "is a URL; stores are read from URLs, but written to folders only",
            where=f"{scheme}://{rest}",
            remedy="give a path, and upload the finished store",
        )
    return Location.of(place).folder


def _split(place: str | Path) -> tuple[str, str]:
    """Return scheme and rest of a URL; a path has the scheme ''."""
    # `Path("s3://bucket")` has lost a slash.
    parts = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,3}(?=[^/])", str(place))
    if parts is None:
        return "", str(place)
    scheme = parts[1].lower()
    if scheme not in (*SCHEMES, "file") and not str(place).startswith(f"{parts[1]}://"):
        return "", str(place)
    return scheme, str(place)[parts.end() :].rstrip("/")


def _cache_folder(url: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    return cache / "nav_offrl" / f"{url.rsplit('/', 1)[-1]}-{key}"


def _connect(url: str, scheme: str) -> "ObjectStore":
    if scheme not in SCHEMES:
        raise NavOffrlError(
            f"URLs of kind '{scheme}' cannot be read",
            where=url,
            remedy=f"use one of {', '.join(SCHEMES)}, file, or a path",
        )
    if urlsplit(url).password:
        raise NavOffrlError(
            "the URL holds a password, which would end up in logs and runs",
            where=url.split("://")[0] + "://...",
            remedy="give credentials by environment variables",
        )
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    client: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT),
        "timeout": timedelta(seconds=REQUEST_TIMEOUT),
        "allow_http": scheme == "http" or os.environ.get(HTTP_ALLOWED, "").lower() == "true",
    }
    try:
        return from_url(
            url,
            client_options=client,
            retry_config={
                "max_retries": RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_TIMEOUT),
            },
        )
    except (BaseError, ValueError) as error:
        raise _network_error(error, url) from error


def _network_error(error: Exception, url: str) -> NavOffrlError:
    """Say in a line what obstore says in fifty."""
    what = str(error).split("\n")[0]
    remedy = "check the URL, the network and the credentials in the environment (AWS_*, ...)"
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    if url.startswith("s3") and endpoint.startswith("http:") and "builder error" in what:
        remedy = f"the endpoint {endpoint} is not encrypted: set {HTTP_ALLOWED}=true to allow that"
    elif "latest/api/token" in what or "169.254.169.254" in what:  # asked of the cloud
        what = "no credentials in the environment"
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SKIP_SIGNATURE=true for a "
        remedy += "public bucket), or those of your provider"
    return NavOffrlError(f"cannot be read ({what})", where=url, remedy=remedy)
