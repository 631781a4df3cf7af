//! A local Microsoft Graph for entitlement management: reprocess, `$batch` and lists over real HTTP or HTTPS
//! on 127.0.0.1.
//!
//! It is written from the published contract and from public logs, and shares nothing with the client of this
//! crate, so that the two cannot agree on the same mistake. What is not documented by Microsoft is a field of
//! [`Settings`].

mod assertion;
mod assignments;
mod batch;
mod connections;
mod counters;
mod entity;
mod filter;
mod http;
mod jwt;
mod login;
mod options;
mod people;
mod quota;
mod read;
mod reply;
mod route;
mod seed;
mod server;
mod service;
mod settings;
mod throttle;
mod tls;
mod tokens;
mod wall_clock;

pub use counters::Counters;
pub use server::Emulator;
pub use settings::{
    AfterReprocess, AssignmentState, Latency, Quota, QuotaModel, Refusal, RetryAfter, Settings,
};
pub use tokens::SignIn;
