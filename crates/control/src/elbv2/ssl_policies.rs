//! The security policies of HTTPS listeners: AWS's names, protocols and ciphers (its guide "Security
//! policies for your Application Load Balancer"). The FIPS policies are not here, as what they promise
//! beyond their ciphers is not kept. The post-quantum ones (PQ) allow hybrid key exchanges beside the
//! classical ones; here the classical ones are spoken. TLS 1.0 and 1.1 are not spoken, also where a policy
//! would allow them.

/// What a security policy allows.
pub struct Policy {
    pub name: &'static str,
    pub protocols: &'static [&'static str],
    ciphers: &'static [&'static [Group]],
}

/// The policy of a listener that names none by API, CLI or CloudFormation.
pub const DEFAULT: &str = "ELBSecurityPolicy-2016-08";

/// Ciphers that policies allow or leave out together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Tls13,
    /// AES-GCM and AES-CBC with SHA-2 and SHA-1, each for 128 and 256 bits.
    EcdheGcm,
    EcdheSha2,
    EcdheSha1,
    RsaGcm,
    RsaSha2,
    RsaSha1,
}

use Group::{EcdheGcm, EcdheSha1, EcdheSha2, RsaGcm, RsaSha1, RsaSha2, Tls13};

/// In the order in which a server prefers them.
const CIPHERS: &[(Group, &str)] = &[
    (Tls13, "TLS_AES_128_GCM_SHA256"),
    (Tls13, "TLS_AES_256_GCM_SHA384"),
    (Tls13, "TLS_CHACHA20_POLY1305_SHA256"),
    (EcdheGcm, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (EcdheGcm, "ECDHE-RSA-AES128-GCM-SHA256"),
    (EcdheSha2, "ECDHE-ECDSA-AES128-SHA256"),
    (EcdheSha2, "ECDHE-RSA-AES128-SHA256"),
    (EcdheSha1, "ECDHE-ECDSA-AES128-SHA"),
    (EcdheSha1, "ECDHE-RSA-AES128-SHA"),
    (EcdheGcm, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (EcdheGcm, "ECDHE-RSA-AES256-GCM-SHA384"),
    (EcdheSha2, "ECDHE-ECDSA-AES256-SHA384"),
    (EcdheSha2, "ECDHE-RSA-AES256-SHA384"),
    (EcdheSha1, "ECDHE-ECDSA-AES256-SHA"),
    (EcdheSha1, "ECDHE-RSA-AES256-SHA"),
    (RsaGcm, "AES128-GCM-SHA256"),
    (RsaSha2, "AES128-SHA256"),
    (RsaSha1, "AES128-SHA"),
    (RsaGcm, "AES256-GCM-SHA384"),
    (RsaSha2, "AES256-SHA256"),
    (RsaSha1, "AES256-SHA"),
];

const SECRET: &[Group] = &[EcdheGcm];
const SECRET_CBC: &[Group] = &[EcdheGcm, EcdheSha2];
const SECRET_ALL: &[Group] = &[EcdheGcm, EcdheSha2, EcdheSha1];
const STATIC: &[Group] = &[RsaGcm, RsaSha2];
const STATIC_ALL: &[Group] = &[RsaGcm, RsaSha2, RsaSha1];
const NEW: &[Group] = &[Tls13];

/// All that are offered.
pub const POLICIES: &[Policy] = &[
    policy("ELBSecurityPolicy-TLS13-1-3-PQ-2025-09", &["TLSv1.3"], &[NEW]),
    policy("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", &["TLSv1.3", "TLSv1.2"], &[NEW, SECRET]),
    policy("ELBSecurityPolicy-TLS13-1-2-PQ-2025-09", &["TLSv1.3", "TLSv1.2"], &[NEW, SECRET_CBC]),
    policy("ELBSecurityPolicy-TLS13-1-2-Ext1-PQ-2025-09", &["TLSv1.3", "TLSv1.2"], &[NEW, SECRET_CBC, STATIC]),
    policy("ELBSecurityPolicy-TLS13-1-2-Ext2-PQ-2025-09", &["TLSv1.3", "TLSv1.2"], &[NEW, SECRET_ALL, STATIC_ALL]),
    policy("ELBSecurityPolicy-TLS13-1-3-2021-06", &["TLSv1.3"], &[NEW]),
    policy("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", &["TLSv1.3", "TLSv1.2"], &[NEW, SECRET]),
    policy("ELBSecurityPolicy-TLS13-1-2-2021-06", &["TLSv1.3", "TLSv1.2"], &[NEW, SECRET_CBC]),
    policy("ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06", &["TLSv1.3", "TLSv1.2"], &[NEW, SECRET_CBC, STATIC]),
    policy("ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06", &["TLSv1.3", "TLSv1.2"], &[NEW, SECRET_ALL, STATIC_ALL]),
    policy("ELBSecurityPolicy-TLS13-1-1-2021-06", &["TLSv1.3", "TLSv1.2", "TLSv1.1"], &[NEW, SECRET_ALL, STATIC_ALL]),
    policy(
        "ELBSecurityPolicy-TLS13-1-0-2021-06",
        &["TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1"],
        &[NEW, SECRET_ALL, STATIC_ALL],
    ),
    policy("ELBSecurityPolicy-TLS-1-2-2017-01", &["TLSv1.2"], &[SECRET_CBC, STATIC]),
    policy("ELBSecurityPolicy-TLS-1-2-Ext-2018-06", &["TLSv1.2"], &[SECRET_ALL, STATIC_ALL]),
    policy("ELBSecurityPolicy-TLS-1-1-2017-01", &["TLSv1.2", "TLSv1.1"], &[SECRET_ALL, STATIC_ALL]),
    policy(DEFAULT, &["TLSv1.2", "TLSv1.1", "TLSv1"], &[SECRET_ALL, STATIC_ALL]),
    policy("ELBSecurityPolicy-FS-1-2-Res-2020-10", &["TLSv1.2"], &[SECRET]),
    policy("ELBSecurityPolicy-FS-1-2-Res-2019-08", &["TLSv1.2"], &[SECRET_CBC]),
    policy("ELBSecurityPolicy-FS-1-2-2019-08", &["TLSv1.2"], &[SECRET_ALL]),
    policy("ELBSecurityPolicy-FS-1-1-2019-08", &["TLSv1.2", "TLSv1.1"], &[SECRET_ALL]),
    policy("ELBSecurityPolicy-FS-2018-06", &["TLSv1.2", "TLSv1.1", "TLSv1"], &[SECRET_ALL]),
];

impl Policy {
    /// OpenSSL's names, the preferred first.
    pub fn ciphers(&self) -> Vec<String> {
        let allowed = |group: &Group| self.ciphers.iter().any(|groups| groups.contains(group));
        CIPHERS.iter().filter(|(group, _)| allowed(group)).map(|(_, name)| (*name).to_owned()).collect()
    }
}

/// The policy of this name.
pub fn find(name: &str) -> Option<&'static Policy> {
    POLICIES.iter().find(|policy| policy.name == name)
}

const fn policy(
    name: &'static str,
    protocols: &'static [&'static str],
    ciphers: &'static [&'static [Group]],
) -> Policy {
    Policy { name, protocols, ciphers }
}
