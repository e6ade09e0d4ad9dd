//! HTTPS as a person sets it up with the aws CLI and uses it with curl: a requested certificate, a
//! listener, another certificate by server name, a restart of the proxy without `serve`.

#[path = "clients/shell.rs"]
mod shell;

use quarry_testkit::{Platform, client_program, wait_for};
use serde_json::Value;
use shell::Shell;
use std::path::Path;

const EXE: &str = env!("CARGO_BIN_EXE_quarry");

/// Asks for a page under a server name, at the address where the listener really is.
fn curl(shell: &Shell, authority: &Path, name: &str, at: &str) -> Result<String, String> {
    shell.run(&format!(
        "curl -sS --max-time 10 --cacert {} --connect-to {name}:443:{at} -w ' %{{http_version}}' https://{name}/",
        authority.display()
    ))
}

/// The lines of all files below `bucket`'s folder of logs.
fn lines(bucket: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![bucket.join("demo/AWSLogs")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match std::fs::read_to_string(&path) {
                Ok(text) => found.extend(text.lines().map(str::to_owned)),
                Err(_) => folders.push(path),
            }
        }
    }
    found
}

#[test]
fn a_listener_with_a_requested_certificate_serves_https() {
    let (Some(_), Some(_)) = (client_program("aws"), client_program("curl")) else { return };
    let mut platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let request =
        |name: &str| shell.aws_text(&format!("acm request-certificate --domain-name {name} --query CertificateArn"));
    let (first, second) = (request("api.example.com"), request("www.example.org"));
    let vpc = shell.aws_text("ec2 create-vpc --cidr-block 10.8.0.0/16 --query Vpc.VpcId");
    let subnet = |n: u8, zone: &str| {
        let region = shell.var("AWS_REGION");
        shell.aws_text(&format!(
            "ec2 create-subnet --vpc-id {vpc} --cidr-block 10.8.{n}.0/24 --availability-zone {region}{zone} \
             --query Subnet.SubnetId"
        ))
    };
    let subnets = format!("{} {}", subnet(1, "a"), subnet(2, "b"));
    let group = shell.aws_text(&format!(
        "ec2 create-security-group --group-name web --description web --vpc-id {vpc} --query GroupId"
    ));
    shell.aws_ok(&format!(
        "ec2 authorize-security-group-ingress --group-id {group} --protocol tcp --port 443 --cidr 0.0.0.0/0"
    ));
    let balancer = shell.aws_text(&format!(
        "elbv2 create-load-balancer --name demo --scheme internal --subnets {subnets} --security-groups {group} \
         --query LoadBalancers[0].LoadBalancerArn"
    ));
    let listener = shell.aws_text(&format!(
        "elbv2 create-listener --load-balancer-arn {balancer} --protocol HTTPS --port 443 \
         --ssl-policy ELBSecurityPolicy-TLS13-1-2-2021-06 --certificates CertificateArn={first} --default-actions \
         'Type=fixed-response,FixedResponseConfig={{StatusCode=200,ContentType=text/plain,MessageBody=hello}}' \
         --query Listeners[0].ListenerArn"
    ));
    let at = wait_for("the listener is bound", || {
        let listeners = shell.run("curl -sS $AWS_ENDPOINT_URL/_quarry/v1/listeners").ok()?;
        let listeners: Value = serde_json::from_str(&listeners).ok()?;
        Some(listeners[0]["bound"][0].as_str()?.to_owned())
    });
    let authority = platform.data_dir().join("certificate-authority.pem");
    let ask = |name: &str| curl(&shell, &authority, name, &at);
    wait_for("the page comes", || (ask("api.example.com").ok()? == "hello 2").then_some(()));
    // The default certificate is not for this name; the one that is added is.
    assert!(ask("www.example.org").unwrap_err().contains("certificate"));
    shell.aws_ok(&format!(
        "elbv2 add-listener-certificates --listener-arn {listener} --certificates CertificateArn={second}"
    ));
    wait_for("the other certificate is shown", || (ask("www.example.org").ok()? == "hello 2").then_some(()));
    assert_eq!(ask("api.example.com").unwrap(), "hello 2");
    shell.aws_refused(&format!("acm delete-certificate --certificate-arn {second}"), "ResourceInUseException");

    // Access logs begin when they are asked for, and the file is where S3 would have it.
    let bucket = platform.data_dir().join("s3/logs");
    assert!(lines(&bucket).is_empty());
    shell.aws_ok(&format!(
        "elbv2 modify-load-balancer-attributes --load-balancer-arn {balancer} --attributes \
         Key=access_logs.s3.enabled,Value=true Key=access_logs.s3.bucket,Value=logs \
         Key=access_logs.s3.prefix,Value=demo"
    ));
    let line = wait_for("a request is in the access log", || {
        ask("www.example.org").ok()?;
        lines(&bucket).into_iter().find(|line| line.contains("\"GET https://www.example.org:443/ HTTP/2.0\""))
    });
    let name = balancer.split_once("loadbalancer/").unwrap().1;
    let fields: Vec<&str> = line.split(' ').collect();
    assert_eq!((fields[0], fields[2], fields[8]), ("h2", name, "200"), "{line}");
    assert!(line.contains(" \"fixed-response\" ") && line.contains(&second), "{line}");

    // The proxy comes back with its keys while nobody is there to send them.
    let snapshot = std::fs::read_to_string(platform.data_dir().join("proxy/snapshot.json")).unwrap();
    assert!(snapshot.contains("BEGIN CERTIFICATE") && !snapshot.contains("PRIVATE KEY"));
    platform.kill_serve().unwrap();
    assert_eq!(ask("api.example.com").unwrap(), "hello 2");
    platform.restart_serve().unwrap();
    assert_eq!(ask("www.example.org").unwrap(), "hello 2");
    shell.aws_ok(&format!("elbv2 delete-listener --listener-arn {listener}"));
    shell.aws_ok(&format!("acm delete-certificate --certificate-arn {second}"));
}
