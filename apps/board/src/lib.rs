//! A message board: users, threads and posts.
//!
//! The same code is a monolith (`board-api`: the three features in one process over one database)
//! and three services (`board-users`, `board-threads`, `board-posts`), each with one feature, its
//! own storage and nothing else; `board-web` is the page. [`links`] holds the rules between
//! features, [`http::Resource`] what the features have in common.

pub mod app;
pub mod config;
pub mod cut;
pub mod db;
pub mod http;
pub mod import;
pub mod links;
pub mod posts;
pub mod run;
pub mod telemetry;
pub mod threads;
pub mod users;
pub mod web;
