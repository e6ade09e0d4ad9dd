//! DescribeStackEvents: newest first.

use super::intake;
use super::records::Event;
use super::world::refused;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{DescribeStackEventsInput, DescribeStackEventsOutput, StackEvent};
use quarry_wire::Timestamp;

const PAGE: usize = 100;

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeStackEventsInput) -> Result<DescribeStackEventsOutput> {
    let name = input.stack_name.unwrap_or_default();
    let stack = intake::find(ctx, &name)?.ok_or_else(|| refused(format!("Stack [{name}] does not exist")))?;
    let events = ctx.tx.children::<Event>(&stack.id)?;
    // Counted from the oldest, so that events that come in between move no page.
    let end = match input.next_token.as_deref() {
        None => events.len(),
        Some(token) => token.parse::<usize>().map_err(|_| refused("Invalid NextToken"))?.min(events.len()),
    };
    let start = end.saturating_sub(PAGE);
    let shown = events[start..end].iter().rev().map(show).collect();
    Ok(DescribeStackEventsOutput { stack_events: Some(shown), next_token: (start > 0).then(|| start.to_string()) })
}

fn show(event: &Event) -> StackEvent {
    StackEvent {
        stack_id: Some(event.stack_id.clone()),
        event_id: Some(event.id.clone()),
        stack_name: Some(event.stack_name.clone()),
        logical_resource_id: Some(event.logical_id.clone()),
        physical_resource_id: Some(event.physical_id.clone()),
        resource_type: Some(event.type_name.clone()),
        timestamp: Some(Timestamp::from_millis(event.at_ms)),
        resource_status: Some(event.status.clone()),
        resource_status_reason: event.reason.clone(),
        resource_properties: event.properties.clone(),
        client_request_token: event.token.clone(),
        ..Default::default()
    }
}
