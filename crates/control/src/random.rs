//! Random calls of every served operation, drawn from the shapes: some nearly right, some broken.
//! None may panic, none may be an internal failure, and one that is refused must change nothing.
//!
//! `QUARRY_RANDOM_SECONDS` makes it longer, `QUARRY_RANDOM_SEED` starts elsewhere.

use crate::endpoint::{Auth, Endpoint};
use crate::start;
use crate::testing::World;
use http::{Method, Request};
use quarry_domain::image::ImageCatalog;
use quarry_wire::{Kind, OperationModel, Protocol, Schema, ServiceModel, Type, client, json};
use serde_json::{Map, Value, json as json_text};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

const SECONDS: u64 = 15;
/// Most values remembered of a name.
const POOL: usize = 12;

#[test]
fn random_requests_never_fail_inside_and_leave_nothing_half_done() {
    let world = World::new(|operations| *operations = start::operations());
    crate::ecr::reconcile(&world.platform, &world.operations);
    let endpoint = Endpoint::new(
        world.platform.clone(),
        world.operations.clone(),
        Auth::Off,
        ("AKIDEXAMPLE".to_owned(), "secret".to_owned()),
    );
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut dice = Dice(number("QUARRY_RANDOM_SEED").unwrap_or(0x5eed) | 1);
    let end = Instant::now() + Duration::from_secs(number("QUARRY_RANDOM_SECONDS").unwrap_or(SECONDS));
    let mut pool = Pool::new();
    let mut faults: BTreeMap<String, String> = BTreeMap::new();
    let (mut accepted, mut refused, mut round) = (0u32, 0u32, 0);
    let mut served = BTreeSet::new();
    let mut digest = digest_of(&world);
    let mut operations: Vec<_> = world.operations.names().collect();
    operations.sort_unstable();
    while round < 8 || Instant::now() < end {
        if round % 8 == 0 {
            set_up(&endpoint, &mut pool, round == 0);
            digest = digest_of(&world);
        }
        round += 1;
        for (service, name) in &operations {
            // What is deleted first is missed by all that follows.
            if round % 8 != 0 && ["Delete", "Deregister", "Terminate"].iter().any(|verb| name.starts_with(verb)) {
                continue;
            }
            let (service, model) = known(service, name);
            let sent = Sent::draw(&mut dice, &pool, service, model);
            let answer = catch_unwind(AssertUnwindSafe(|| endpoint.answer(&sent.head(), &sent.body)));
            let what = || format!("{} {} {}", service.id, name, String::from_utf8_lossy(&sent.body));
            let key = format!("{} {name}", service.id);
            let now = digest_of(&world);
            match answer {
                Err(_) => {
                    faults.entry(key).or_insert_with(|| format!("panicked: {}", what()));
                }
                Ok(answer) if answer.status().is_server_error() => {
                    let said = String::from_utf8_lossy(answer.body()).into_owned();
                    faults.entry(key).or_insert_with(|| format!("{}: {said}: {}", answer.status(), what()));
                }
                Ok(answer) if answer.status().is_success() => {
                    accepted += 1;
                    served.insert(key);
                    // A form with a letter less may call something else.
                    if !sent.broken {
                        pool.learn(sent.protocol, service, model, answer.body());
                    }
                }
                Ok(answer) => {
                    refused += 1;
                    if now != digest {
                        let said = String::from_utf8_lossy(answer.body()).into_owned();
                        faults.entry(key).or_insert_with(|| format!("refused, but changed: {said}: {}", what()));
                    }
                }
            }
            digest = now;
            world.door.advance(Duration::from_millis(dice.roll(3000)));
        }
    }
    let never = operations.len() - served.len();
    println!(
        "{round} rounds of {} operations: {accepted} accepted, {refused} refused; {never} operations never accepted",
        operations.len()
    );
    let told: Vec<String> = faults.into_values().map(|fault| fault.chars().take(900).collect()).collect();
    assert!(told.is_empty(), "{} operations:\n{}", told.len(), told.join("\n"));
    // Otherwise the generator has lost its aim.
    assert!(accepted * 5 > refused && refused > 100, "{accepted} accepted, {refused} refused");
}

fn known(service: &str, name: &str) -> (&'static ServiceModel, &'static OperationModel) {
    let service = quarry_aws::SERVICES.iter().find(|s| s.id == service).expect("a served service");
    (service, service.operation(name).expect("a served operation"))
}

