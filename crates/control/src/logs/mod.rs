//! Amazon CloudWatch Logs: groups, streams and events, the follower that delivers the output of
//! containers with log driver `awslogs`, metric filters and Live Tail.

mod create_log_group;
mod create_log_stream;
mod delete_log_group;
mod delete_log_stream;
mod delete_metric_filter;
mod delete_retention_policy;
mod describe_log_groups;
mod describe_log_streams;
mod describe_metric_filters;
mod events;
mod filter_log_events;
mod find;
pub mod follow;
mod get_log_events;
mod list_tags_for_resource;
mod list_tags_log_group;
pub mod live_tail;
pub mod metric_filters;
mod put_log_events;
mod put_metric_filter;
mod put_retention_policy;
pub mod records;
mod start_live_tail;
mod tag_log_group;
mod tag_resource;
mod tags;
mod test_metric_filter;
mod untag_log_group;
mod untag_resource;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use quarry_aws::logs::op;

/// Serves the operations of CloudWatch Logs.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::CreateLogGroup>(create_log_group::handle);
    operations.serve::<op::CreateLogStream>(create_log_stream::handle);
    operations.serve::<op::DeleteLogGroup>(delete_log_group::handle);
    operations.serve::<op::DeleteLogStream>(delete_log_stream::handle);
    operations.serve::<op::DeleteMetricFilter>(delete_metric_filter::handle);
    operations.serve::<op::DeleteRetentionPolicy>(delete_retention_policy::handle);
    operations.serve::<op::DescribeLogGroups>(describe_log_groups::handle);
    operations.serve::<op::DescribeLogStreams>(describe_log_streams::handle);
    operations.serve::<op::DescribeMetricFilters>(describe_metric_filters::handle);
    operations.serve::<op::FilterLogEvents>(filter_log_events::handle);
    operations.serve::<op::GetLogEvents>(get_log_events::handle);
    operations.serve::<op::ListTagsForResource>(list_tags_for_resource::handle);
    operations.serve::<op::ListTagsLogGroup>(list_tags_log_group::handle);
    operations.serve::<op::PutLogEvents>(put_log_events::handle);
    operations.serve::<op::PutMetricFilter>(put_metric_filter::handle);
    operations.serve::<op::PutRetentionPolicy>(put_retention_policy::handle);
    operations.serve::<op::StartLiveTail>(start_live_tail::handle);
    operations.serve::<op::TagLogGroup>(tag_log_group::handle);
    operations.serve::<op::TagResource>(tag_resource::handle);
    operations.serve::<op::TestMetricFilter>(test_metric_filter::handle);
    operations.serve::<op::UntagLogGroup>(untag_log_group::handle);
    operations.serve::<op::UntagResource>(untag_resource::handle);
}
