//! The order service: what was bought.

use axum::extract::{Path, Query};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::answer::Problem;

/// Something bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Unique, from 1.
    pub id: u32,
    /// The user who bought.
    pub user: u32,
    /// What.
    pub item: &'static str,
    /// In cents.
    pub price: u32,
}

/// All there are.
pub const ORDERS: &[Order] = &[
    Order { id: 1, user: 1, item: "kettle", price: 3_490 },
    Order { id: 2, user: 2, item: "lamp", price: 5_900 },
    Order { id: 3, user: 1, item: "bread knife", price: 2_150 },
    Order { id: 4, user: 4, item: "rucksack", price: 8_900 },
    Order { id: 5, user: 2, item: "notebook", price: 480 },
];

#[derive(Deserialize)]
struct Filter {
    user: Option<u32>,
}

/// `/orders`, also with `?user=`, and `/orders/{id}`.
pub fn router() -> Result<Router, String> {
    Ok(Router::new().route("/orders", get(list)).route("/orders/{id}", get(one)))
}

async fn list(Query(filter): Query<Filter>) -> Json<Vec<Order>> {
    let wanted = |order: &&Order| filter.user.is_none_or(|user| order.user == user);
    Json(ORDERS.iter().filter(wanted).copied().collect())
}

async fn one(Path(id): Path<u32>) -> Result<Json<Order>, Problem> {
    let found = ORDERS.iter().find(|order| order.id == id);
    found.copied().map(Json).ok_or_else(|| Problem::not_found(format!("There is no order {id}.")))
}
