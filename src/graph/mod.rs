//! The wire contract of Microsoft Graph, as functions of values: no I/O lives here.

pub mod action;
pub mod batch;
pub mod challenge;
pub mod cloud;
pub mod content;
pub mod endpoint;
pub mod error;
pub(crate) mod json;
pub mod listing;
pub mod retry_after;
