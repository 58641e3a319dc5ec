"""A store opens from a path or a URL alike; every fault of a server is one line, and soon."""

import functools
import http.server
import os
import shutil
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Episode, Recorder, Store, StoreInfo, StoreWriter
from nav_offrl.store import location as location_module
from nav_offrl.store.location import Location
from nav_offrl.store.training_tier import TierSpec, open_training_tier

pytest.importorskip("obstore", reason="needs the extra for URLs")

WriteDrives = Callable[[Path], list[Episode]]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Serve the S3 API on this machine, with a bucket 'drives'; gives the endpoint."""
    moto = pytest.importorskip("moto.server", reason="needs the S3 test server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/drives", method="PUT"))
    yield endpoint
    server.stop()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")


@pytest.fixture
def upload(s3: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], str]:
    """Copy a folder into the bucket; gives its URL."""
    import obstore

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)

    def copy(folder: Path, name: str) -> str:
        url = f"s3://drives/{name}"
        bucket = obstore.store.from_url(url, client_options={"allow_http": True})
        for file in folder.rglob("*"):
            if file.is_file():
                obstore.put(bucket, str(file.relative_to(folder)), file)
        return url

    return copy


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder as Python's own web server does (no ranges); gives its URL."""
    servers = []

    def start(folder: Path) -> str:
        handler = functools.partial(_Quiet, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def check_same(store: Store, local: Store) -> None:
    assert store.info == local.info and store.steps == local.steps
    for column in ("name", "session", "source", "source_hash", "robot", "licence"):
        assert getattr(store.episodes, column) == getattr(local.episodes, column)
    for column in ("start", "length", "split", "complete"):
        np.testing.assert_array_equal(
            getattr(store.episodes, column), getattr(local.episodes, column)
        )
    for name in local.info.fields:
        np.testing.assert_array_equal(store.field(name), local.field(name))
    assert store.jpegs("front", slice(0, store.steps)) == local.jpegs("front", slice(0, 12))
    for camera in ("front", "rear"):
        for step in range(local.steps):
            np.testing.assert_array_equal(store.image(camera, step), local.image(camera, step))
    for row in range(len(local.episodes)):
        store.verify(row)
    assert store.fingerprint() == local.fingerprint()


def test_a_store_in_s3_equals_its_local_copy(
    upload: Callable[[Path, str], str], write_drives: WriteDrives, tmp_path: Path
) -> None:
    write_drives(tmp_path / "log.zarr")
    url = upload(tmp_path / "log.zarr", "deep/log.zarr")
    for given in (url, url + "/", Path(url)):  # a Path loses one of the URL's slashes
        store = Store.open(given)
        assert store.where == store.location.address == url
    check_same(store, Store.open(tmp_path / "log.zarr"))


def test_training_tier_of_a_remote_store_lies_in_the_users_cache(
    upload: Callable[[Path, str], str], write_drives: WriteDrives, tmp_path: Path
) -> None:
    write_drives(tmp_path / "log.zarr")
    store = Store.open(upload(tmp_path / "log.zarr", "tier.zarr"))

    def quarter(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(frames[:, :16, :16])

    tier = open_training_tier(store, TierSpec("front", (16, 16), quarter, "corner"))
    np.testing.assert_array_equal(
        tier.gather(np.arange(12)), quarter(store.images("front", slice(0, 12)))
    )
    assert store.path.parent == tmp_path / "cache" / "nav_offrl"
    assert (store.path / "derived").is_dir()
    other = Location.of("s3://another-bucket/tier.zarr")
    assert other.folder != store.path, "two stores of one name would share a cache"


def test_a_plain_web_server_will_do(
    serve: Callable[[Path], str], write_drives: WriteDrives, tmp_path: Path
) -> None:
    write_drives(tmp_path / "log.zarr")
    check_same(
        Store.open(f"{serve(tmp_path)}/log.zarr"), Store.open((tmp_path / "log.zarr").as_uri())
    )


def test_a_recorder_is_read_over_the_network_while_it_records(
    serve: Callable[[Path], str],
    info_of_every_kind: StoreInfo,
    make_drive: Callable[..., Episode],
    tmp_path: Path,
) -> None:
    drive = make_drive("live", 60, seed=3)
    url = f"{serve(tmp_path)}/live.zarr"
    seen = []
    with Recorder(tmp_path / "live.zarr", info_of_every_kind, flush_period=0.01) as recorder:
        recorder.begin("live")
        for step in range(drive.length):
            recorder.record(
                {name: values[step] for name, values in drive.fields.items()},
                {camera: frames[step] for camera, frames in drive.images.items()},
            )
            if step % 10 == 9:
                recorder.flush()
                store = Store.open(url)
                assert store.steps == step + 1 and not store.episodes.complete[0]
                store.verify(0)
                seen.append(store)
        recorder.end()
    for store in seen:  # what was opened long ago still reads as it did
        store._fields.clear()
        store.verify(0)
    assert Store.open(url).episodes.complete[0]


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_episodes_appended_after_consolidating_the_metadata_are_seen(
    write_drives: WriteDrives, make_drive: Callable[..., Episode], tmp_path: Path
) -> None:
    write_drives(tmp_path / "log.zarr")
    zarr.consolidate_metadata(str(tmp_path / "log.zarr"))
    with StoreWriter.append_to(tmp_path / "log.zarr") as writer:
        writer.append(make_drive("third", 400, seed=2))
    store = Store.open(tmp_path / "log.zarr")
    assert store.episodes.name == ["first", "second", "third"]
    store.verify(2)


def test_no_bucket_no_store_no_key_each_say_so(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    for url in ("s3://no-such-bucket/log.zarr", "s3://drives/nothing.zarr"):
        with pytest.raises(NavOffrlError, match=f"{url}: is no log store"):
            Store.open(url)


def refused_within(seconds: float, url: str, match: str) -> None:
    begin = time.monotonic()
    with pytest.raises(NavOffrlError, match=match) as caught:
        Store.open(url)
    assert time.monotonic() - begin < seconds
    assert url in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_dead_endpoint_fails_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    refused_within(5.0, "s3://drives/log.zarr", "cannot be read .*127.0.0.1:9.* -> check the URL")


def test_a_server_that_never_answers_fails_at_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(location_module, "REQUEST_TIMEOUT", 0.3)
    monkeypatch.setattr(location_module, "RETRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/log.zarr"
        refused_within(5.0, url, "cannot be read")


def test_plain_http_must_be_asked_for(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    refused_within(5.0, "s3://drives/log.zarr", "not encrypted: set AWS_ALLOW_HTTP=true")


def test_missing_credentials_are_named(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    # In place of the cloud's own service, which would be asked next.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", serve(tmp_path))
    refused_within(20.0, "s3://drives/log.zarr", "AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("ftp://host/log.zarr", "URLs of kind 'ftp' cannot be read -> use one of s3"),
        ("az://container/log.zarr", "Account must be specified"),
        ("https://me:secret@host/log.zarr", "holds a password"),
    ],
)
def test_urls_that_cannot_work_are_refused(url: str, match: str) -> None:
    with pytest.raises(NavOffrlError, match=match) as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://drives/log.zarr", Path("s3://drives/log.zarr")])
def test_writing_to_a_url_is_refused(
    url: str | Path, info_of_every_kind: StoreInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for write in (
        lambda: StoreWriter.create(url, info_of_every_kind),
        lambda: StoreWriter.append_to(url),
        lambda: Recorder(url, info_of_every_kind),
    ):
        with pytest.raises(
            NavOffrlError, match=r"s3://drives/log\.zarr: is a URL; .* folders only"
        ):
            write()
    assert not list(tmp_path.iterdir()), "a folder named after the URL"


def test_connection_lost_while_reading_names_the_url(
    serve: Callable[[Path], str],
    write_drives: WriteDrives,
    tmp_path: Path,
) -> None:
    write_drives(tmp_path / "log.zarr")
    url = f"{serve(tmp_path)}/log.zarr"
    store = Store.open(url)
    shutil.rmtree(tmp_path / "log.zarr" / "data" / "yaw")
    with pytest.raises(NavOffrlError, match="array 'data/yaw' is missing"):
        store.field("yaw")


def test_without_obstore_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    with pytest.raises(ImportError) as caught:
        Store.open("s3://drives/log.zarr")
    assert str(caught.value.name).split(".")[0] == "obstore"


def test_paths_with_colons_are_paths(write_drives: WriteDrives, tmp_path: Path) -> None:
    write_drives(tmp_path / "run:2" / "log.zarr")
    assert Store.open(tmp_path / "run:2" / "log.zarr").steps == 12
    assert Location.of("run:/2").remote is None


def test_a_truncated_chunk_is_named(write_drives: WriteDrives, tmp_path: Path) -> None:
    write_drives(tmp_path / "log.zarr")
    chunk = tmp_path / "log.zarr" / "data" / "image" / "front" / "jpeg" / "c" / "0"
    os.truncate(chunk, 100)
    with pytest.raises(NavOffrlError, match=r"front/jpeg' is damaged .*cut short"):
        Store.open(tmp_path / "log.zarr").image("front", 3)
