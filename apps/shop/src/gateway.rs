//! The gateway: the one service that customers reach. It passes `/users…` and `/orders…` on to the two
//! services, and puts both together in `/customers/{id}`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, HeaderName, header};
use serde_json::{Value, json};

use crate::answer::Problem;
use crate::peer::{Answer, Peer, PeerError};

struct Peers {
    users: Peer,
    orders: Peer,
}

/// Reads `USERS_URL` and `ORDERS_URL`.
pub fn router() -> Result<Router, String> {
    let peer = |name: &str| {
        let url =
            std::env::var(name).map_err(|_| format!("{name} is not set; an example is http://users.shop:8080"))?;
        Peer::parse(&url).map_err(|wrong| format!("{name}: {wrong}"))
    };
    Ok(routes(peer("USERS_URL")?, peer("ORDERS_URL")?))
}

/// The same with peers that are known.
pub fn routes(users: Peer, orders: Peer) -> Router {
    Router::new()
        .route("/", get(|| async { "The shop is open: /users, /orders, /customers/{id}\n" }))
        .route("/users", get(to_users))
        .route("/users/{id}", get(to_users))
        .route("/orders", get(to_orders))
        .route("/orders/{id}", get(to_orders))
        .route("/customers/{id}", get(customer))
        .with_state(Arc::new(Peers { users, orders }))
}

async fn to_users(State(peers): State<Arc<Peers>>, uri: OriginalUri, headers: HeaderMap) -> Result<Response, Problem> {
    pass(&peers.users, &uri, &headers).await
}

async fn to_orders(State(peers): State<Arc<Peers>>, uri: OriginalUri, headers: HeaderMap) -> Result<Response, Problem> {
    pass(&peers.orders, &uri, &headers).await
}

/// The service's own answer, with the name of the task that gave it.
async fn pass(peer: &Peer, uri: &OriginalUri, headers: &HeaderMap) -> Result<Response, Problem> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let answer = peer.get(path, headers).await?;
    let mut response = (answer.status, Body::from(answer.body)).into_response();
    for name in [header::CONTENT_TYPE, HeaderName::from_static("x-served-by")] {
        if let Some(value) = answer.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}

/// A user with their orders: both services are asked at the same time.
async fn customer(
    State(peers): State<Arc<Peers>>,
    Path(id): Path<u32>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let (user_path, orders_path) = (format!("/users/{id}"), format!("/orders?user={id}"));
    let (user, orders) = tokio::join!(peers.users.get(&user_path, &headers), peers.orders.get(&orders_path, &headers));
    let user = user?;
    if user.status == http::StatusCode::NOT_FOUND {
        return Err(Problem::not_found(format!("There is no customer {id}.")));
    }
    Ok(Json(json!({"user": document("users", &user)?, "orders": document("orders", &orders?)?})))
}

fn document(name: &str, answer: &Answer) -> Result<Value, Problem> {
    if !answer.status.is_success() {
        return Err(Problem::bad_gateway(format!("The service {name} answered {}.", answer.status)));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| Problem::bad_gateway(format!("The service {name} did not answer with JSON: {error}.")))
}

impl From<PeerError> for Problem {
    fn from(error: PeerError) -> Self {
        Self::bad_gateway(error.to_string())
    }
}
