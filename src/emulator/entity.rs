//! The JSON of assignments and access packages in both versions, and which of their properties can be filtered.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    assignments::STATES,
    options::{Expand, Options},
    people::People,
    route::{Collection, Version},
    seed::Kind,
    settings::AssignmentState,
    wall_clock::rfc3339,
};

/// Start of the first assignment, 2026-01-05T08:00:00Z; each further one begins a minute later.
const START: u64 = 1_767_600_000;

/// How long an expired assignment lasted, in seconds.
const LASTED: u64 = 30 * 86_400;

/// One assignment as it is at present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assignment {
    pub place: usize,
    pub id: Uuid,
    pub state: AssignmentState,
}

/// One entity of a collection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entity {
    Assignment(Assignment),
    Package(usize),
}

/// Properties that can be filtered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Property {
    Id,
    State,
    PackageId,
    PackageName,
    CatalogId,
    PolicyId,
    ObjectId,
}

/// The property of that name, compared without case: the reference page itself writes `target/objectid`.
pub(super) fn property(collection: Collection, version: Version, name: &str) -> Option<Property> {
    let name = name.to_ascii_lowercase();
    if name == "id" {
        return Some(Property::Id);
    }
    match (collection, version, name.as_str()) {
        (Collection::Packages, _, "displayname") => Some(Property::PackageName),
        (Collection::Packages, Version::V1, "catalog/id") => Some(Property::CatalogId),
        (Collection::Packages, Version::Beta, "catalogid") => Some(Property::CatalogId),
        (Collection::Packages, ..) => None,
        (_, _, "accesspackage/id") => Some(Property::PackageId),
        (_, _, "accesspackage/displayname") => Some(Property::PackageName),
        (_, _, "target/objectid") => Some(Property::ObjectId),
        (_, Version::V1, "state") => Some(Property::State),
        (_, Version::V1, "assignmentpolicy/id") => Some(Property::PolicyId),
        (_, Version::V1, "accesspackage/catalog/id") => Some(Property::CatalogId),
        (_, Version::Beta, "assignmentstate") => Some(Property::State),
        (_, Version::Beta, "accesspackageassignmentpolicy/id") => Some(Property::PolicyId),
        (_, Version::Beta, "accesspackageid") => Some(Property::PackageId),
        (_, Version::Beta, "assignmentpolicyid") => Some(Property::PolicyId),
        (_, Version::Beta, "catalogid") => Some(Property::CatalogId),
        _ => None,
    }
}

/// The value of a property for a filter.
pub(super) fn value(of: Entity, people: People, property: Property) -> Cow<'static, str> {
    let text = |id: Uuid| Cow::Owned(id.to_string());
    let package = match of {
        Entity::Assignment(assignment) => people.package(assignment.place),
        Entity::Package(package) => package,
    };
    match (property, of) {
        (Property::PackageName, _) => people.package_name(package).into(),
        (Property::CatalogId, _) => text(people.catalog_id(package)),
        (Property::PackageId, _) | (Property::Id, Entity::Package(_)) => {
            text(people.id(Kind::Package, package))
        }
        (Property::Id, Entity::Assignment(assignment)) => text(assignment.id),
        (Property::State, Entity::Assignment(assignment)) => names(assignment.state).1.into(),
        (Property::PolicyId, Entity::Assignment(assignment)) => {
            text(people.id(Kind::Policy, people.policy(assignment.place)))
        }
        (Property::ObjectId, Entity::Assignment(assignment)) => {
            text(people.id(Kind::User, people.user(assignment.place)))
        }
        (_, Entity::Package(_)) => Cow::Borrowed(""),
    }
}

/// A state as enumeration member (v1.0) and as text (beta).
fn names(state: AssignmentState) -> (&'static str, &'static str) {
    STATES.iter().find(|(known, ..)| *known == state).map_or(("", ""), |(_, member, text)| (*member, *text))
}

/// Navigation properties, returned only with `$expand`.
fn navigations(collection: Collection, version: Version) -> &'static [&'static str] {
    match (collection, version) {
        (Collection::Packages, _) => &[],
        (_, Version::V1) => &["target", "accessPackage", "assignmentPolicy"],
        (_, Version::Beta) => &[
            "target",
            "accessPackage",
            "accessPackageAssignmentPolicy",
            "accessPackageAssignmentResourceRoles",
        ],
    }
}

