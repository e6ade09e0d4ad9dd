"""ECR."""

import base64
import gzip
import hashlib
import io
import json
import tarfile

from clients import scenarios

STEPS, step = scenarios()
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EXPIRE = json.dumps({"rules": [{"rulePriority": 1, "selection": {
    "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5}, "action": {"type": "expire"}}]})
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{
    "Sid": "pull", "Effect": "Allow", "Principal": "*", "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]}]})


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def upload(ecr, content):
    """A layer in one part."""
    started = ecr.InitiateLayerUpload(repositoryName="suite/web")
    ecr.UploadLayerPart(repositoryName="suite/web", uploadId=started["uploadId"], partFirstByte=0,
                        partLastByte=len(content) - 1, layerPartBlob=content)
    done = ecr.CompleteLayerUpload(repositoryName="suite/web", uploadId=started["uploadId"], layerDigests=[digest(content)])
    assert done["layerDigest"] == digest(content), done


def layer():
    """A gzipped archive with one file, and the digest of what is in it."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 6
        archive.addfile(entry, io.BytesIO(b"hello\n"))
    return gzip.compress(plain.getvalue(), mtime=0), digest(plain.getvalue())


@step("a repository and its settings")
def _(aws):
    ecr = aws.ecr
    made = ecr.CreateRepository(repositoryName="suite/api")["repository"]
    assert any(r["repositoryName"] == "suite/api" for r in ecr.DescribeRepositories()["repositories"])
    ecr.PutImageTagMutability(repositoryName="suite/api", imageTagMutability="IMMUTABLE")
    ecr.PutImageScanningConfiguration(repositoryName="suite/api", imageScanningConfiguration={"scanOnPush": False})
    found = ecr.DescribeRepositories(repositoryNames=["suite/api"])["repositories"][0]
    assert found["imageTagMutability"] == "IMMUTABLE", found
    ecr.PutLifecyclePolicy(repositoryName="suite/api", lifecyclePolicyText=EXPIRE)
    assert json.loads(ecr.GetLifecyclePolicy(repositoryName="suite/api")["lifecyclePolicyText"])["rules"]
    ecr.StartLifecyclePolicyPreview(repositoryName="suite/api")
    aws.wait("ecr", "lifecycle_policy_preview_complete", repositoryName="suite/api")
    assert ecr.GetLifecyclePolicyPreview(repositoryName="suite/api")["status"] == "COMPLETE"
    ecr.DeleteLifecyclePolicy(repositoryName="suite/api")
    ecr.SetRepositoryPolicy(repositoryName="suite/api", policyText=POLICY)
    assert json.loads(ecr.GetRepositoryPolicy(repositoryName="suite/api")["policyText"])["Statement"]
    ecr.DeleteRepositoryPolicy(repositoryName="suite/api")
    aws.refused("RepositoryPolicyNotFoundException", ecr.GetRepositoryPolicy, repositoryName="suite/api")
    ecr.TagResource(resourceArn=made["repositoryArn"], tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    ecr.UntagResource(resourceArn=made["repositoryArn"], tagKeys=["b"])
    assert ecr.ListTagsForResource(resourceArn=made["repositoryArn"])["tags"] == [{"Key": "a", "Value": "1"}]
    ecr.DescribeRegistry()
    token = ecr.GetAuthorizationToken()["authorizationData"][0]["authorizationToken"]
    assert base64.b64decode(token).startswith(b"AWS:")
    ecr.DeleteRepository(repositoryName="suite/api")
    aws.refused("RepositoryNotFoundException", ecr.ListImages, repositoryName="suite/api")


@step("an image, layer by layer")
def _(aws):
    ecr = aws.ecr
    ecr.CreateRepository(repositoryName="suite/web")
    blob, content = layer()
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [content]}}).encode()
    for each in (blob, config):
        upload(ecr, each)
    there = ecr.BatchCheckLayerAvailability(repositoryName="suite/web", layerDigests=[digest(blob)])["layers"]
    assert there[0]["layerAvailability"] == "AVAILABLE", there
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(blob), "size": len(blob)}],
    })
    ecr.PutImage(repositoryName="suite/web", imageManifest=manifest, imageTag="v1")
    assert [i["imageTag"] for i in ecr.ListImages(repositoryName="suite/web")["imageIds"]] == ["v1"]
    details = ecr.DescribeImages(repositoryName="suite/web", imageIds=[{"imageTag": "v1"}])["imageDetails"][0]
    assert details["imageDigest"] == digest(manifest.encode()), details
    assert ecr.BatchGetImage(repositoryName="suite/web", imageIds=[{"imageTag": "v1"}])["images"][0]["imageManifest"] == manifest
    assert ecr.GetDownloadUrlForLayer(repositoryName="suite/web", layerDigest=digest(blob))["downloadUrl"]
    # No image is scanned here.
    aws.refused("ScanNotFoundException", ecr.DescribeImageScanFindings, repositoryName="suite/web", imageId={"imageTag": "v1"})
    aws.refused("UnsupportedImageTypeException", ecr.StartImageScan, repositoryName="suite/web", imageId={"imageTag": "v1"})
    aws.refused("RepositoryNotEmptyException", ecr.DeleteRepository, repositoryName="suite/web")
    gone = ecr.BatchDeleteImage(repositoryName="suite/web", imageIds=[{"imageTag": "v1"}])
    assert not gone.get("failures"), gone
    ecr.DeleteRepository(repositoryName="suite/web", force=True)
