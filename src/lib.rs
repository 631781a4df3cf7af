//! Reprocess Microsoft Entra access package assignments through Microsoft Graph, one or a million.
//!
//! Layers point one way: `python` → [`client`] and [`run`] → [`graph`], [`transport`], [`token`], [`landing`], [`gate`], [`pace`], [`retry`],
//! [`log`], [`echo`].
//! [`graph`], [`pace`], [`retry`] and [`echo`] are functions of values; [`transport`] does the I/O. The `emulator` stands apart
//! and shares no type with the rest, or both would agree on the same mistake.

pub mod assignment;
pub mod client;
pub mod echo;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod gate;
pub mod graph;
pub mod landing;
pub mod log;
pub mod outcome;
pub mod pace;
#[cfg(feature = "python")]
mod python;
pub mod retry;
pub mod run;
pub mod text;
pub mod token;
pub mod transport;