/// Which properties an answer shows.
#[derive(Debug)]
pub(super) struct Shape {
    collection: Collection,
    version: Version,
    people: People,
    select: Option<Vec<String>>,
    expand: Vec<(&'static str, Option<Vec<String>>)>,
}

impl Shape {
    /// Checks `$select` and `$expand`; the error is the message of a 400.
    pub(super) fn new(
        collection: Collection,
        version: Version,
        people: People,
        options: &Options,
    ) -> Result<Self, String> {
        let mut shape = Self { collection, version, people, select: None, expand: Vec::new() };
        let sample = Assignment { place: 0, id: Uuid::nil(), state: AssignmentState::Delivered };
        let plain = match collection {
            Collection::Assignments => shape.assignment(sample),
            Collection::Packages => shape.package(0),
        };
        let known = navigations(collection, version);
        for Expand { name, select } in &options.expand {
            if name == "*" && !known.is_empty() {
                shape.expand.extend(known.iter().map(|known| (*known, None)));
                continue;
            }
            let found = known.iter().find(|known| known.eq_ignore_ascii_case(name));
            let found = found.ok_or_else(|| no_property(name))?;
            if let (Some(select), Some(inner)) = (select, shape.navigation(found, sample).as_object()) {
                select.iter().try_for_each(|name| knows(inner, name))?;
            }
            shape.expand.push((found, select.clone()));
        }
        if let Some(select) = &options.select {
            let known = |name: &&String| !known.iter().any(|known| known.eq_ignore_ascii_case(name));
            select.iter().filter(known).try_for_each(|name| knows(&plain, name))?;
            shape.select = Some(select.clone());
        }
        Ok(shape)
    }

    /// The JSON of an entity in this shape.
    pub(super) fn render(&self, of: Entity) -> Map<String, Value> {
        let mut body = match of {
            Entity::Assignment(assignment) => self.assignment(assignment),
            Entity::Package(package) => self.package(package),
        };
        keep(&mut body, self.select.as_deref());
        if let Entity::Assignment(assignment) = of {
            for (name, select) in &self.expand {
                let mut inner = self.navigation(name, assignment);
                if let Some(inner) = inner.as_object_mut() {
                    keep(inner, select.as_deref());
                }
                body.insert((*name).into(), inner);
            }
        }
        body
    }

    fn assignment(&self, assignment: Assignment) -> Map<String, Value> {
        let Assignment { place, id, state } = assignment;
        let people = self.people;
        let (member, text) = names(state);
        let start = START + 60 * place as u64;
        let ended = (state == AssignmentState::Expired).then(|| rfc3339(start + LASTED));
        let kind = if ended.is_some() { "afterDateTime" } else { "noExpiration" };
        let schedule = json!({
            "startDateTime": rfc3339(start),
            "recurrence": null,
            "expiration": { "endDateTime": ended, "duration": null, "type": kind },
        });
        let package = people.package(place);
        object(match self.version {
            Version::V1 => json!({
                "id": id,
                "state": member,
                "status": text,
                "expiredDateTime": ended,
                "schedule": schedule,
                "customExtensionCalloutInstances": [],
            }),
            Version::Beta => json!({
                "id": id,
                "catalogId": people.catalog_id(package),
                "accessPackageId": people.id(Kind::Package, package),
                "assignmentPolicyId": people.id(Kind::Policy, people.policy(place)),
                "targetId": people.id(Kind::Subject, people.user(place)),
                "assignmentStatus": text,
                "assignmentState": text,
                "isExtended": false,
                "expiredDateTime": ended,
                "schedule": schedule,
                "customExtensionCalloutInstances": [],
            }),
        })
    }

    fn package(&self, package: usize) -> Map<String, Value> {
        let mut body = object(json!({
            "id": self.people.id(Kind::Package, package),
            "displayName": self.people.package_name(package),
            "description": "Access that belongs together",
            "isHidden": false,
            "createdDateTime": rfc3339(START),
            "modifiedDateTime": rfc3339(START),
        }));
        if self.version == Version::Beta {
            body.extend(object(json!({
                "catalogId": self.people.catalog_id(package),
                "createdBy": "admin@contoso.example",
                "modifiedBy": "admin@contoso.example",
                "isRoleScopesVisible": false,
                "uniqueName": null,
            })));
        }
        body
    }

    fn navigation(&self, name: &str, assignment: Assignment) -> Value {
        let people = self.people;
        match name {
            "accessPackage" => self.package(people.package(assignment.place)).into(),
            "target" => self.target(assignment),
            "accessPackageAssignmentResourceRoles" => json!([{
                "id": people.id(Kind::Role, assignment.place),
                "originId": people.id(Kind::Role, people.package(assignment.place)),
                "originSystem": "AadGroup",
                "status": "Fulfilled",
            }]),
            _ => self.policy(people.policy(assignment.place), people.package(assignment.place)),
        }
    }

