//! A local Microsoft Graph for entitlement management.
