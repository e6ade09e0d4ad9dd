//! The three services on loopback: the gateway answers with what the two behind it hold.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use shop::peer::Peer;
use tokio::net::TcpListener;

async fn start(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn peer(address: SocketAddr) -> Peer {
    Peer::parse(&format!("http://{address}")).expect("a base URL")
}

async fn shop() -> Peer {
    let users = start(shop::user::router().expect("no settings")).await;
    let orders = start(shop::order::router().expect("no settings")).await;
    peer(start(shop::gateway::routes(peer(users), peer(orders))).await)
}

async fn get(gateway: &Peer, path: &str) -> (StatusCode, Value) {
    let answer = gateway.get(path, &HeaderMap::new()).await.expect("an answer");
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn the_gateway_passes_on_and_puts_together() {
    let gateway = shop().await;
    let (status, users) = get(&gateway, "/users").await;
    assert_eq!((status, users.as_array().map(Vec::len)), (StatusCode::OK, Some(shop::user::USERS.len())));
    assert_eq!(get(&gateway, "/orders?user=4").await.1[0]["item"], "rucksack");
    assert_eq!(get(&gateway, "/orders/5").await.1["price"], 480);
    let (status, customer) = get(&gateway, "/customers/2").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(customer["user"], json!({"id": 2, "name": "Ben Okoro", "city": "Lagos"}));
    let items: Vec<&str> = customer["orders"].as_array().unwrap().iter().filter_map(|o| o["item"].as_str()).collect();
    assert_eq!(items, ["lamp", "notebook"]);
}

#[tokio::test]
async fn what_is_not_there_and_who_does_not_answer_is_said() {
    let gateway = shop().await;
    let (status, problem) = get(&gateway, "/users/9").await;
    assert_eq!((status, &problem["detail"]), (StatusCode::NOT_FOUND, &json!("There is no user 9.")));
    assert_eq!(get(&gateway, "/customers/9").await.0, StatusCode::NOT_FOUND);

    let users = start(shop::user::router().expect("no settings")).await;
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let closed = nobody.local_addr().expect("bound");
    drop(nobody);
    let gateway = peer(start(shop::gateway::routes(peer(users), peer(closed))).await);
    assert_eq!(get(&gateway, "/users/1").await.0, StatusCode::OK);
    let (status, problem) = get(&gateway, "/customers/1").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(problem["detail"].as_str().unwrap().contains("no task of 127.0.0.1 takes a connection"), "{problem}");
}
