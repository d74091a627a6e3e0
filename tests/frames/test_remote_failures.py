"""Failures of remote stores: transient ones are retried, permanent ones give one sentence with advice."""

import datetime
import ipaddress
import os
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import boto3
import numpy as np
import pytest
from pydantic import ValidationError

from lls_decode.addresses import refuse_remote_output, resolve_dataset
from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import InputConfig, StorageConfig
from lls_decode.errors import AccessError, ChunkError, ConfigError, InputError, OutputError, StorageError
from lls_decode.frames import create_store, open_source
from lls_decode.frames.growing import Growth
from lls_decode.frames.storage import client as clients
from tests.frames.test_open import camera, write
from tests.remote_servers import BUCKET, SECRET, Accident, folder_handler, serve, upload, zip_store

SHAPE = (24, 16, 20)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Write a store with one frame per chunk and one file per chunk."""
    return write(tmp_path / "cell.zarr", camera(SHAPE), chunks=(1, 16, 20), dimension_names=["t", "y", "x"])


@pytest.fixture
def in_s3(store, s3) -> str:
    name = f"{store.parent.name}/cell.zarr"
    upload(s3.upstream, BUCKET, store, name)
    return f"s3://{BUCKET}/{name}"


@pytest.fixture
def quick(monkeypatch):
    """Shorten the time during which failures are retried."""
    monkeypatch.setattr(clients, "FIRST_PATIENCE_S", 0.3)
    monkeypatch.setattr(clients, "PATIENCE_S", 0.6)


def all_frames(source):
    return source.read_frames(np.array([[t, 0] for t in range(SHAPE[0])]))


TRANSIENT = {"500": 500, "503": 503, "429": 429, "cut": "cut"}


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("kind", TRANSIENT.values(), ids=TRANSIENT)
@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_transient_failures_are_retried(scheme, kind, times, store, in_s3, s3, web):
    server = s3 if scheme == "s3" else web
    server.accidents = [Accident(r"zarr\.json", kind, times), Accident(r"c/7/", kind, times)]
    source = open_source(in_s3 if scheme == "s3" else f"{web.address}/cell.zarr")
    np.testing.assert_array_equal(all_frames(source), camera(SHAPE))
    assert all(accident.times == 0 for accident in server.accidents)


def test_an_interrupted_answer_without_entity_tag_is_retried(store, credentials, tmp_path):
    class NoTags(folder_handler(tmp_path)):  # type: ignore[misc]
        def answer(self):
            status, headers, body = super().answer()
            return status, {name: value for name, value in headers.items() if name != "ETag"}, body

    with serve(NoTags) as web:
        web.accidents = [Accident(r"c/7/", "cut", 2)]
        np.testing.assert_array_equal(all_frames(open_source(f"{web.address}/cell.zarr")), camera(SHAPE))


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_requests_are_retried_until_a_server_has_restarted(scheme, store, in_s3, s3, web, caplog):
    server = s3 if scheme == "s3" else web
    source = open_source(in_s3 if scheme == "s3" else f"{web.address}/cell.zarr")
    server.stop()
    again = threading.Timer(1.5, server.start)
    again.start()
    np.testing.assert_array_equal(all_frames(source), camera(SHAPE))
    again.join()
    assert "retrying for up to 180 s" in caplog.text


def test_a_server_that_stays_down_is_an_error(store, web, quick):
    source = open_source(f"{web.address}/cell.zarr")
    web.stop()
    with pytest.raises(StorageError, match=r"cell\.zarr/c/\d+/0/0: the server cannot be reached") as caught:
        all_frames(source)
    _is_a_sentence(caught.value)
    web.start()


def _closed(web, _):
    web.stop()
    return f"{web.address}/cell.zarr"


def _answering(status, pattern="."):
    def address(web, _):
        web.accidents = [Accident(pattern, status)]
        return f"{web.address}/cell.zarr"

    return address


def _s3_answering(status):
    def address(_, s3):
        s3.accidents = [Accident(".", status)]
        return f"s3://{BUCKET}/cell.zarr"

    return address


PERMANENT = {
    "absent on a web server": (
        lambda web, s3: f"{web.address}/other.zarr",
        "is not a zarr store: it has none",
    ),
    "absent in a bucket": (
        lambda web, s3: f"s3://{BUCKET}/other.zarr",
        "is not a zarr store and contains none",
    ),
    "absent zip": (lambda web, s3: f"{web.address}/other.zarr.zip", "is not a zarr store"),
    "no such bucket": (lambda web, s3: "s3://no-such-bucket/cell.zarr", "the bucket does not exist"),
    "pattern in no bucket": (lambda web, s3: "s3://no-such-bucket/*.zarr", "the bucket does not exist"),
    "pattern without match": (lambda web, s3: f"s3://{BUCKET}/nothing-*.zarr", "No zarr store matches"),
    "pattern on a web server": (lambda web, s3: f"{web.address}/*.zarr", "folders cannot be listed over HTTP"),
    "403": (_answering(403), r"access was denied \(403\); check its permissions on the server"),
    "401": (_answering(401), r"requires credentials \(401\); put user name and password of this host into ~/.netrc"),
    "403 of S3": (_s3_answering(403), r"denied \(403\).*anonymous=true.*also answers 403 for a missing key"),
    "other region": (_s3_answering(301), "a different region; set AWS_REGION, or input.storage.region"),
    "server error": (_answering(500), "answered with 500 Internal Server Error; try again later"),
    "teapot": (_answering(418), "answered with 418"),
    "connection refused": (_closed, r"cannot be reached \(connection refused\)"),
    "no such host": (lambda web, s3: "http://no-such-host.invalid/cell.zarr", "the host is unknown"),
}


@pytest.mark.parametrize(("address", "message"), PERMANENT.values(), ids=PERMANENT)
def test_permanent_failures_are_one_sentence(address, message, store, web, s3, quick):
    with pytest.raises(InputError, match=message) as caught:
        open_source(address(web, s3))
    _is_a_sentence(caught.value)
    web.accidents = []


def _is_a_sentence(error):
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    assert "Debug" not in text
    assert SECRET not in text


def test_missing_credentials_are_reported(store, s3, quick, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", str(tmp_path))
    clients.connect.cache_clear()
    with pytest.raises(AccessError, match=r"no credentials found; set AWS_ACCESS_KEY_ID .*anonymous=true"):
        open_source(f"s3://{BUCKET}/cell.zarr")


def test_credentials_come_from_a_profile(in_s3, s3, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "credentials").write_text(f"[lab]\naws_access_key_id = AKIALAB\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    clients.connect.cache_clear()
    np.testing.assert_array_equal(all_frames(open_source(in_s3)), camera(SHAPE))


def test_public_data_are_read_without_credentials(in_s3, s3, moto, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the configuration takes precedence
    config = InputConfig(storage=StorageConfig(endpoint=s3.address, region="eu-west-3", anonymous=True))
    with pytest.raises(AccessError, match=r"\(403\); it is not public, so omit input.storage.anonymous"):
        open_source(in_s3, config)
    client = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
    for item in client.list_objects_v2(Bucket=BUCKET, Prefix=in_s3.split("/", 3)[3])["Contents"]:
        client.put_object_acl(Bucket=BUCKET, Key=item["Key"], ACL="public-read")
    np.testing.assert_array_equal(all_frames(open_source(in_s3, config)), camera(SHAPE))


def test_credentials_for_a_web_server_come_from_netrc(store, tmp_path, credentials, monkeypatch):
    class Private(folder_handler(tmp_path)):  # type: ignore[misc]
        def answer(self):
            # "microscope:pass"
            if self.headers.get("Authorization") != "Basic bWljcm9zY29wZTpwYXNz":
                return 401, {}, b""
            return super().answer()

    monkeypatch.setenv("HOME", str(tmp_path))
    with serve(Private) as web:
        with pytest.raises(AccessError, match="netrc"):
            open_source(f"{web.address}/cell.zarr")
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login microscope password pass\n")
        (tmp_path / ".netrc").chmod(0o600)
        clients.connect.cache_clear()
        np.testing.assert_array_equal(all_frames(open_source(f"{web.address}/cell.zarr")), camera(SHAPE))


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_missing_chunk_is_lost_but_a_denied_one_is_an_access_error(scheme, in_s3, s3, web):
    server, address = (s3, in_s3) if scheme == "s3" else (web, f"{web.address}/cell.zarr")
    source = open_source(address)
    server.accidents = [Accident(r"c/7/0/0$", 404)]
    with pytest.raises(ChunkError, match=r"chunk c/7/0/0 is missing, it holds frame 7"):
        all_frames(source)
    server.accidents = [Accident(r"c/7/0/0$", 403)]
    with pytest.raises(AccessError, match=r"c/7/0/0: access was denied \(403\)"):
        all_frames(source)
    server.accidents = []
    np.testing.assert_array_equal(all_frames(source), camera(SHAPE))


def test_a_store_in_a_bucket_without_list_permission_is_read(in_s3, s3, store):
    """S3 then answers 403 for missing keys, such as the metadata of another version of zarr."""
    s3.accidents = [Accident(r"\.z(array|group|attrs|metadata)$", 403)]
    np.testing.assert_array_equal(all_frames(open_source(in_s3)), camera(SHAPE))


def test_a_server_without_range_requests_serves_chunks_but_not_shards(tmp_path, credentials):
    create_store(tmp_path / "cell.zarr", Layout(4, 8, 16, 20))[:] = camera((4, 8, 16, 20))
    write(tmp_path / "whole.zarr", camera(SHAPE), chunks=(1, 16, 20), dimension_names=["t", "y", "x"])
    with serve(folder_handler(tmp_path, ranges=False)) as web:
        np.testing.assert_array_equal(all_frames(open_source(f"{web.address}/whole.zarr")), camera(SHAPE))
        with pytest.raises(StorageError, match=r"sends only complete files, .* supports range requests \(nginx"):
            open_source(f"{web.address}/cell.zarr").read_frames(np.array([[0, 0]]))


SECRETS = {
    "password": "https://alice:hush@host/cell.zarr",
    "password with a slash": "https://alice:hu/sh@host/cell.zarr",
    "token": "https://hush@host/cell.zarr",
    "password without a host": "https://alice:hush/cell.zarr",
    "keys": "s3://AKIA:hush@bucket/cell.zarr",
    "keys without a bucket": "s3://AKIA:hush/cell.zarr",
    "presigned": "https://host/cell.zarr.zip?X-Amz-Signature=hush",
    "presigned key": "s3://bucket/cell.zarr?X-Amz-Signature=hush",
    "shared access": "https://host/cell.zarr?sv=1&sig=hush",
    "fragment": "https://host/cell.zarr#hush",
    "unknown kind": "az://alice:hush@host/cell.zarr",
}


@pytest.mark.parametrize("address", SECRETS.values(), ids=SECRETS)
def test_addresses_with_secrets_are_refused_without_repeating_them(address):
    with pytest.raises(InputError) as caught:
        open_source(address)
    _is_a_sentence(caught.value)
    assert "hu" not in str(caught.value).replace("https", "")
    assert "cell.zarr" in str(caught.value)


def test_an_endpoint_with_a_secret_is_refused_without_repeating_it():
    for endpoint in ("https://alice:hush@host", "https://host/?key=hush", "host"):
        with pytest.raises(ValidationError, match="without a user name, a password"):
            StorageConfig(endpoint=endpoint)
        with pytest.raises(ConfigError) as caught:
            StorageConfig().replace(endpoint=endpoint)
        assert "hush" not in str(caught.value)


def test_addresses_without_secrets_are_accepted():
    for address in (
        "s3://b/a/cell.zarr",
        "gs://b/day 1/*.zarr",
        "s3://b/v?.zarr",
        "http://[::1]:80/a",
        "https://h:1/@a",
    ):
        assert resolve_dataset(address) == address
    assert resolve_dataset("S3://b/a/") == "s3://b/a"
    assert resolve_dataset("file:///data/my%20cell.zarr") == "/data/my cell.zarr"
    assert resolve_dataset("a:b/c") == "a:b/c"


def test_results_must_be_written_to_a_file_system(tmp_path):
    for out in ("s3://bucket/results", Path("s3://bucket/results"), "https://host/a.parquet"):
        with pytest.raises(OutputError, match=r"(s3|https)://\S+ is an address, but results can be written to a file"):
            refuse_remote_output(out)
    refuse_remote_output(tmp_path / "a:b")
    with pytest.raises(OutputError, match=r"s3://bucket/cell\.zarr is an address"):
        create_store("s3://bucket/cell.zarr", Layout(1, 1, 16, 16))


def test_an_untrusted_certificate_is_refused_with_advice(tmp_path, store, credentials, quick):
    files = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    encrypts_not = "does not use encryption; give an address that begins with http://"
    with serve(folder_handler(tmp_path)) as web, pytest.raises(StorageError, match=encrypts_not):
        open_source(f"{web.address}/cell.zarr".replace("http:", "https:"))
    with serve(folder_handler(tmp_path), context=context) as web:
        with pytest.raises(StorageError, match=r"not trusted; set SSL_CERT_FILE") as caught:
            open_source(f"{web.address}/cell.zarr")
        _is_a_sentence(caught.value)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import lls_decode.frames as f; print(f.open_source('{web.address}/cell.zarr').path)",
            ],
            env={**os.environ, "SSL_CERT_FILE": str(files[0])},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.strip() == f"{web.address}/cell.zarr"


def _certificate(folder):
    """Write a self-signed certificate and its key; return both paths."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(now - datetime.timedelta(1))
    signed = builder.not_valid_after(now + datetime.timedelta(1)).add_extension(here, False).sign(key, hashes.SHA256())
    files = folder / "server.pem", folder / "server.key"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return files


