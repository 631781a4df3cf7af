//! The four clouds and the two versions of Microsoft Graph.

use std::str::FromStr;

/// A cloud with its own Graph host; tokens of one are worth nothing in another
/// (<https://learn.microsoft.com/graph/deployments>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// The global service, which also serves US Government GCC.
    Global,
    /// US Government L4 (GCC High).
    UsGov,
    /// US Government L5 (DoD).
    UsGovDod,
    /// China, operated by 21Vianet.
    China,
}

impl Cloud {
    /// All clouds, in the order in which they are documented.
    pub const ALL: [Self; 4] = [Self::Global, Self::UsGov, Self::UsGovDod, Self::China];

    /// The name by which an option selects it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::UsGov => "usgov",
            Self::UsGovDod => "usgov-dod",
            Self::China => "china",
        }
    }

    /// The origin of its Graph endpoint.
    pub const fn origin(self) -> &'static str {
        match self {
            Self::Global => "https://graph.microsoft.com",
            Self::UsGov => "https://graph.microsoft.us",
            Self::UsGovDod => "https://dod-graph.microsoft.us",
            Self::China => "https://microsoftgraph.chinacloudapi.cn",
        }
    }

    /// The scope to ask a token for. It follows the cloud also where another base URL is used.
    pub fn scope(self) -> String {
        format!("{}/.default", self.origin())
    }
}

impl FromStr for Cloud {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|cloud| cloud.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|cloud| format!("{:?}", cloud.name())).collect();
            format!("cloud {name:?} is not known; give one of {}", known.join(", "))
        })
    }
}

/// A version of the Graph API. The outer URL of a `$batch` fixes the version of every part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiVersion {
    /// `/beta`, where the collection is `accessPackageAssignments`.
    Beta,
    /// `/v1.0`, where it is `assignments`; the one that Microsoft supports in production.
    V1,
}

impl ApiVersion {
    /// The path segment, and the name by which an option selects it.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Beta => "beta",
            Self::V1 => "v1.0",
        }
    }

    /// The name of the collection of assignments. An early v1.0 page printed the beta name; it is wrong there.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::Beta => "accessPackageAssignments",
            Self::V1 => "assignments",
        }
    }
}

impl FromStr for ApiVersion {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "beta" => Ok(Self::Beta),
            "v1.0" => Ok(Self::V1),
            other => Err(format!("api_version {other:?} is not known; give \"beta\" or \"v1.0\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_values() {
        for cloud in Cloud::ALL {
            assert_eq!(cloud.name().parse(), Ok(cloud));
            assert!(cloud.scope().starts_with("https://") && cloud.scope().ends_with("/.default"));
        }
        for version in [ApiVersion::Beta, ApiVersion::V1] {
            assert_eq!(version.segment().parse(), Ok(version));
        }
    }

    #[test]
    fn hosts_and_scopes_are_those_of_the_page() {
        for (cloud, host) in [
            (Cloud::Global, "graph.microsoft.com"),
            (Cloud::UsGov, "graph.microsoft.us"),
            (Cloud::UsGovDod, "dod-graph.microsoft.us"),
            (Cloud::China, "microsoftgraph.chinacloudapi.cn"),
        ] {
            assert_eq!(cloud.origin(), format!("https://{host}"));
            assert_eq!(cloud.scope(), format!("https://{host}/.default"));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert!(Cloud::from_str("gcc").unwrap_err().contains("\"usgov-dod\""));
        assert!(ApiVersion::from_str("v2").unwrap_err().contains("\"v1.0\""));
    }
}
