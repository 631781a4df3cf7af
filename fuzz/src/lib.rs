//! The checks of the project's tests, for libFuzzer.

#[path = "../../tests/checks/mod.rs"]
pub mod checks;
