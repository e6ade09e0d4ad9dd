//! Random shapes survive every codec; random bytes break none.

mod common;

use common::{headers, operation};
use http::{Method, Uri};
use proptest::prelude::*;
use quarry_wire::{Kind, Slot, Structure, Timestamp, Type, Value, cbor, client, form, json, server, sigv4, xml};

/// A small generator (xorshift), so that one seed makes one shape.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn text(&mut self) -> String {
        const CHARS: &[char] =
            &['a', 'Z', '0', ' ', '&', '<', '>', '"', '\'', '=', '+', '%', '.', '\n', '\r', '\t', 'é', '😀', '/', ']'];
        (0..self.roll(9)).map(|_| CHARS[self.roll(CHARS.len() as u64) as usize]).collect()
    }
}

/// Fills random members; at least one where that is possible, as forms cannot say "empty structure".
fn fill_structure(shape: &mut dyn Structure, dice: &mut Dice, depth: usize) {
    let members = shape.schema().members;
    if members.is_empty() {
        return;
    }
    let sure = dice.roll(members.len() as u64) as usize;
    for (i, member) in members.iter().enumerate() {
        if (i == sure || dice.roll(3) == 0) && says_something(member.ty, depth) {
            fill(shape.member_mut(i), member.ty, dice, depth);
        }
    }
}

/// Whether a value of this type, this deep, will hold a scalar.
fn says_something(ty: &Type, depth: usize) -> bool {
    match &ty.kind {
        Kind::List(element) => says_something(element.ty, depth + 1),
        Kind::Map(_, value) => says_something(value.ty, depth + 1),
        Kind::Structure(schema) => {
            depth < 5 && !schema.members.is_empty() && schema.members.iter().all(|m| says_something(m.ty, depth + 1))
        }
        _ => true,
    }
}

