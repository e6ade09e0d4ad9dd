//! Documents in and out: PutTraceSegments, BatchGetTraces, PutTelemetryRecords.

use super::invalid;
use crate::api::{Ctx, Result};
use quarry_aws::xray::{
    BatchGetTracesRequest, BatchGetTracesResult, PutTelemetryRecordsRequest, PutTelemetryRecordsResult,
    PutTraceSegmentsRequest, PutTraceSegmentsResult, Segment as ShownSegment, Trace as ShownTrace,
    UnprocessedTraceSegment,
};
use quarry_domain::trace::Segment;

/// Traces that one call may ask for.
const MAX_IDS: usize = 5;

pub fn put(ctx: &mut Ctx<'_>, input: PutTraceSegmentsRequest) -> Result<PutTraceSegmentsResult> {
    let mut taken = Vec::new();
    let mut refused = Vec::new();
    for document in input.trace_segment_documents.unwrap_or_default() {
        match Segment::parse(&document) {
            Ok(segment) => taken.push((segment, document)),
            Err(invalid) => refused.push(UnprocessedTraceSegment {
                message: Some(invalid.to_string()),
                error_code: Some(invalid.code.to_owned()),
                id: invalid.id,
            }),
        }
    }
    ctx.platform.traces.put(ctx.platform.now_ms(), &taken)?;
    Ok(PutTraceSegmentsResult { unprocessed_trace_segments: Some(refused) })
}

pub fn batch_get(ctx: &mut Ctx<'_>, input: BatchGetTracesRequest) -> Result<BatchGetTracesResult> {
    let ids = input.trace_ids.unwrap_or_default();
    if ids.len() > MAX_IDS {
        return Err(invalid(format!("At most {MAX_IDS} trace IDs may be given.")));
    }
    if input.next_token.is_some_and(|token| !token.is_empty()) {
        return Err(invalid("Invalid NextToken."));
    }
    let found = ctx.platform.traces.get(ctx.platform.now_ms(), &ids)?;
    let missing = ids.into_iter().filter(|id| !found.iter().any(|trace| trace.id == *id)).collect();
    let show = |stored: super::store::Stored| {
        let (start, end) = stored.read().extent();
        let segment = |document: String| ShownSegment {
            id: Segment::parse(&document).ok().map(|segment| segment.id),
            document: Some(document),
        };
        ShownTrace {
            id: Some(stored.id),
            duration: Some(end - start),
            limit_exceeded: Some(stored.limit_exceeded),
            segments: Some(stored.documents.into_iter().map(segment).collect()),
        }
    };
    Ok(BatchGetTracesResult {
        traces: Some(found.into_iter().map(show).collect()),
        unprocessed_trace_ids: Some(missing),
        next_token: None,
    })
}

/// X-Ray has no operation that shows these again; what a daemon has lost is said in the log.
pub fn telemetry(_: &mut Ctx<'_>, input: PutTelemetryRecordsRequest) -> Result<PutTelemetryRecordsResult> {
    for record in input.telemetry_records.unwrap_or_default() {
        let (rejected, spilled) = (record.segments_rejected_count, record.segments_spillover_count);
        if rejected.max(spilled) > Some(0) {
            tracing::warn!(host = input.hostname, rejected, spilled, "an X-Ray daemon has lost segments");
        }
    }
    Ok(PutTelemetryRecordsResult::default())
}
