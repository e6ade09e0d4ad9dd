//! LookupEvents.

use super::resources;
use crate::api::{Ctx, Result};
use crate::audit::Position;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quarry_aws::cloudtrail::{Event, LookupAttribute, LookupEventsRequest, LookupEventsResponse, Resource, error};
use quarry_domain::hash::sha256;
use quarry_wire::{ServiceError, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// Events of an answer, where the request does not say how many.
const PAGE: i32 = 50;
/// For how long events are shown, in milliseconds.
const KEPT_MS: i64 = 90 * 24 * 3600 * 1000;

/// What an event must be. Times are in milliseconds and belong to the range.
struct Filter {
    attribute: Option<(Attribute, String)>,
    from_ms: i64,
    to_ms: i64,
    /// What a record's text holds if the attribute is this one.
    needle: Option<String>,
}

/// What events are looked up by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attribute {
    EventId,
    EventName,
    ReadOnly,
    Username,
    ResourceType,
    ResourceName,
    EventSource,
    AccessKeyId,
}

/// Where a listing goes on: behind the event that was shown last.
struct Token {
    position: Position,
    event_id: String,
}

/// The parts of a record that are looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(rename = "eventID")]
    event_id: String,
    event_name: String,
    event_source: String,
    event_time: String,
    read_only: bool,
    user_identity: Identity,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    r#type: String,
    #[serde(default)]
    principal_id: String,
    user_name: Option<String>,
    access_key_id: Option<String>,
}

/// The newest first. There are no Insights events.
pub fn handle(ctx: &mut Ctx<'_>, input: LookupEventsRequest) -> Result<LookupEventsResponse> {
    let filter = Filter::of(&input, ctx.platform.now_ms())?;
    let digest = digest(&input);
    let after = input.next_token.as_deref().map(|token| Token::read(token, &digest)).transpose()?;
    if input.event_category.is_some() {
        return Ok(LookupEventsResponse { events: Some(Vec::new()), next_token: None });
    }
    let size = input.max_results.unwrap_or(PAGE) as usize;
    let mut records = ctx.platform.audit.backwards(after.as_ref().map(|token| token.position)).map_err(unreadable)?;
    if let Some(token) = &after {
        let shown = records.next().transpose().map_err(unreadable)?;
        // The log keeps the newest records only: what came before one that is gone is gone, too.
        if !shown.is_some_and(|(_, text)| String::from_utf8_lossy(&text).contains(&token.event_id)) {
            return Ok(LookupEventsResponse { events: Some(Vec::new()), next_token: None });
        }
    }
    let (mut events, mut last) = (Vec::new(), None);
    for record in records {
        let (position, text) = record.map_err(unreadable)?;
        let Some(event) = filter.event(&text) else { continue };
        if events.len() == size {
            let next_token = last.map(|token: Token| token.text(&digest));
            return Ok(LookupEventsResponse { events: Some(events), next_token });
        }
        last = Some(Token { position, event_id: event.event_id.clone().unwrap_or_default() });
        events.push(event);
    }
    Ok(LookupEventsResponse { events: Some(events), next_token: None })
}

fn unreadable(error: std::io::Error) -> ServiceError {
    ServiceError::new("InternalFailure", format!("the audit log cannot be read: {error}"), 500)
}

