"""Secrets Manager, Parameter Store and ACM."""

import json
import subprocess
import tempfile

from clients import scenarios

STEPS, step = scenarios()


@step("secrets")
def _(aws):
    keep = aws.secretsmanager
    made = keep.CreateSecret(Name="suite", SecretString="one")
    assert keep.GetSecretValue(SecretId="suite")["SecretString"] == "one"
    second = keep.PutSecretValue(SecretId="suite", SecretString="two")["VersionId"]
    versions = keep.ListSecretVersionIds(SecretId="suite")["Versions"]
    assert {v["VersionId"] for v in versions} == {made["VersionId"], second}, versions
    keep.UpdateSecretVersionStage(SecretId="suite", VersionStage="AWSCURRENT", MoveToVersionId=made["VersionId"],
                                  RemoveFromVersionId=second)
    assert keep.GetSecretValue(SecretId="suite")["SecretString"] == "one"
    keep.UpdateSecret(SecretId="suite", Description="b")
    assert keep.DescribeSecret(SecretId="suite")["Description"] == "b"
    assert any(s["Name"] == "suite" for s in keep.ListSecrets()["SecretList"])
    assert keep.BatchGetSecretValue(SecretIdList=["suite"])["SecretValues"][0]["SecretString"] == "one"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue",
                        "Resource": "*", "Principal": {"AWS": aws.sts.GetCallerIdentity()["Account"]}}]})
    assert keep.ValidateResourcePolicy(ResourcePolicy=policy)["PolicyValidationPassed"] is True
    keep.PutResourcePolicy(SecretId="suite", ResourcePolicy=policy)
    assert json.loads(keep.GetResourcePolicy(SecretId="suite")["ResourcePolicy"])["Statement"]
    keep.DeleteResourcePolicy(SecretId="suite")
    keep.TagResource(SecretId="suite", Tags=[{"Key": "a", "Value": "1"}])
    keep.UntagResource(SecretId="suite", TagKeys=["a"])
    assert len(keep.GetRandomPassword(PasswordLength=20)["RandomPassword"]) == 20
    keep.DeleteSecret(SecretId="suite", RecoveryWindowInDays=7)
    aws.refused("InvalidRequestException", keep.GetSecretValue, SecretId="suite")
    keep.RestoreSecret(SecretId="suite")
    keep.DeleteSecret(SecretId="suite", ForceDeleteWithoutRecovery=True)
    aws.refused("ResourceNotFoundException", keep.DescribeSecret, SecretId="suite")


@step("parameters")
def _(aws):
    ssm = aws.ssm
    for value in ("one", "two"):
        ssm.PutParameter(Name="/suite/a", Value=value, Type="String", Overwrite=True)
    ssm.PutParameter(Name="/suite/b", Value="hidden", Type="SecureString")
    assert ssm.GetParameter(Name="/suite/a")["Parameter"]["Value"] == "two"
    both = ssm.GetParameters(Names=["/suite/a", "/suite/b"], WithDecryption=True)["Parameters"]
    assert {p["Name"]: p["Value"] for p in both} == {"/suite/a": "two", "/suite/b": "hidden"}, both
    assert len(ssm.GetParametersByPath(Path="/suite")["Parameters"]) == 2
    assert [p["Value"] for p in ssm.GetParameterHistory(Name="/suite/a")["Parameters"]] == ["one", "two"]
    assert ssm.DescribeParameters(ParameterFilters=[{"Key": "Name", "Values": ["/suite/a"]}])["Parameters"]
    of = {"ResourceType": "Parameter", "ResourceId": "/suite/a"}
    ssm.AddTagsToResource(**of, Tags=[{"Key": "a", "Value": "1"}])
    assert ssm.ListTagsForResource(**of)["TagList"] == [{"Key": "a", "Value": "1"}]
    ssm.RemoveTagsFromResource(**of, TagKeys=["a"])
    ssm.DeleteParameter(Name="/suite/a")
    assert ssm.DeleteParameters(Names=["/suite/b", "/suite/none"])["InvalidParameters"] == ["/suite/none"]
    aws.refused("ParameterNotFound", ssm.GetParameter, Name="/suite/a")


@step("certificates")
def _(aws):
    acm = aws.acm
    arn = acm.RequestCertificate(DomainName="suite.example.com", ValidationMethod="DNS")["CertificateArn"]
    aws.wait("acm", "certificate_validated", CertificateArn=arn)
    assert acm.GetCertificate(CertificateArn=arn)["Certificate"].startswith("-----BEGIN CERTIFICATE-----")
    assert any(c["CertificateArn"] == arn for c in acm.ListCertificates()["CertificateSummaryList"])
    acm.UpdateCertificateOptions(CertificateArn=arn, Options={"CertificateTransparencyLoggingPreference": "DISABLED"})
    acm.AddTagsToCertificate(CertificateArn=arn, Tags=[{"Key": "a", "Value": "1"}])
    assert acm.ListTagsForCertificate(CertificateArn=arn)["Tags"] == [{"Key": "a", "Value": "1"}]
    acm.RemoveTagsFromCertificate(CertificateArn=arn, Tags=[{"Key": "a"}])
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=own.example.com", "-days", "30", "-keyout", f"{scratch}/key", "-out", f"{scratch}/certificate"],
                       check=True, capture_output=True)
        certificate, key = (open(f"{scratch}/{name}", "rb").read() for name in ("certificate", "key"))
    own = acm.ImportCertificate(Certificate=certificate, PrivateKey=key)["CertificateArn"]
    assert acm.DescribeCertificate(CertificateArn=own)["Certificate"]["Type"] == "IMPORTED"
    for each in (arn, own):
        acm.DeleteCertificate(CertificateArn=each)
    aws.refused("ResourceNotFoundException", acm.DescribeCertificate, CertificateArn=own)
