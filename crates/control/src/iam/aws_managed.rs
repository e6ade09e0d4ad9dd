//! AWS's own managed policies. The documents of those that roles of containers and their hosts
//! commonly hold are here as AWS publishes their statements ("AWS Managed Policy Reference Guide");
//! `ReadOnlyAccess` is cut down to the services that are served. Of all others only the form of the
//! ARN is known: they can be attached, but their documents are not here.

use quarry_aws::iam::Policy;
use quarry_wire::Timestamp;
use serde_json::{Map, Value, json};

/// What the ARN of every AWS managed policy begins with.
pub const PREFIX: &str = "arn:aws:iam::aws:policy";

/// A policy of AWS with its one version that is known here.
pub struct Managed {
    path: &'static str,
    name: &'static str,
    /// Number of the version that the statements are of.
    version: u32,
    /// Seconds since 1970.
    created: i64,
    /// Seconds since 1970.
    updated: i64,
    statements: &'static [Statement],
}

struct Statement {
    sid: Option<&'static str>,
    actions: Actions,
    /// All, if there are none.
    resources: &'static [&'static str],
    /// A key and the values that it must equal.
    equals: Option<(&'static str, &'static [&'static str])>,
}

enum Actions {
    These(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

impl Managed {
    /// Those whose documents are known.
    pub fn all() -> impl Iterator<Item = &'static Managed> {
        POLICIES.iter()
    }

    pub fn find(arn: &str) -> Option<&'static Managed> {
        let named = arn.strip_prefix(PREFIX)?;
        POLICIES.iter().find(|policy| named.strip_prefix(policy.path) == Some(policy.name))
    }

    pub fn arn(&self) -> String {
        format!("{PREFIX}{}{}", self.path, self.name)
    }

    pub fn version_id(&self) -> String {
        format!("v{}", self.version)
    }

    pub fn updated_at(&self) -> Timestamp {
        Timestamp::from_secs(self.updated)
    }

    /// As answers show it, but for the counts of attachments.
    pub fn policy(&self) -> Policy {
        Policy {
            default_version_id: Some(self.version_id()),
            create_date: Some(Timestamp::from_secs(self.created)),
            update_date: Some(self.updated_at()),
            ..by_form(&self.arn())
        }
    }

    pub fn document(&self) -> String {
        let statements: Vec<Value> = self.statements.iter().map(Statement::json).collect();
        json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
    }
}

impl Statement {
    const fn allow(actions: &'static [&'static str]) -> Self {
        Self { sid: None, actions: Actions::These(actions), resources: &[], equals: None }
    }

    const fn allow_all_but(actions: &'static [&'static str]) -> Self {
        Self { sid: None, actions: Actions::AllBut(actions), resources: &[], equals: None }
    }

    const fn sid(mut self, sid: &'static str) -> Self {
        self.sid = Some(sid);
        self
    }

    const fn on(mut self, resources: &'static [&'static str]) -> Self {
        self.resources = resources;
        self
    }

    const fn when(mut self, key: &'static str, values: &'static [&'static str]) -> Self {
        self.equals = Some((key, values));
        self
    }

    fn json(&self) -> Value {
        let mut statement = Map::new();
        if let Some(sid) = self.sid {
            statement.insert("Sid".into(), sid.into());
        }
        statement.insert("Effect".into(), "Allow".into());
        let (element, actions) = match self.actions {
            Actions::These(actions) => ("Action", actions),
            Actions::AllBut(actions) => ("NotAction", actions),
        };
        statement.insert(element.into(), json!(actions));
        let resources = if self.resources.is_empty() { json!("*") } else { json!(self.resources) };
        statement.insert("Resource".into(), resources);
        if let Some((key, values)) = self.equals {
            statement.insert("Condition".into(), json!({ "StringEquals": { key: values } }));
        }
        statement.into()
    }
}

/// Whether an ARN has the form of an AWS managed policy: the paths are those that AWS uses.
pub fn has_form(arn: &str) -> bool {
    let Some(rest) = arn.strip_prefix(PREFIX) else { return false };
    let paths = ["/", "/service-role/", "/job-function/", "/aws-service-role/"];
    let name = paths.iter().filter_map(|path| rest.strip_prefix(path)).find(|name| !name.contains('/'));
    name.is_some_and(|name| {
        (1..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c))
    })
}

/// What the ARN of an AWS managed policy tells of it.
pub fn by_form(arn: &str) -> Policy {
    Policy {
        policy_name: Some(quarry_domain::arn::short_name(arn).to_owned()),
        path: Some(super::policy::path_of(arn).to_owned()),
        arn: Some(arn.to_owned()),
        is_attachable: Some(true),
        default_version_id: Some("v1".into()),
        ..Default::default()
    }
}

const PULL: [&str; 4] =
    ["ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"];