    fn target(&self, assignment: Assignment) -> Value {
        let people = self.people;
        let user = people.user(assignment.place);
        let (first, last) = people.user_name(user);
        let mut body = object(json!({
            "id": people.id(Kind::Subject, user),
            "objectId": people.id(Kind::User, user),
            "displayName": format!("{first} {last}"),
            "email": people.user_mail(user),
            "principalName": people.user_mail(user),
            "onPremisesSecurityIdentifier": null,
            "subjectLifecycle": "notGoverned",
        }));
        body.extend(object(match self.version {
            Version::V1 => json!({ "subjectType": "user" }),
            Version::Beta => json!({
                "type": "User",
                "altSecId": null,
                "cleanupScheduledDateTime": null,
                "connectedOrganizationId": null,
            }),
        }));
        if people.is_bare(assignment.state) {
            for name in ["displayName", "objectId", "principalName"] {
                body.insert(name.into(), Value::Null);
            }
        }
        body.into()
    }

    fn policy(&self, policy: usize, package: usize) -> Value {
        let people = self.people;
        let mut body = object(json!({
            "id": people.id(Kind::Policy, policy),
            "displayName": people.policy_name(policy),
            "description": "Who may have the package",
            "createdDateTime": rfc3339(START),
            "modifiedDateTime": rfc3339(START),
        }));
        body.extend(object(match self.version {
            Version::V1 => json!({
                "expiration": { "endDateTime": null, "duration": null, "type": "noExpiration" },
            }),
            Version::Beta => json!({
                "accessPackageId": people.id(Kind::Package, package),
                "canExtend": false,
                "createdBy": "admin@contoso.example",
                "modifiedBy": "admin@contoso.example",
                "durationInDays": 0,
                "expirationDateTime": null,
            }),
        }));
        body.into()
    }

    /// `@odata.context` without its host: beta's form is published, that of v1.0 follows its sister collection.
    pub(super) fn context(&self) -> String {
        let name = match self.collection {
            Collection::Assignments => self.version.assignments(),
            Collection::Packages => "accessPackages",
        };
        match self.version {
            Version::V1 => format!("/v1.0/$metadata#identityGovernance/entitlementManagement/{name}"),
            Version::Beta => format!("/beta/$metadata#{name}"),
        }
    }
}

fn object(of: Value) -> Map<String, Value> {
    match of {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn keep(body: &mut Map<String, Value>, select: Option<&[String]>) {
    if let Some(select) = select {
        body.retain(|name, _| select.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)));
    }
}

fn knows(body: &Map<String, Value>, name: &str) -> Result<(), String> {
    let known = name == "*" || body.keys().any(|known| known.eq_ignore_ascii_case(name));
    if known { Ok(()) } else { Err(no_property(name)) }
}

fn no_property(name: &str) -> String {
    format!("Could not find a property named '{name}'.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::settings::Settings;

    fn shape(collection: Collection, version: Version, query: &str) -> Result<Shape, String> {
        let options = Options::read(query, &["$select", "$expand"]).unwrap();
        Shape::new(collection, version, People::new(&Settings::default()), &options)
    }

    fn keys(version: Version, query: &str) -> Vec<String> {
        let sample = Assignment { place: 5, id: Uuid::nil(), state: AssignmentState::Delivered };
        let shape = shape(Collection::Assignments, version, query).unwrap();
        shape.render(Entity::Assignment(sample)).keys().cloned().collect()
    }

    #[test]
    fn select_and_expand_shape_the_answer() {
        for (version, query, expected) in [
            (Version::V1, "$select=id,STATE", vec!["id", "state"]),
            (Version::V1, "$select=id&$expand=target", vec!["id", "target"]),
            (Version::Beta, "$select=assignmentState", vec!["assignmentState"]),
            (Version::V1, "$select=id&$expand=*", vec!["accessPackage", "assignmentPolicy", "id", "target"]),
        ] {
            assert_eq!(keys(version, query), expected, "{query}");
        }
        for (version, query) in [
            (Version::V1, "$select=assignmentState"),
            (Version::Beta, "$select=state"),
            (Version::V1, "$expand=accessPackageAssignmentPolicy"),
            (Version::Beta, "$expand=assignmentPolicy"),
            (Version::V1, "$expand=target($select=colour)"),
        ] {
            assert!(shape(Collection::Assignments, version, query).is_err(), "{query}");
        }
        assert!(shape(Collection::Packages, Version::V1, "$expand=*").is_err());
    }

    #[test]
    fn each_version_filters_by_its_own_names() {
        for (version, name, expected) in [
            (Version::V1, "state", Some(Property::State)),
            (Version::V1, "assignmentState", None),
            (Version::Beta, "assignmentState", Some(Property::State)),
            (Version::Beta, "state", None),
            (Version::V1, "target/objectid", Some(Property::ObjectId)),
            (Version::V1, "assignmentPolicy/id", Some(Property::PolicyId)),
            (Version::Beta, "assignmentPolicy/id", None),
            (Version::Beta, "accessPackageAssignmentPolicy/id", Some(Property::PolicyId)),
            (Version::V1, "accesspackage/displayname", Some(Property::PackageName)),
        ] {
            assert_eq!(property(Collection::Assignments, version, name), expected, "{name}");
        }
    }
}