def test_a_remote_acquisition_cannot_be_followed():
    with pytest.raises(InputError, match=r"s3://bucket/cell\.zarr is an address.*without --follow"):
        Growth("s3://bucket/cell.zarr")


def test_retrying_ends_after_a_limited_time(store, web, quick):
    source = open_source(f"{web.address}/cell.zarr")
    web.accidents = [Accident("c/3/", 503)]
    began = time.monotonic()
    with pytest.raises(StorageError, match="503 Service Unavailable; try again later"):
        all_frames(source)
    assert time.monotonic() - began < 60
    web.accidents = []


def _whole(source):
    (block,) = plan_blocks(source.layout, "time", SHAPE[0])
    return block


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_missing_remote_chunk_loses_only_its_frames(scheme, in_s3, s3, web):
    server, address = (s3, in_s3) if scheme == "s3" else (web, f"{web.address}/cell.zarr")
    server.accidents = [Accident(r"c/7/0/0$", 404)]
    source = open_source(address)
    stack = source.read_partly(_whole(source))
    assert stack.lost == ((7, 8),)
    assert "chunk c/7/0/0 is missing, it holds frame 7" in stack.reason
    np.testing.assert_array_equal(stack.adu_TYX, np.delete(camera(SHAPE), 7, axis=0))
    filled = open_source(address, InputConfig(absent="fill"))
    stack = filled.read_partly(_whole(filled))
    assert (stack.lost, stack.filled) == ((), ((7, 8),))
    assert not stack.adu_TYX[7].any()


