//! Where requests go: the origin, checked once, and the two URLs that are built on it.

use reqwest::Url;

use super::action::Action;
use super::cloud::{ApiVersion, Cloud};
use crate::assignment::AssignmentId;

/// A checked origin with an API version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    cloud: Cloud,
    origin: Url,
    version: ApiVersion,
}

impl Endpoint {
    /// The endpoint of a cloud, or of a base URL in its place.
    ///
    /// A token travels to this origin, so only https is let through, or http where it cannot leave the machine.
    pub fn new(cloud: Cloud, base_url: Option<&str>, version: ApiVersion) -> Result<Self, String> {
        let text = base_url.unwrap_or(cloud.origin());
        // A text that does not parse is not repeated: it may hold a password.
        let origin = Url::parse(text).map_err(|err| {
            format!("base_url is not a URL ({err}); give one like \"https://graph.microsoft.com\"")
        })?;
        check(text, &origin)?;
        // A known host is its own cloud, whatever was chosen: a token of another one would be for nobody there.
        let cloud = cloud_at(&origin).unwrap_or(cloud);
        Ok(Self { cloud, origin, version })
    }

    /// The cloud that was chosen, by its host or by its name.
    pub const fn chosen_cloud(&self) -> Cloud {
        self.cloud
    }

    /// Host and port.
    pub fn host(&self) -> String {
        let host = self.origin.host_str().unwrap_or_default();
        self.origin.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The API version in use.
    pub const fn version(&self) -> ApiVersion {
        self.version
    }

    /// Whether the connection must be encrypted; plain http is let through to loopback addresses alone.
    pub fn is_https(&self) -> bool {
        self.origin.scheme() == "https"
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.origin)
    }

    /// The cloud whose Graph this is; `None` for any other host.
    pub fn cloud(&self) -> Option<Cloud> {
        cloud_at(&self.origin)
    }

    /// The URL of an action on one assignment.
    pub fn action(&self, action: Action, id: AssignmentId) -> Url {
        self.versioned(&action.path(self.version, id))
    }

    /// The URL of a collection of entitlement management.
    pub fn collection(&self, name: &str) -> Url {
        self.versioned(&format!("/identityGovernance/entitlementManagement/{name}"))
    }

    /// The URL of `$batch`.
    pub fn batch(&self) -> Url {
        self.versioned("/$batch")
    }

    fn versioned(&self, path: &str) -> Url {
        let mut url = self.origin.clone();
        url.set_path(&format!("/{}{path}", self.version.segment()));
        url
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.origin, self.version.segment())
    }
}

fn cloud_at(origin: &Url) -> Option<Cloud> {
    Cloud::ALL.into_iter().find(|cloud| origin.as_str().trim_end_matches('/') == cloud.origin())
}

fn check(text: &str, origin: &Url) -> Result<(), String> {
    if !origin.username().is_empty() || origin.password().is_some() {
        return Err(
            "base_url holds a user name or password; give it without, and pass the token as credential"
                .into(),
        );
    }
    // Others read such a text as the URL of another host, and people do as well.
    if text.contains(['\\', '@', '%'])
        || text.contains(|char: char| char.is_control() || char.is_whitespace())
    {
        return Err(
            "base_url holds a backslash, @, % or white space; give scheme, host and port alone".into()
        );
    }
    let shown = origin.as_str();
    match origin.scheme() {
        "https" => {}
        "http" if is_loopback(origin) => {}
        "http" => {
            return Err(format!(
                "base_url {shown:?} would send the token unencrypted; use https, or http on a loopback address"
            ));
        }
        other => return Err(format!("base_url {shown:?} has the scheme {other:?}; use https")),
    }
    if origin.query().is_some() || origin.fragment().is_some() || !matches!(origin.path(), "" | "/") {
        return Err(format!(
            "base_url {shown:?} holds more than an origin; give scheme, host and port alone, api_version adds the rest"
        ));
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str) -> Result<Endpoint, String> {
        Endpoint::new(Cloud::Global, Some(base_url), ApiVersion::Beta)
    }

    #[test]
    fn urls_are_those_of_the_reference_pages() {
        let id = AssignmentId::parse("d82eb508-acc4-43cc-bcf1-7c1c4a2c073b").unwrap();
        let url = |version| {
            Endpoint::new(Cloud::China, None, version).unwrap().action(Action::Reprocess, id).to_string()
        };
        assert_eq!(
            url(ApiVersion::Beta),
            "https://microsoftgraph.chinacloudapi.cn/beta/identityGovernance/entitlementManagement/accessPackageAssignments/d82eb508-acc4-43cc-bcf1-7c1c4a2c073b/reprocess"
        );
        assert_eq!(
            url(ApiVersion::V1),
            "https://microsoftgraph.chinacloudapi.cn/v1.0/identityGovernance/entitlementManagement/assignments/d82eb508-acc4-43cc-bcf1-7c1c4a2c073b/reprocess"
        );
        assert_eq!(
            endpoint("http://[::1]:8080/").unwrap().batch().to_string(),
            "http://[::1]:8080/beta/$batch"
        );
    }

    #[test]
    fn the_cloud_is_that_of_the_host_not_of_the_option() {
        for cloud in Cloud::ALL {
            assert_eq!(Endpoint::new(cloud, None, ApiVersion::V1).unwrap().cloud(), Some(cloud));
            assert_eq!(endpoint(cloud.origin()).unwrap().cloud(), Some(cloud));
            assert_eq!(endpoint(cloud.origin()).unwrap().chosen_cloud(), cloud);
            assert_eq!(
                endpoint(&format!("{}:443/", cloud.origin().to_uppercase())).unwrap().cloud(),
                Some(cloud)
            );
        }
        for other in ["https://graph.example", "http://127.0.0.1:1", "https://graph.microsoft.com:8443"] {
            assert_eq!(endpoint(other).unwrap().cloud(), None, "{other}");
        }
    }

    #[test]
    fn origins_that_would_leak_the_token_are_refused() {
        for good in [
            "https://graph.example",
            "http://127.0.0.1:1",
            "http://localhost",
            "http://[::1]",
            "http://127.9.9.9/",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "graph.microsoft.com",
            "http://graph.microsoft.com",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "https://graph.microsoft.com/v1.0",
            "https://graph.microsoft.com/?a=1",
            "https://graph.microsoft.com/#a",
            "https://graph.microsoft.com\\@127.0.0.1/..",
            "https://graph.microsoft.com/@127.0.0.1/..",
            "https://graph.microsoft.com/%2e%2e",
            "https://graph.micro\tsoft.com",
            " https://graph.microsoft.com",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_the_base_url_is_refused_and_not_repeated() {
        for bad in ["https://admin:canary@graph.microsoft.com", "https://admin:canary@graph.microsoft.com:x"]
        {
            let refused = endpoint(bad).unwrap_err();
            assert!(!refused.contains("canary"), "{refused}");
        }
    }
}