/// In the order of their names.
const POLICIES: &[Managed] = &[
    Managed {
        path: "/service-role/",
        name: "AWSLambdaBasicExecutionRole",
        version: 1,
        created: 1_428_591_823,
        updated: 1_428_591_823,
        statements: &[Statement::allow(&["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"])],
    },
    Managed {
        path: "/",
        name: "AWSXRayDaemonWriteAccess",
        version: 2,
        created: 1_535_497_233,
        updated: 1_707_861_510,
        statements: &[Statement::allow(&[
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:GetSamplingStatisticSummaries",
        ])
        .sid("AWSXRayDaemonWriteAccess")],
    },
    Managed {
        path: "/",
        name: "AdministratorAccess",
        version: 1,
        created: 1_423_247_986,
        updated: 1_423_247_986,
        statements: &[Statement::allow(&["*"])],
    },
    Managed {
        path: "/",
        name: "AmazonEC2ContainerRegistryFullAccess",
        version: 3,
        created: 1_450_717_608,
        updated: 1_607_126_659,
        statements: &[
            Statement::allow(&["ecr:*", "cloudtrail:LookupEvents"]),
            Statement::allow(&["iam:CreateServiceLinkedRole"])
                .when("iam:AWSServiceName", &["replication.ecr.amazonaws.com"]),
        ],
    },
    Managed {
        path: "/",
        name: "AmazonEC2ContainerRegistryPowerUser",
        version: 3,
        created: 1_450_717_533,
        updated: 1_576_010_888,
        statements: &[Statement::allow(&[
            "ecr:GetAuthorizationToken",
            "ecr:BatchCheckLayerAvailability",
            "ecr:GetDownloadUrlForLayer",
            "ecr:GetRepositoryPolicy",
            "ecr:DescribeRepositories",
            "ecr:ListImages",
            "ecr:DescribeImages",
            "ecr:BatchGetImage",
            "ecr:GetLifecyclePolicy",
            "ecr:GetLifecyclePolicyPreview",
            "ecr:ListTagsForResource",
            "ecr:DescribeImageScanFindings",
            "ecr:InitiateLayerUpload",
            "ecr:UploadLayerPart",
            "ecr:CompleteLayerUpload",
            "ecr:PutImage",
        ])],
    },
    Managed {
        path: "/",
        name: "AmazonEC2ContainerRegistryReadOnly",
        version: 3,
        created: 1_450_717_455,
        updated: 1_576_011_392,
        statements: &[Statement::allow(&[
            "ecr:GetAuthorizationToken",
            "ecr:BatchCheckLayerAvailability",
            "ecr:GetDownloadUrlForLayer",
            "ecr:GetRepositoryPolicy",
            "ecr:DescribeRepositories",
            "ecr:ListImages",
            "ecr:DescribeImages",
            "ecr:BatchGetImage",
            "ecr:GetLifecyclePolicy",
            "ecr:GetLifecyclePolicyPreview",
            "ecr:ListTagsForResource",
            "ecr:DescribeImageScanFindings",
        ])],
    },
    Managed {
        path: "/service-role/",
        name: "AmazonEC2ContainerServiceAutoscaleRole",
        version: 2,
        created: 1_463_095_544,
        updated: 1_517_858_115,
        statements: &[
            Statement::allow(&["ecs:DescribeServices", "ecs:UpdateService"]),
            Statement::allow(&["cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"]),
        ],
    },
    Managed {
        path: "/service-role/",
        name: "AmazonEC2ContainerServiceRole",
        version: 2,
        created: 1_428_596_059,
        updated: 1_470_920_881,
        statements: &[Statement::allow(&[
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:Describe*",
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
            "elasticloadbalancing:DeregisterTargets",
            "elasticloadbalancing:Describe*",
            "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
            "elasticloadbalancing:RegisterTargets",
        ])],
    },
    Managed {
        path: "/service-role/",
        name: "AmazonEC2ContainerServiceforEC2Role",
        version: 10,
        created: 1_426_790_718,
        updated: 1_770_919_192,
        statements: &[
            Statement::allow(&[
                "ec2:DescribeTags",
                "ecs:CreateCluster",
                "ecs:DeregisterContainerInstance",
                "ecs:DiscoverPollEndpoint",
                "ecs:Poll",
                "ecs:RegisterContainerInstance",
                "ecs:StartTelemetrySession",
                "ecs:UpdateContainerInstancesState",
                "ecs:Submit*",
                PULL[0],
                PULL[1],
                PULL[2],
                PULL[3],
                "logs:CreateLogStream",
                "logs:PutLogEvents",
            ]),
            Statement::allow(&["ecs:TagResource"])
                .when("ecs:CreateAction", &["CreateCluster", "RegisterContainerInstance"]),
            Statement::allow(&["ecs:ListTagsForResource"])
                .on(&["arn:aws:ecs:*:*:task/*/*", "arn:aws:ecs:*:*:container-instance/*/*"]),
        ],
    },
    Managed {
        path: "/service-role/",
        name: "AmazonECSTaskExecutionRolePolicy",
        version: 1,
        created: 1_510_858_102,
        updated: 1_510_858_102,
        statements: &[Statement::allow(&[
            PULL[0],
            PULL[1],
            PULL[2],
            PULL[3],
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ])],
    },
    Managed {
        path: "/",
        name: "AmazonS3ReadOnlyAccess",
        version: 3,
        created: 1_423_248_059,
        updated: 1_691_703_099,
        statements: &[Statement::allow(&[
            "s3:Get*",
            "s3:List*",
            "s3:Describe*",
            "s3-object-lambda:Get*",
            "s3-object-lambda:List*",
        ])],
    },
    Managed {
        path: "/",
        name: "AmazonSSMManagedInstanceCore",
        version: 2,
        created: 1_552_670_532,
        updated: 1_558_630_461,
        statements: &[
            Statement::allow(&[
                "ssm:DescribeAssociation",
                "ssm:GetDeployablePatchSnapshotForInstance",
                "ssm:GetDocument",
                "ssm:DescribeDocument",
                "ssm:GetManifest",
                "ssm:GetParameter",
                "ssm:GetParameters",
                "ssm:ListAssociations",
                "ssm:ListInstanceAssociations",
                "ssm:PutInventory",
                "ssm:PutComplianceItems",
                "ssm:PutConfigurePackageResult",
                "ssm:UpdateAssociationStatus",
                "ssm:UpdateInstanceAssociationStatus",
                "ssm:UpdateInstanceInformation",
            ]),
            Statement::allow(&[
                "ssmmessages:CreateControlChannel",
                "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel",
                "ssmmessages:OpenDataChannel",
            ]),
            Statement::allow(&[
                "ec2messages:AcknowledgeMessage",
                "ec2messages:DeleteMessage",
                "ec2messages:FailMessage",
                "ec2messages:GetEndpoint",
                "ec2messages:GetMessages",
                "ec2messages:SendReply",
            ]),
        ],
    },
    Managed {
        path: "/",
        name: "AmazonSSMReadOnlyAccess",
        version: 1,
        created: 1_432_921_459,
        updated: 1_432_921_459,
        statements: &[Statement::allow(&["ssm:Describe*", "ssm:Get*", "ssm:List*"])],
    },
    Managed {
        path: "/",
        name: "CloudWatchAgentServerPolicy",
        version: 3,
        created: 1_520_384_804,
        updated: 1_707_237_457,
        statements: &[
            Statement::allow(&[
                "cloudwatch:PutMetricData",
                "ec2:DescribeVolumes",
                "ec2:DescribeTags",
                "logs:PutLogEvents",
                "logs:PutRetentionPolicy",
                "logs:DescribeLogStreams",
                "logs:DescribeLogGroups",
                "logs:CreateLogStream",
                "logs:CreateLogGroup",
                "xray:PutTraceSegments",
                "xray:PutTelemetryRecords",
                "xray:GetSamplingRules",
                "xray:GetSamplingTargets",
                "xray:GetSamplingStatisticSummaries",
            ])
            .sid("CWACloudWatchServerPermissions"),
            Statement::allow(&["ssm:GetParameter"])
                .sid("CWASSMServerPermissions")
                .on(&["arn:aws:ssm:*:*:parameter/AmazonCloudWatch-*"]),
        ],
    },
    Managed {
        path: "/",
        name: "CloudWatchLogsFullAccess",
        version: 8,
        created: 1_423_248_002,
        updated: 1_770_919_233,
        statements: &[Statement::allow(&[
            "logs:*",
            "cloudwatch:GenerateQuery",
            "cloudwatch:GenerateQueryResultsSummary",
            "observabilityadmin:GetS3TableIntegration",
            "observabilityadmin:ListS3TableIntegrations",
            "observabilityadmin:ListTelemetryPipelines",
        ])
        .sid("CloudWatchLogsFullAccess")],
    },
    Managed {
        path: "/",
        name: "PowerUserAccess",
        version: 12,
        created: 1_423_247_987,
        updated: 1_770_919_154,
        statements: &[
            Statement::allow_all_but(&["iam:*", "organizations:*", "account:*"]),
            Statement::allow(&[
                "account:GetAccountInformation",
                "account:GetGovCloudAccountInformation",
                "account:GetPrimaryEmail",
                "account:ListRegions",
                "iam:CreateServiceLinkedRole",
                "iam:DeleteServiceLinkedRole",
                "iam:ListRoles",
                "organizations:DescribeEffectivePolicy",
                "organizations:DescribeOrganization",
            ]),
        ],
    },
    // Not the whole of AWS's, hence no version of AWS's.
    Managed {
        path: "/",
        name: "ReadOnlyAccess",
        version: 1,
        created: 1_423_247_988,
        updated: 1_423_247_988,
        statements: &[Statement::allow(&[
            "acm:Describe*",
            "acm:Get*",
            "acm:List*",
            "application-autoscaling:Describe*",
            "application-autoscaling:ListTagsForResource",
            "autoscaling:Describe*",
            "cloudformation:Describe*",
            "cloudformation:Detect*",
            "cloudformation:Get*",
            "cloudformation:List*",
            "cloudformation:ValidateTemplate",
            "cloudtrail:LookupEvents",
            "cloudwatch:Describe*",
            "cloudwatch:Get*",
            "cloudwatch:List*",
            "ec2:Describe*",
            "ec2:Get*",
            "ecr:BatchCheck*",
            "ecr:BatchGet*",
            "ecr:Describe*",
            "ecr:Get*",
            "ecr:List*",
            "ecs:Describe*",
            "ecs:List*",
            "elasticloadbalancing:Describe*",
            "iam:Get*",
            "iam:List*",
            "logs:Describe*",
            "logs:FilterLogEvents",
            "logs:Get*",
            "logs:ListTagsForResource",
            "logs:ListTagsLogGroup",
            "secretsmanager:Describe*",
            "secretsmanager:GetResourcePolicy",
            "secretsmanager:List*",
            "servicediscovery:DiscoverInstances",
            "servicediscovery:DiscoverInstancesRevision",
            "servicediscovery:Get*",
            "servicediscovery:List*",
            "ssm:Describe*",
            "ssm:Get*",
            "ssm:List*",
            "sts:GetAccessKeyInfo",
            "sts:GetCallerIdentity",
            "sts:GetSessionToken",
        ])],
    },
    Managed {
        path: "/",
        name: "SecretsManagerReadWrite",
        version: 5,
        created: 1_522_865_129,
        updated: 1_708_625_526,
        statements: &[
            Statement::allow(&[
                "secretsmanager:*",
                "cloudformation:CreateChangeSet",
                "cloudformation:DescribeChangeSet",
                "cloudformation:DescribeStackResource",
                "cloudformation:DescribeStacks",
                "cloudformation:ExecuteChangeSet",
                "docdb-elastic:GetCluster",
                "docdb-elastic:ListClusters",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
                "kms:DescribeKey",
                "kms:ListAliases",
                "kms:ListKeys",
                "lambda:ListFunctions",
                "rds:DescribeDBClusters",
                "rds:DescribeDBInstances",
                "redshift:DescribeClusters",
                "redshift-serverless:ListWorkgroups",
                "redshift-serverless:GetNamespace",
                "tag:GetResources",
            ])
            .sid("BasePermissions"),
            Statement::allow(&[
                "lambda:AddPermission",
                "lambda:CreateFunction",
                "lambda:GetFunction",
                "lambda:InvokeFunction",
                "lambda:UpdateFunctionConfiguration",
            ])
            .sid("LambdaPermissions")
            .on(&["arn:aws:lambda:*:*:function:SecretsManager*"]),
            Statement::allow(&["serverlessrepo:CreateCloudFormationChangeSet", "serverlessrepo:GetApplication"])
                .sid("SARPermissions")
                .on(&["arn:aws:serverlessrepo:*:*:applications/SecretsManager*"]),
            Statement::allow(&["s3:GetObject"])
                .sid("S3Permissions")
                .on(&["arn:aws:s3:::awsserverlessrepo-changesets*", "arn:aws:s3:::secrets-manager-rotation-apps-*/*"]),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::super::document::{self, Use};
    use super::*;

    #[test]
    fn aws_managed_policies_are_known_by_their_form() {
        for good in ["/AmazonECS_FullAccess", "/service-role/AmazonECSTaskExecutionRolePolicy", "/job-function/Billing"]
        {
            assert!(has_form(&format!("{PREFIX}{good}")), "{good}");
        }
        for bad in ["", "/", "/service-role/", "/other/Name", "/a b", "X/y"] {
            assert!(!has_form(&format!("{PREFIX}{bad}")), "{bad}");
        }
    }

    #[test]
    fn every_document_keeps_the_grammar_and_every_name_is_found() {
        for policy in Managed::all() {
            let arn = policy.arn();
            assert!(has_form(&arn), "{arn}");
            document::check(&policy.document(), Use::Managed).unwrap_or_else(|e| panic!("{arn}: {}", e.message));
            assert_eq!(Managed::find(&arn).map(|found| found.name), Some(policy.name));
        }
        assert!(Managed::all().zip(Managed::all().skip(1)).all(|(a, b)| a.name < b.name));
        assert!(Managed::find(&format!("{PREFIX}/AmazonECSTaskExecutionRolePolicy")).is_none(), "the path counts");
    }
}
