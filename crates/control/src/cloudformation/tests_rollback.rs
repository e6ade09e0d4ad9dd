//! Updates that fail.