ZIPS = {"stored": False, "compressed": True}


@pytest.mark.parametrize("compressed", ZIPS.values(), ids=ZIPS)
def test_damage_in_a_remote_zip_loses_only_its_frames(compressed, tmp_path, web):
    whole = write(tmp_path / "a.zarr", camera(SHAPE), chunks=(1, 16, 20), dimension_names=["t", "y", "x"])
    path = zip_store(whole, tmp_path / "cell.zarr.zip", compressed=compressed)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("c/7/0/0")
    with path.open("r+b") as file:
        file.seek(member.header_offset + 30 + len(member.filename) + member.compress_size // 2)
        file.write(b"\xff" * 8)
    source = open_source(f"{web.address}/cell.zarr.zip")
    stack = source.read_partly(_whole(source))
    assert stack.lost == ((7, 8),)
    np.testing.assert_array_equal(stack.adu_TYX, np.delete(camera(SHAPE), 7, axis=0))


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_damage_in_a_remote_shard_loses_only_its_frames(scheme, tmp_path, s3, web):
    data = camera((64, 16, 20))
    path = write(tmp_path / "cell.zarr", data, chunks=(1, 16, 20), shards=(64, 16, 20), dimension_names=["t", "y", "x"])
    shard = bytearray((path / "c/0/0/0").read_bytes())
    index = np.frombuffer(shard[-(16 * 64 + 4) : -4], np.uint64).reshape(-1, 2)
    start, length = (int(number) for number in index[9])
    shard[start : start + length] = bytes(length)
    (path / "c/0/0/0").write_bytes(shard)
    address = f"{web.address}/cell.zarr"
    if scheme == "s3":
        upload(s3.upstream, BUCKET, path, "shard/cell.zarr")
        address = f"s3://{BUCKET}/shard/cell.zarr"
    source = open_source(address)
    for block in plan_blocks(source.layout, "time", 32):
        found, local = source.read_partly(block), open_source(path).read_partly(block)
        assert found.lost == local.lost == (((9, 10),) if block.index == 0 else ())
        np.testing.assert_array_equal(found.adu_TYX, local.adu_TYX)


def test_a_failing_server_is_an_error_and_loses_no_frame(in_s3, s3, quick):
    """A server error or denied access says nothing about the chunk, so that no frame counts as lost."""
    source = open_source(in_s3)
    for kind, error, words in ((503, StorageError, "try again later"), (403, AccessError, r"denied \(403\)")):
        s3.accidents = [Accident("c/7/", kind)]
        with pytest.raises(error, match=words):
            source.read_partly(_whole(source))
        s3.accidents = [Accident("c/9/", 404), Accident("c/7/", kind)]
        with pytest.raises(error, match=words):
            source.read_partly(_whole(source))
    s3.accidents = []
    assert source.read_partly(_whole(source)).lost == ()
