//! `DescribeCapacityReservation`: nothing is ever reserved here.

use super::find;
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeCapacityReservationInput, DescribeCapacityReservationOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeCapacityReservationInput) -> Result<DescribeCapacityReservationOutput> {
    find::load_balancer(ctx.tx, input.load_balancer_arn.as_deref())?;
    Ok(DescribeCapacityReservationOutput { capacity_reservation_state: Some(Vec::new()), ..Default::default() })
}
