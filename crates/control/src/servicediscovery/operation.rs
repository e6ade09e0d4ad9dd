//! Operations: what was begun and how far it is.

use super::filter::Filter;
use super::find::{self, invalid, page};
use super::records::{Change, Operation, OperationStatus, OperationType};
use crate::api::{Ctx, Result};
use quarry_aws::servicediscovery as aws;
use quarry_aws::servicediscovery::error;
use quarry_wire::Timestamp;

/// How long a finished operation can be asked for, in milliseconds.
const KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// Stores an operation as SUBMITTED; returns its id.
pub fn begin<const N: usize>(
    ctx: &Ctx<'_>,
    kind: OperationType,
    targets: [(&str, String); N],
    change: Change,
    creator_request_id: Option<String>,
) -> Result<String> {
    let now = ctx.platform.now_ms();
    let id = find::letters(ctx, "", b"abcdefghijklmnopqrstuvwxyz234567", 32);
    ctx.tx.put(&Operation {
        id: id.clone(),
        kind,
        status: OperationStatus::Submitted,
        change: Some(change),
        error: None,
        creator_request_id,
        targets: targets.into_iter().map(|(kind, id)| (kind.to_owned(), id)).collect(),
        created_ms: now,
        updated_ms: now,
    })?;
    Ok(id)
}

/// Lets go of operations that were finished long ago.
pub fn forget_old(ctx: &Ctx<'_>) -> Result<()> {
    let now = ctx.platform.now_ms();
    for operation in ctx.tx.children::<Operation>("finished")? {
        // They are listed in the order of their beginning, and all take about as long.
        if operation.updated_ms + KEPT_MS > now {
            break;
        }
        ctx.tx.delete::<Operation>(&operation.id)?;
    }
    Ok(())
}

pub fn get(ctx: &mut Ctx<'_>, input: aws::GetOperationRequest) -> Result<aws::GetOperationResponse> {
    let id = input.operation_id.unwrap_or_default();
    let found: Option<Operation> = ctx.tx.get(&id)?;
    let operation = found.ok_or_else(|| error::operation_not_found(format!("Operation {id} was not found.")))?;
    let (error_code, error_message) = operation.error.unzip();
    Ok(aws::GetOperationResponse {
        operation: Some(aws::Operation {
            create_date: Some(Timestamp::from_millis(operation.created_ms)),
            error_code,
            error_message,
            id: Some(operation.id),
            owner_account: Some(ctx.platform.place().account.clone()),
            status: Some(operation.status.as_str().to_owned()),
            targets: Some(operation.targets),
            r#type: Some(operation.kind.as_str().to_owned()),
            update_date: Some(Timestamp::from_millis(operation.updated_ms)),
        }),
    })
}

pub fn list(ctx: &mut Ctx<'_>, input: aws::ListOperationsRequest) -> Result<aws::ListOperationsResponse> {
    let mut found: Vec<Operation> = ctx.tx.all()?;
    for filter in input.filters.unwrap_or_default() {
        let filter = Filter::new(filter.name, filter.condition, filter.values);
        filter.check(&[
            ("NAMESPACE_ID", &["EQ"]),
            ("SERVICE_ID", &["EQ"]),
            ("STATUS", &["EQ", "IN"]),
            ("TYPE", &["EQ", "IN"]),
            ("UPDATE_DATE", &["BETWEEN"]),
        ])?;
        let target =
            |operation: &Operation, kind: &str| operation.targets.get(kind).is_some_and(|id| filter.passes(id));
        let between = match filter.condition.as_str() {
            "BETWEEN" => Some((seconds(&filter.values[0])?, seconds(&filter.values[1])?)),
            _ => None,
        };
        found.retain(|operation| match filter.name.as_str() {
            "NAMESPACE_ID" => target(operation, "NAMESPACE"),
            "SERVICE_ID" => target(operation, "SERVICE"),
            // The documentation of the filter calls it SUCCEED, the model SUCCESS.
            "STATUS" => {
                let succeeded = operation.status == OperationStatus::Success && filter.passes("SUCCEED");
                succeeded || filter.passes(operation.status.as_str())
            }
            "TYPE" => filter.passes(operation.kind.as_str()),
            _ => between.is_some_and(|(from, to)| (from..=to).contains(&operation.updated_ms)),
        });
    }
    let (found, next_token) = page(found, |o| o.id.clone(), input.next_token.as_deref(), input.max_results)?;
    let operations = found.into_iter().map(|operation| aws::OperationSummary {
        id: Some(operation.id),
        status: Some(operation.status.as_str().to_owned()),
    });
    Ok(aws::ListOperationsResponse { operations: Some(operations.collect()), next_token })
}

/// Seconds since the Unix epoch, as text, in milliseconds.
fn seconds(text: &str) -> Result<i64> {
    let parsed = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    let parsed = parsed.ok_or_else(|| invalid(format!("'{text}' is not a date in Unix format.")))?;
    Ok((parsed * 1000.0) as i64)
}
