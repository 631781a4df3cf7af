//! From method and path to an operation, for both versions of the API.

/// The versions of Graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    Beta,
}

impl Version {
    /// The segment in the path.
    pub(super) fn segment(self) -> &'static str {
        match self {
            Self::V1 => "v1.0",
            Self::Beta => "beta",
        }
    }

    /// The collection of assignments; each version has its own name, which the other does not serve.
    pub(super) fn assignments(self) -> &'static str {
        match self {
            Self::V1 => "assignments",
            Self::Beta => "accessPackageAssignments",
        }
    }
}

/// The collections that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collection {
    Assignments,
    Packages,
}

/// An operation that the emulator has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation<'a> {
    Reprocess { id: &'a str },
    ReprocessRequest { id: &'a str, assignment: Option<&'a str> },
    List(Collection),
    Count(Collection),
    Get(Collection, &'a str),
}

impl Operation<'_> {
    /// Whether it counts against the write quota.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Reprocess { .. } | Self::ReprocessRequest { .. })
    }
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Astray<'a> {
    /// The gateway knows no such segment: 400 (observed: microsoftgraph/msgraph-sdk-javascript#1178).
    Segment(&'a str),
    /// The backend has no such resource: 404 with an empty code (observed in public logs of 2026-08).
    Resource,
}

/// Splits `/beta/...` into the version and the path behind it; None for any other start.
pub(super) fn version(path: &str) -> Option<(Version, &str)> {
    let path = path.strip_prefix('/')?;
    let (segment, rest) = path.split_once('/').unwrap_or((path, ""));
    match segment {
        "v1.0" => Some((Version::V1, rest)),
        "beta" => Some((Version::Beta, rest)),
        _ => None,
    }
}

/// Finds the operation; `path` has neither version nor query, its leading slash may be missing.
pub(super) fn operation<'a>(
    version: Version,
    method: &str,
    path: &'a str,
) -> Result<Operation<'a>, Astray<'a>> {
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
    for known in ["identityGovernance", "entitlementManagement"] {
        match segments.next() {
            Some(segment) if segment == known => {}
            Some(segment) if !segment.is_empty() => return Err(Astray::Segment(segment)),
            _ => return Err(Astray::Resource),
        }
    }
    let rest: Vec<_> = segments.collect();
    if rest.iter().any(|segment| segment.is_empty()) {
        return Err(Astray::Resource);
    }
    let assignments = version.assignments();
    // Beta publishes the newer name of the request collection too.
    let is_requests = |name: &str| {
        name == "assignmentRequests" || version == Version::Beta && name == "accessPackageAssignmentRequests"
    };
    let collection = |name: &str| match name {
        "accessPackages" => Some(Collection::Packages),
        name if name == assignments => Some(Collection::Assignments),
        _ => None,
    };
    let found = match (method, rest.as_slice()) {
        ("POST", [name, id, action]) if is_reprocess(action) => {
            if *name == assignments {
                Some(Operation::Reprocess { id })
            } else {
                is_requests(name).then_some(Operation::ReprocessRequest { id, assignment: None })
            }
        }
        ("POST", [name, assignment, "accessPackageAssignmentRequests", id, action])
            if version == Version::Beta && *name == assignments && is_reprocess(action) =>
        {
            Some(Operation::ReprocessRequest { id, assignment: Some(assignment) })
        }
        ("GET", [name]) => collection(name).map(Operation::List),
        ("GET", [name, "$count"]) => collection(name).map(Operation::Count),
        ("GET", [name, id]) => collection(name).map(|collection| Operation::Get(collection, id)),
        _ => None,
    };
    found.ok_or(Astray::Resource)
}

/// The published OpenAPI has the namespace-qualified name, SDKs and pages the short one.
fn is_reprocess(action: &str) -> bool {
    matches!(action, "reprocess" | "microsoft.graph.reprocess")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Version::{Beta, V1};

    #[test]
    fn versions_are_split_off() {
        assert_eq!(version("/v1.0/$batch"), Some((V1, "$batch")));
        assert_eq!(version("/beta/a/b"), Some((Beta, "a/b")));
        for path in ["", "/", "/v2.0/$batch", "/$batch", "v1.0/$batch", "/V1.0x"] {
            assert_eq!(version(path), None, "{path}");
        }
    }

    #[test]
    fn operations_are_found() {
        let request = |assignment| Operation::ReprocessRequest { id: "q", assignment };
        for (version, method, path, expected) in [
            (V1, "POST", "/assignments/x/reprocess", Operation::Reprocess { id: "x" }),
            (Beta, "POST", "/accessPackageAssignments/x/reprocess", Operation::Reprocess { id: "x" }),
            (V1, "POST", "/assignments/x/microsoft.graph.reprocess", Operation::Reprocess { id: "x" }),
            (V1, "POST", "/assignmentRequests/q/reprocess", request(None)),
            (Beta, "POST", "/assignmentRequests/q/reprocess", request(None)),
            (Beta, "POST", "/accessPackageAssignmentRequests/q/reprocess", request(None)),
            (
                Beta,
                "POST",
                "/accessPackageAssignments/x/accessPackageAssignmentRequests/q/reprocess",
                request(Some("x")),
            ),
            (V1, "GET", "/assignments", Operation::List(Collection::Assignments)),
            (V1, "GET", "/assignments/$count", Operation::Count(Collection::Assignments)),
            (Beta, "GET", "/accessPackageAssignments/x", Operation::Get(Collection::Assignments, "x")),
            (V1, "GET", "/accessPackages", Operation::List(Collection::Packages)),
            (Beta, "GET", "/accessPackages/p", Operation::Get(Collection::Packages, "p")),
        ] {
            for slash in ["", "/"] {
                let path = format!("{slash}identityGovernance/entitlementManagement{path}");
                assert_eq!(operation(version, method, &path), Ok(expected), "{method} {path}");
            }
        }
    }

    #[test]
    fn wrong_paths_are_told_apart() {
        for (version, method, path, expected) in [
            (V1, "POST", "accessPackageAssignments/x/reprocess", Astray::Resource),
            (Beta, "POST", "assignments/x/reprocess", Astray::Resource),
            (V1, "POST", "accessPackageAssignmentRequests/q/reprocess", Astray::Resource),
            (V1, "GET", "assignments/x/reprocess", Astray::Resource),
            (V1, "PATCH", "assignments/x", Astray::Resource),
            (V1, "POST", "assignments//reprocess", Astray::Resource),
            (V1, "POST", "assignments/x/reprocess/", Astray::Resource),
            (V1, "POST", "Assignments/x/Reprocess", Astray::Resource),
            (V1, "GET", "catalogs", Astray::Resource),
        ] {
            let path = format!("/identityGovernance/entitlementManagement/{path}");
            assert_eq!(operation(version, method, &path), Err(expected), "{method} {path}");
        }
        assert_eq!(operation(V1, "GET", "/users"), Err(Astray::Segment("users")));
        assert_eq!(operation(V1, "POST", "/v1.0/identityGovernance"), Err(Astray::Segment("v1.0")));
        assert_eq!(operation(V1, "GET", "/identityGovernance"), Err(Astray::Resource));
        assert_eq!(operation(V1, "GET", ""), Err(Astray::Resource));
    }
}