/// Makes what most calls are about, and what of it earlier rounds have deleted.
fn set_up(endpoint: &Endpoint, pool: &mut Pool, all: bool) {
    for (service, name, input) in prologue(pool) {
        let (service, model) = known(service, name);
        let sent = Sent::of(service.protocol, service, model, &pool.filled(&input));
        let answer = endpoint.answer(&sent.head(), &sent.body);
        assert!(!all || answer.status().is_success(), "{name}: {}", String::from_utf8_lossy(answer.body()));
        if answer.status().is_success() {
            pool.learn(sent.protocol, service, model, answer.body());
            pool.remember(service.id, "", &input);
        }
    }
}

/// Resources that most calls are about. `$Name` is what was last learned of a member of that name,
/// `$$Name` what came before that.
fn prologue(pool: &Pool) -> Vec<(&'static str, &'static str, Value)> {
    let trust = &pool.of("iam", "AssumeRolePolicyDocument")[0];
    let policy = &pool.of("iam", "PolicyDocument")[0];
    let template = &pool.of("cloudformation", "TemplateBody")[0];
    let subnet =
        |block: &str, zone: &str| json_text!({"VpcId": "$VpcId", "CidrBlock": block, "AvailabilityZone": zone});
    let forward = json_text!([{"Type": "forward", "TargetGroupArn": "$TargetGroupArn"}]);
    let container =
        json_text!({"name": "web", "image": "nginx", "memory": 64, "portMappings": [{"containerPort": 80}]});
    vec![
        ("ec2", "CreateVpc", json_text!({"CidrBlock": "10.0.0.0/16"})),
        ("ec2", "CreateSubnet", subnet("10.0.1.0/24", "us-east-1a")),
        ("ec2", "CreateSubnet", subnet("10.0.2.0/24", "us-east-1b")),
        ("ec2", "CreateInternetGateway", json_text!({})),
        ("ec2", "AttachInternetGateway", json_text!({"VpcId": "$VpcId", "InternetGatewayId": "$InternetGatewayId"})),
        ("ec2", "CreateRouteTable", json_text!({"VpcId": "$VpcId"})),
        ("ec2", "CreateSecurityGroup", json_text!({"VpcId": "$VpcId", "GroupName": "web", "Description": "web"})),
        ("iam", "CreateRole", json_text!({"RoleName": "web", "AssumeRolePolicyDocument": trust})),
        ("iam", "CreatePolicy", json_text!({"PolicyName": "web", "PolicyDocument": policy})),
        ("ecs", "CreateCluster", json_text!({})),
        ("ecs", "CreateCluster", json_text!({"clusterName": "web"})),
        ("ecs", "RegisterTaskDefinition", json_text!({"family": "web", "containerDefinitions": [container]})),
        ("elbv2", "CreateLoadBalancer", json_text!({"Name": "web", "Subnets": ["$$SubnetId", "$SubnetId"]})),
        ("elbv2", "CreateTargetGroup", json_text!({"Name": "web", "Protocol": "HTTP", "Port": 80, "VpcId": "$VpcId"})),
        (
            "elbv2",
            "CreateListener",
            json_text!({"LoadBalancerArn": "$LoadBalancerArn", "Protocol": "HTTP", "Port": 80, "DefaultActions": forward}),
        ),
        (
            "elbv2",
            "CreateRule",
            json_text!({
                "ListenerArn": "$ListenerArn", "Priority": 1, "Actions": forward,
                "Conditions": [{"Field": "path-pattern", "Values": ["/a"]}],
            }),
        ),
        ("ecs", "CreateService", json_text!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1})),
        ("ecr", "CreateRepository", json_text!({"repositoryName": "web"})),
        ("logs", "CreateLogGroup", json_text!({"logGroupName": "web"})),
        ("logs", "CreateLogStream", json_text!({"logGroupName": "web", "logStreamName": "web"})),
        ("ssm", "PutParameter", json_text!({"Name": "web", "Value": "v", "Type": "String"})),
        ("secretsmanager", "CreateSecret", json_text!({"Name": "web", "SecretString": "s"})),
        ("servicediscovery", "CreateHttpNamespace", json_text!({"Name": "web"})),
        ("cloudformation", "CreateStack", json_text!({"StackName": "web", "TemplateBody": template})),
    ]
}