impl Filter {
    fn of(input: &LookupEventsRequest, now_ms: i64) -> Result<Self> {
        let attribute = match input.lookup_attributes.as_deref().unwrap_or_default() {
            [] => None,
            [one] => Some(attribute(one)?),
            _ => {
                return Err(error::invalid_lookup_attributes_exception(
                    "A request may have one lookup attribute at most.",
                ));
            }
        };
        let (from, to) = (input.start_time, input.end_time);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(error::invalid_time_range_exception("The start time must not be after the end time."));
        }
        let needle = match &attribute {
            // They are not written in records as they are asked for.
            None | Some((Attribute::ResourceType | Attribute::ReadOnly, _)) => None,
            Some((_, value)) => Some(Value::from(value.as_str()).to_string().trim_matches('"').to_owned()),
        };
        Ok(Self {
            attribute,
            from_ms: from.map_or(i64::MIN, Timestamp::millis).max(now_ms - KEPT_MS),
            to_ms: to.map_or(i64::MAX, Timestamp::millis),
            needle,
        })
    }

    /// The event of a record that is what is looked for.
    fn event(&self, text: &[u8]) -> Option<Event> {
        let text = std::str::from_utf8(text).ok()?;
        if self.needle.as_ref().is_some_and(|needle| !text.contains(needle.as_str())) {
            return None;
        }
        let record: Record = serde_json::from_str(text).ok()?;
        let at = Timestamp::parse(&record.event_time)?;
        if !(self.from_ms..=self.to_ms).contains(&at.millis()) {
            return None;
        }
        let read_only = record.read_only.to_string();
        let username = record.user_identity.username();
        let plain = |attribute| match attribute {
            Attribute::EventId => Some(&record.event_id),
            Attribute::EventName => Some(&record.event_name),
            Attribute::ReadOnly => Some(&read_only),
            Attribute::Username => username.as_ref(),
            Attribute::EventSource => Some(&record.event_source),
            Attribute::AccessKeyId => record.user_identity.access_key_id.as_ref(),
            Attribute::ResourceType | Attribute::ResourceName => None,
        };
        let of_resource = |resource: &Resource, attribute| match attribute {
            Attribute::ResourceType => resource.resource_type.clone(),
            _ => resource.resource_name.clone(),
        };
        let resources = match &self.attribute {
            Some((attribute @ (Attribute::ResourceType | Attribute::ResourceName), value)) => {
                let found = resources::of(&record.event_source, text);
                if !found.iter().any(|resource| of_resource(resource, *attribute).as_ref() == Some(value)) {
                    return None;
                }
                found
            }
            Some((attribute, value)) if plain(*attribute) != Some(value) => return None,
            _ => resources::of(&record.event_source, text),
        };
        Some(Event {
            event_id: Some(record.event_id),
            event_name: Some(record.event_name),
            read_only: Some(read_only),
            access_key_id: record.user_identity.access_key_id,
            event_time: Some(at),
            event_source: Some(record.event_source),
            username,
            resources: Some(resources),
            cloud_trail_event: Some(text.to_owned()),
        })
    }
}

fn attribute(given: &LookupAttribute) -> Result<(Attribute, String)> {
    let key = match given.attribute_key.as_deref() {
        Some("EventId") => Attribute::EventId,
        Some("EventName") => Attribute::EventName,
        Some("ReadOnly") => Attribute::ReadOnly,
        Some("Username") => Attribute::Username,
        Some("ResourceType") => Attribute::ResourceType,
        Some("ResourceName") => Attribute::ResourceName,
        Some("EventSource") => Attribute::EventSource,
        Some("AccessKeyId") => Attribute::AccessKeyId,
        other => {
            let message = format!("{} is no lookup attribute.", other.unwrap_or("null"));
            return Err(error::invalid_lookup_attributes_exception(message));
        }
    };
    let value = given.attribute_value.clone().unwrap_or_default();
    if key == Attribute::ReadOnly && value != "true" && value != "false" {
        return Err(error::invalid_lookup_attributes_exception("The value of ReadOnly must be true or false."));
    }
    Ok((key, value))
}

impl Identity {
    /// `root`, a user's name, or the name of a role's session.
    fn username(&self) -> Option<String> {
        match self.r#type.as_str() {
            "Root" => Some("root".to_owned()),
            "AssumedRole" => self.principal_id.split_once(':').map(|(_, session)| session.to_owned()),
            _ => self.user_name.clone(),
        }
    }
}

impl Token {
    fn text(&self, digest: &str) -> String {
        let Position { inode, end } = self.position;
        URL_SAFE_NO_PAD.encode(format!("{digest}/{inode}/{end}/{}", self.event_id))
    }

    fn read(text: &str, digest: &str) -> Result<Self> {
        let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let read = || {
            let decoded = decoded?;
            let mut parts = decoded.splitn(4, '/');
            let same = parts.next()? == digest;
            let position = Position { inode: parts.next()?.parse().ok()?, end: parts.next()?.parse().ok()? };
            same.then_some(Self { position, event_id: parts.next()?.to_owned() })
        };
        read().ok_or_else(|| {
            error::invalid_next_token_exception("The token is not valid, or is of a request with other parameters.")
        })
    }
}

/// Of what a listing is of: the next page is asked for with the same.
fn digest(input: &LookupEventsRequest) -> String {
    let attributes = input.lookup_attributes.iter().flatten();
    let attributes: Vec<_> = attributes.map(|one| (&one.attribute_key, &one.attribute_value)).collect();
    let asked = format!("{attributes:?} {:?} {:?} {:?}", input.start_time, input.end_time, input.event_category);
    sha256(asked.as_bytes())[..16].to_owned()
}