fn fill(value: &mut dyn Value, ty: &Type, dice: &mut Dice, depth: usize) {
    match (value.slot(), &ty.kind) {
        (Slot::Boolean(v), _) => *v = dice.roll(2) == 0,
        (Slot::Integer(v), _) => *v = dice.roll(1 << 32) as u32 as i32,
        (Slot::Long(v), _) => *v = dice.roll(u64::MAX) as i64,
        (Slot::Double(v), _) => *v = (dice.roll(1 << 53) as f64 - (1u64 << 52) as f64) / 1024.0,
        (Slot::String(v), _) => *v = dice.text(),
        (Slot::Timestamp(v), _) => *v = Timestamp::from_millis(dice.roll(1 << 44) as i64 - (1 << 43)),
        (Slot::Blob(v), _) => *v = dice.text().into_bytes(),
        (Slot::Document(v), _) => *v = serde_json::json!({ "a": [dice.text(), dice.roll(100)] }),
        (Slot::List(list), Kind::List(element)) => {
            for _ in 0..=dice.roll(3) {
                fill(list.push(), element.ty, dice, depth + 1);
            }
        }
        (Slot::Map(map), Kind::Map(_, element)) => {
            for _ in 0..=dice.roll(3) {
                fill(map.insert(dice.text()), element.ty, dice, depth + 1);
            }
        }
        (Slot::Structure(shape), _) => fill_structure(shape, dice, depth + 1),
        (Slot::List(_) | Slot::Map(_), _) => panic!("a table and its struct disagree"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_shapes_survive_every_codec(seed in 1u64..) {
        let mut dice = Dice(seed);
        for service in quarry_aws::SERVICES {
            for model in service.operations {
                let mut input = (model.new_input)();
                fill_structure(input.as_mut(), &mut dice, 0);
                let wanted = json::to_value(input.as_ref());

                let mut again = (model.new_input)();
                json::read_slice(again.as_mut(), &json::to_vec(input.as_ref())).expect("JSON");
                prop_assert_eq!(&json::to_value(again.as_ref()), &wanted, "{} as JSON", model.name);

                let mut output = (model.new_output)();
                fill_structure(output.as_mut(), &mut dice, 0);
                let wanted_output = json::to_value(output.as_ref());

                for protocol in service.protocols.iter().copied() {
                let request = client::request(protocol, service, model, input.as_ref());
                let pairs: Vec<(&'static str, &str)> = request.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
                let call = common::post_to(&request.path, &pairs, &request.body).expect("a known operation");
                prop_assert!(std::ptr::eq(call.operation, *model));
                prop_assert_eq!(call.protocol, protocol);
                let mut again = (model.new_input)();
                call.read(again.as_mut()).expect("readable");
                prop_assert_eq!(&json::to_value(again.as_ref()), &wanted, "{} as a request", model.name);

                let reply = server::reply(protocol, service, model, output.as_ref(), "r");
                let mut again = (model.new_output)();
                client::read(protocol, model, again.as_mut(), &reply.body).expect("readable");
                prop_assert_eq!(&json::to_value(again.as_ref()), &wanted_output, "{} as an answer", model.name);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_panic_nowhere(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}", pick in any::<u64>()) {
        let service = quarry_aws::SERVICES[(pick % quarry_aws::SERVICES.len() as u64) as usize];
        let model = service.operations[(pick / 16 % service.operations.len() as u64) as usize];
        let target = format!("{}.{}", service.target_prefix, model.name);
        let mut form = format!("Action={}&Version={}&", model.name, service.api_version).into_bytes();
        form.extend(&bytes);
        let json_body = format!("{{\"{}\": {text}", model.input.members.first().map_or("a", |m| m.name));
        let path = format!("/service/{}/operation/{}", service.target_prefix, model.name);
        // A true input, cut short and with bytes of another.
        let mut dice = Dice(pick | 1);
        let mut input = (model.new_input)();
        fill_structure(input.as_mut(), &mut dice, 0);
        let mut cbor_body = cbor::to_vec(input.as_ref());
        for byte in &bytes {
            let at = dice.roll(cbor_body.len() as u64) as usize;
            cbor_body[at] = *byte;
        }
        cbor_body.truncate(1 + dice.roll(4 * cbor_body.len() as u64) as usize);
        let cbor = ("smithy-protocol", "rpc-v2-cbor");
        for (path, given, body) in [
            ("/", vec![("x-amz-target", target.as_str())], bytes.as_slice()),
            ("/", vec![("x-amz-target", target.as_str())], json_body.as_bytes()),
            ("/", vec![("x-amz-target", target.as_str()), ("content-encoding", "gzip")], bytes.as_slice()),
            ("/", vec![], form.as_slice()),
            ("/", vec![], bytes.as_slice()),
            (path.as_str(), vec![cbor], bytes.as_slice()),
            (path.as_str(), vec![cbor], cbor_body.as_slice()),
            (service.path_of(model), vec![], json_body.as_bytes()),
        ] {
            match common::post_to(path, &given, body) {
                Ok(call) => {
                    let mut input = (call.operation.new_input)();
                    let _ = call.read(input.as_mut());
                    let _ = quarry_wire::validate::check(input.as_ref(), call.protocol, call.service, call.operation);
                }
                Err(refusal) => prop_assert!(refusal.reply("r").status >= 400),
            }
        }
        let _ = xml::Node::parse(&text);
        let _ = xml::Node::parse(&format!("<a>{text}</a>"));
        let _ = form::Params::parse(&text);
        let (service, model) = operation("elbv2", "DescribeRules");
        let _ = client::read(service.protocol, model, (model.new_output)().as_mut(), &bytes);
        let _ = client::error(service.protocol, (pick % 600) as u16, &headers(&[]), &bytes);
    }

    #[test]
    fn random_authorization_is_refused_without_panic(tail in "[ -~]{0,120}", query in "[!-~]{0,80}") {
        let plain = headers(&[("host", "h"), ("x-amz-date", "20260131T120000Z")]);
        let mut with = plain.clone();
        let value = format!("AWS4-HMAC-SHA256 Credential={tail}");
        with.insert("authorization", value.parse().expect("printable"));
        for (headers, query) in [(&with, ""), (&plain, query.as_str())] {
            let request = sigv4::Request { method: "POST", path: "/", query, headers, body: b"" };
            let now = Timestamp::from_secs(1_769_860_800);
            let found = sigv4::verify(&request, now, sigv4::Expected::default(), |_| None);
            prop_assert!(found.is_err());
            let _ = sigv4::scope(headers, query);
        }
    }
}

#[test]
fn a_form_of_many_levels_is_refused() {
    let body = format!("Action=DescribeTags&Version=2015-12-01&{}=1", vec!["a"; 100].join("."));
    let uri = Uri::from_static("/");
    let refusal = server::identify(quarry_aws::SERVICES, &Method::POST, &uri, &headers(&[]), body.as_bytes());
    assert_eq!(refusal.expect_err("too deep").error.code, "MalformedQueryString");
}