/// Everything that is stored, also outside the database.
fn digest_of(world: &World) -> u64 {
    let mut hash = DefaultHasher::new();
    let stored: Result<(), crate::store::StoreError> = world.platform.store.read(|tx| {
        for query in [
            "SELECT seq || kind || key || parent || body FROM item ORDER BY seq",
            "SELECT name || value FROM counter ORDER BY name",
            "SELECT seq || stream || at_ms || message FROM log_event ORDER BY seq",
        ] {
            let mut statement = tx.connection().prepare_cached(query)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                hash.write(row.get_ref(0)?.as_bytes().unwrap_or_default());
            }
        }
        Ok(())
    });
    stored.expect("readable");
    for repository in world.catalog.repositories().expect("a catalogue") {
        hash.write(repository.as_bytes());
        for image in world.catalog.images(&repository).expect("a repository") {
            hash.write(format!("{image:?}").as_bytes());
        }
    }
    hash.finish()
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides.max(1)
    }

    /// True once in so many.
    fn once_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len() as u64) as usize]
    }
}

/// What a client knows: texts it was told, by service (`""`: any) and the stem of their member's name.
struct Pool {
    texts: HashMap<(&'static str, String), Vec<String>>,
    /// All of each member in the order they came, by its whole name.
    all: HashMap<String, Vec<String>>,
}

impl Pool {
    fn new() -> Self {
        let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        let template = r#"{"Resources":{"C":{"Type":"AWS::ECS::Cluster"}},"Outputs":{"O":{"Value":{"Ref":"C"}}}}"#;
        let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
        let known: &[(&str, &[&str])] = &[
            ("assumerolepolicydocument", &[trust]),
            ("policydocument", &[policy]),
            ("policytext", &[policy]),
            ("stackpolicybody", &[policy]),
            ("templatebody", &[template]),
            ("imagemanifest", &[manifest]),
            ("cidrblock", &["10.0.0.0/16", "10.0.1.0/24", "10.0.2.0/24"]),
            ("cidrip", &["0.0.0.0/0"]),
            ("destinationcidrblock", &["0.0.0.0/0", "10.9.0.0/16"]),
            ("protocol", &["HTTP", "tcp"]),
            ("ipprotocol", &["tcp", "-1"]),
            ("availabilityzone", &["us-east-1a", "us-east-1b"]),
            ("image", &["nginx", "busybox:latest"]),
            ("imag", &["ami-12345678"]),
            ("instancetype", &["t3.micro"]),
            ("path", &["/"]),
            ("key", &["Name", "k"]),
            ("field", &["path-pattern", "host-header"]),
            ("family", &["web", "api"]),
            ("capabilit", &["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]),
            ("servicenamespace", &["ecs"]),
            ("resource", &["service/web/web"]),
            ("scalabledimension", &["ecs:service:DesiredCount"]),
        ];
        let owned = |(stem, texts): &(&str, &[&str])| {
            (("", (*stem).to_owned()), texts.iter().map(|t| (*t).to_owned()).collect())
        };
        Pool { texts: known.iter().map(owned).collect(), all: HashMap::new() }
    }

    fn of(&self, service: &'static str, name: &str) -> &[String] {
        let texts = [service, ""].into_iter().find_map(|service| self.texts.get(&(service, stem(name))));
        texts.map_or(&[], Vec::as_slice)
    }

    /// The input with its `$Name`s replaced.
    fn filled(&self, input: &Value) -> Value {
        match input {
            Value::String(text) => {
                let name = text.trim_start_matches('$');
                let back = text.len() - name.len();
                let learned = self.all.get(name).filter(|_| back > 0);
                learned.map_or_else(|| input.clone(), |all| all[all.len() - back].clone().into())
            }
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(members) => {
                members.iter().map(|(name, member)| (name.clone(), self.filled(member))).collect()
            }
            other => other.clone(),
        }
    }

    fn learn(&mut self, protocol: Protocol, service: &'static ServiceModel, model: &OperationModel, body: &[u8]) {
        let mut output = (model.new_output)();
        if client::read(protocol, model, output.as_mut(), body).is_err() {
            panic!("{} {}: an answer nobody can read: {}", service.id, model.name, String::from_utf8_lossy(body));
        }
        self.remember(service.id, "", &json::to_value(output.as_ref()));
    }

    fn remember(&mut self, service: &'static str, name: &str, value: &Value) {
        match value {
            Value::String(text) if text.len() < 2000 && !text.starts_with('$') => {
                let all = self.all.entry(name.to_owned()).or_default();
                if all.last() != Some(text) {
                    all.push(text.clone());
                }
                let stems = [Some(stem(name)), text.starts_with("arn:").then(|| stem("resourceArn"))];
                for (service, stem) in
                    stems.into_iter().flatten().flat_map(|stem| [(service, stem.clone()), ("", stem)])
                {
                    let texts = self.texts.entry((service, stem)).or_default();
                    if !texts.contains(text) {
                        // The oldest stay: most calls are about them.
                        if texts.len() >= POOL {
                            texts.remove(POOL / 2);
                        }
                        texts.push(text.clone());
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.remember(service, name, item)),
            Value::Object(members) => members.iter().for_each(|(name, member)| self.remember(service, name, member)),
            _ => {}
        }
    }
}

/// What names of the same thing have in common: `clusterArn`, `cluster`, `ClusterName`.
fn stem(name: &str) -> String {
    let mut stem = name.to_ascii_lowercase();
    for ending in ["s", "identifier", "arn", "name", "id", "e"] {
        if let Some(shorter) = stem.strip_suffix(ending).filter(|shorter| shorter.len() > 2) {
            stem = shorter.to_owned();
        }
    }
    stem
}

/// A request as it goes over the wire.
struct Sent {
    protocol: Protocol,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Not what any client would send.
    broken: bool,
}

impl Sent {
    fn draw(dice: &mut Dice, pool: &Pool, service: &ServiceModel, model: &OperationModel) -> Self {
        // Half of them as right as can be.
        let wild = dice.once_in(2);
        let known = Known { pool, service: service.id, wild };
        let mut value = Value::Object(structure(dice, &known, model.input, 0));
        let protocol = *dice.pick(service.protocols);
        let mut sent = Self::of(protocol, service, model, &value);
        sent.broken = wild && dice.once_in(3);
        if sent.broken {
            if protocol == Protocol::Json {
                break_one(dice, &mut value);
                sent.body = value.to_string().into_bytes();
            } else {
                let at = dice.roll(sent.body.len() as u64) as usize;
                let junk = *dice.pick::<&[u8]>(&[b"=", b".1", b"&", b"%2", b"member.", b"%F0", b"\xff", b""]);
                sent.body.splice(at..(at + 1).min(sent.body.len()), junk.iter().copied());
            }
        }
        sent
    }

    /// As a good client sends it.
    fn of(protocol: Protocol, service: &ServiceModel, model: &OperationModel, value: &Value) -> Self {
        let mut input = (model.new_input)();
        // What is too large for its type stays as far as it was read.
        let _ = json::read(input.as_mut(), value);
        let request = client::request(protocol, service, model, input.as_ref());
        Sent { protocol, path: request.path, headers: request.headers, body: request.body, broken: false }
    }

    fn head(&self) -> http::request::Parts {
        let mut request = Request::builder().method(Method::POST).uri(&self.path).header("host", "localhost");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(()).expect("a request").into_parts().0
    }
}

/// What a drawn value may come from.
struct Known<'a> {
    pool: &'a Pool,
    service: &'static str,
    /// Also values that no good client would send.
    wild: bool,
}

fn structure(dice: &mut Dice, known: &Known<'_>, schema: &Schema, depth: usize) -> Map<String, Value> {
    let mut out = Map::new();
    for member in schema.members {
        let present = match (member.required, known.wild) {
            (true, false) => true,
            (true, true) => !dice.once_in(12),
            (false, false) => depth < 4 && dice.once_in(8),
            (false, true) => depth < 4 && dice.once_in(3),
        };
        // What most requests leave at its default.
        let rare = ["DryRun", "NextToken", "nextToken", "Marker"].contains(&member.name);
        if present && (!rare || dice.once_in(8)) {
            out.insert(member.name.to_owned(), value(dice, known, member.name, member.ty, depth + 1));
        }
    }
    out
}

fn value(dice: &mut Dice, known: &Known<'_>, name: &str, ty: &Type, depth: usize) -> Value {
    let (min, max) = (ty.min.unwrap_or(0), ty.max.unwrap_or(i64::from(i32::MAX)));
    match &ty.kind {
        Kind::Boolean => json_text!(dice.once_in(2)),
        Kind::Integer | Kind::Long => match dice.roll(if known.wild { 10 } else { 6 }) {
            0 => json_text!(min),
            1 => json_text!(min.saturating_add(dice.roll(100) as i64).min(max)),
            6 => json_text!(max),
            7 => json_text!(-1),
            8 => json_text!(i32::MIN),
            9 => json_text!(i32::MAX),
            _ => json_text!((*dice.pick(&[1, 2, 5, 80, 256, 512, 3000])).clamp(min, max)),
        },
        Kind::Double => json_text!(*dice.pick(&[0.0, 1.0, 50.5, -1.0, 1e300])),
        Kind::Timestamp => json_text!(*dice.pick(&[0i64, 1_700_000_000, 1_699_999_000, 253_402_300_799])),
        Kind::Blob => json_text!(*dice.pick(&["", "e30=", "AAEC"])),
        Kind::Document => json_text!({ "a": 1 }),
        Kind::String => Value::String(text(dice, known, name, ty)),
        Kind::List(element) => {
            let length = match dice.roll(if known.wild { 12 } else { 6 }) {
                0 => ty.min.unwrap_or(0).clamp(0, 3) as u64,
                1 => 2,
                11 => 30,
                _ => 1,
            };
            (0..length).map(|_| value(dice, known, name, element.ty, depth + 1)).collect()
        }
        Kind::Map(key, element) => {
            let mut out = Map::new();
            for _ in 0..dice.roll(3) {
                let name = text(dice, known, "key", key.ty);
                out.insert(name.clone(), value(dice, known, &name, element.ty, depth + 1));
            }
            Value::Object(out)
        }
        Kind::Structure(schema) => Value::Object(structure(dice, known, schema, depth)),
    }
}

fn text(dice: &mut Dice, known: &Known<'_>, name: &str, ty: &Type) -> String {
    if known.wild && dice.once_in(5) {
        return match dice.roll(10) {
            0 => String::new(),
            1 => "x".repeat(300),
            2 => "\u{1f980}ü\u{0}".to_owned(),
            3 => "arn:aws:ecs:us-east-1:000000000000:".to_owned(),
            4 => "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/a/b".to_owned(),
            5 => "-1".to_owned(),
            6 => "a/b/c:d".to_owned(),
            7 => "{\"a\":".to_owned(),
            8 => "999999999999999999999".to_owned(),
            _ => "/".to_owned(),
        };
    }
    if !ty.values.is_empty() {
        return (*dice.pick(ty.values)).to_owned();
    }
    let same = known.pool.all.get(name).map_or(&[][..], Vec::as_slice);
    if !same.is_empty() && !dice.once_in(3) {
        // The last ones are the likeliest to be there still.
        return dice.pick(&same[same.len().saturating_sub(4)..]).clone();
    }
    let learned = known.pool.of(known.service, name);
    if !learned.is_empty() && !dice.once_in(if known.wild { 4 } else { 12 }) {
        return dice.pick(learned).clone();
    }
    let fits = |text: &str| {
        let length = text.chars().count() as i64;
        ty.min.is_none_or(|min| length >= min)
            && ty.max.is_none_or(|max| length <= max)
            && ty.pattern.is_none_or(|pattern| pattern.matches(text))
    };
    let fresh = format!("n{}", dice.roll(1000));
    let long = format!("arn:aws:iam::000000000000:role/{fresh}");
    let padded = fresh.repeat((ty.min.unwrap_or(0) as usize / 2).clamp(1, 40));
    let candidates = [fresh.as_str(), "web", "80", "true", "10.0.0.0/16", long.as_str(), padded.as_str(), "/a/", "*"];
    let start = dice.roll(if known.wild { candidates.len() as u64 } else { 2 }) as usize;
    let found = candidates.iter().cycle().skip(start).take(candidates.len()).find(|text| fits(text));
    (*found.unwrap_or(&"web")).to_owned()
}

/// Puts a value of another kind somewhere.
fn break_one(dice: &mut Dice, value: &mut Value) {
    let odd = [
        json_text!(null),
        json_text!(1.5),
        json_text!("text"),
        json_text!([]),
        json_text!({}),
        json_text!([null]),
        json_text!(true),
    ];
    let inner = match value {
        Value::Object(members) if !members.is_empty() && !dice.once_in(6) => {
            let at = dice.roll(members.len() as u64) as usize;
            members.values_mut().nth(at)
        }
        Value::Array(items) if !items.is_empty() && !dice.once_in(6) => {
            let at = dice.roll(items.len() as u64) as usize;
            items.get_mut(at)
        }
        _ => None,
    };
    match inner {
        Some(inner) => break_one(dice, inner),
        None => *value = dice.pick(&odd).clone(),
    }
}
