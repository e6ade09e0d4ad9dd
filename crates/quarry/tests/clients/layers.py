"""Uploads an image over the ECR API: its layers in parts, then its manifest."""

import hashlib
import sys
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

MIB = 1 << 20
folder = Path(sys.argv[1])
ecr = boto3.client("ecr")
NAME = "api"


def digest(blob):
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def refused(code, call, **arguments):
    try:
        call(repositoryName=NAME, **arguments)
    except ClientError as error:
        assert isinstance(error, getattr(ecr.exceptions, code)), error
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response
        return error.response
    raise AssertionError(f"{code} was expected")


def begin():
    begun = ecr.initiate_layer_upload(repositoryName=NAME)
    assert begun["partSize"] >= 5 * MIB, begun
    return begun["uploadId"]


def part(upload, first, blob):
    return dict(uploadId=upload, partFirstByte=first, partLastByte=first + len(blob) - 1, layerPartBlob=blob)


def send(blob, size):
    upload = begin()
    for first in range(0, len(blob), size):
        piece = blob[first : first + size]
        sent = ecr.upload_layer_part(repositoryName=NAME, **part(upload, first, piece))
        assert sent["lastByteReceived"] == first + len(piece) - 1, sent
    return upload


def finish(upload, name):
    done = ecr.complete_layer_upload(repositoryName=NAME, uploadId=upload, layerDigests=[name])
    assert (done["layerDigest"], done["uploadId"], done["repositoryName"]) == (name, upload, NAME), done


def available(*names):
    checked = ecr.batch_check_layer_availability(repositoryName=NAME, layerDigests=list(names))
    return [layer["layerAvailability"] for layer in checked["layers"]], checked["failures"]


refused("RepositoryNotFoundException", ecr.initiate_layer_upload)
ecr.create_repository(repositoryName=NAME)
layer, config, manifest = ((folder / name).read_bytes() for name in ("layer", "config", "manifest"))

# What is refused, and changes nothing.
upload = begin()
complete = dict(uploadId=upload, layerDigests=[digest(layer)])
refused("EmptyUploadException", ecr.complete_layer_upload, **complete)
ecr.upload_layer_part(repositoryName=NAME, **part(upload, 0, layer[:100]))
answer = refused("InvalidLayerPartException", ecr.upload_layer_part, **part(upload, 50, layer[50:]))
assert answer["lastValidByteReceived"] == 99, answer
ecr.upload_layer_part(repositoryName=NAME, **part(upload, 100, layer[100:]))
refused("LayerPartTooSmallException", ecr.complete_layer_upload, **complete)
assert available(digest(layer), "nonsense")[0] == ["UNAVAILABLE"]
assert available("nonsense")[1][0]["failureCode"] == "InvalidLayerDigest"
gone = "00000000-0000-0000-0000-000000000000"
refused("UploadNotFoundException", ecr.upload_layer_part, **part(gone, 0, b"x"))

# A layer of several parts, and those of the image.
large = bytes(range(256)) * (11 * MIB // 256)
upload = send(large, 5 * MIB)
refused("InvalidLayerException", ecr.complete_layer_upload, uploadId=upload, layerDigests=[digest(layer)])
finish(upload, digest(large))
for blob in (layer, config):
    finish(send(blob, 10 * MIB), digest(blob))
assert available(digest(layer), digest(large)) == (["AVAILABLE", "AVAILABLE"], [])
upload = send(layer, 10 * MIB)
refused("LayerAlreadyExistsException", ecr.complete_layer_upload, uploadId=upload, layerDigests=[digest(layer)])
refused("LayerInaccessibleException", ecr.get_download_url_for_layer, layerDigest=digest(layer))
refused("LayersNotFoundException", ecr.get_download_url_for_layer, layerDigest=digest(b"none"))

# The image, and its layer again by the URL alone.
media_type = "application/vnd.oci.image.manifest.v1+json"
ecr.put_image(
    repositoryName=NAME, imageManifest=manifest.decode(), imageManifestMediaType=media_type, imageTag="v1"
)
url = ecr.get_download_url_for_layer(repositoryName=NAME, layerDigest=digest(layer))["downloadUrl"]
assert urllib.request.urlopen(url).read() == layer
for bad in (url.split("?")[0], url[:-4] + "AAAA", url.replace(digest(layer), digest(large))):
    try:
        urllib.request.urlopen(bad)
    except urllib.error.HTTPError as error:
        assert error.code == 401, error
    else:
        raise AssertionError(bad)
