//! Reprocess Microsoft Entra access package assignments through Microsoft Graph, one or a million.

#[cfg(feature = "emulator")]
pub mod emulator;
