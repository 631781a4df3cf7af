//! Who holds the seeded assignments, and of which package: all of it follows from the seed and a number.

use uuid::Uuid;

use super::{
    seed::{self, Kind},
    settings::{AssignmentState, Settings},
};

/// Policies of each access package.
const POLICIES: usize = 2;

/// Names of packages; the second has the quote that filters have to double.
const PACKAGES: [&str; 8] = [
    "Sales and Marketing",
    "Engineer's Tools",
    "Finance Reports",
    "Project Falcon",
    "HR & Payroll",
    "External Partners (EU)",
    "Support 24/7",
    "Ärzte 100 %",
];

const FIRST: [&str; 12] = [
    "Adele",
    "Alex",
    "Diego",
    "Grady",
    "Henrietta",
    "Isaiah",
    "Johanna",
    "Lee",
    "Lidia",
    "Megan",
    "Nestor",
    "Pradeep",
];

const LAST: [&str; 11] = [
    "Archie",
    "Bowen",
    "Gupta",
    "Holloway",
    "Langer",
    "Lorenz",
    "Mueller",
    "Siciliani",
    "Vance",
    "Wilber",
    "Gu",
];

/// The packages, policies and users, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct People {
    seed: u64,
    packages: usize,
    users: usize,
    bare_targets: bool,
}

impl People {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            seed: settings.seed,
            packages: settings.access_packages.max(1),
            users: settings.users.max(1),
            bare_targets: settings.bare_targets,
        }
    }

    /// Number of packages.
    pub(super) fn packages(self) -> usize {
        self.packages
    }

    /// Number of users.
    pub(super) fn users(self) -> usize {
        self.users
    }

    /// Whether only the address of the user is known yet
    /// (observed: microsoftgraph/microsoft-graph-docs-contrib#2664).
    pub(super) fn is_bare(self, state: AssignmentState) -> bool {
        self.bare_targets && state == AssignmentState::Delivering
    }

    /// The package of an assignment.
    pub(super) fn package(self, assignment: usize) -> usize {
        assignment % self.packages
    }

    /// The policy of an assignment, counted over all packages.
    pub(super) fn policy(self, assignment: usize) -> usize {
        self.package(assignment) * POLICIES + assignment / self.packages % POLICIES
    }

    /// The user who holds an assignment.
    pub(super) fn user(self, assignment: usize) -> usize {
        assignment / self.packages % self.users
    }

    /// The id of the `number`th thing of a kind.
    pub(super) fn id(self, kind: Kind, number: usize) -> Uuid {
        seed::id(self.seed, kind, number as u64)
    }

    /// The id of the catalog that holds a package; two packages share one.
    pub(super) fn catalog_id(self, package: usize) -> Uuid {
        self.id(Kind::Catalog, package / 2)
    }

    /// The display name of a package; no two are equal.
    pub(super) fn package_name(self, package: usize) -> String {
        let name = PACKAGES.get(package % PACKAGES.len()).copied().unwrap_or_default();
        match package / PACKAGES.len() {
            0 => name.to_owned(),
            round => format!("{name} {}", round + 1),
        }
    }

    /// The display name of a policy.
    pub(super) fn policy_name(self, policy: usize) -> String {
        if policy.is_multiple_of(POLICIES) { "All employees".into() } else { "Direct assignment".into() }
    }

    /// First and last name of a user.
    pub(super) fn user_name(self, user: usize) -> (&'static str, &'static str) {
        let mut random = seed::random(self.seed, Kind::User, user as u64);
        (random.choice(FIRST).unwrap_or_default(), random.choice(LAST).unwrap_or_default())
    }

    /// The address of a user, which no other has.
    pub(super) fn user_mail(self, user: usize) -> String {
        let (first, last) = self.user_name(user);
        format!("{}.{}.{user}@contoso.example", first.to_lowercase(), last.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_assignment_has_its_own_pair_of_package_and_user_while_there_are_enough() {
        let people = People::new(&Settings::default());
        let pairs: HashSet<_> = (0..200).map(|place| (people.package(place), people.user(place))).collect();
        assert_eq!(pairs.len(), 200);
        assert!((0..200).all(|place| people.policy(place) / POLICIES == people.package(place)));
    }

    #[test]
    fn names_of_packages_are_unique() {
        let people = People::new(&Settings::default());
        let names: HashSet<_> = (0..50).map(|package| people.package_name(package)).collect();
        assert_eq!(names.len(), 50);
        assert_eq!(people.package_name(1), "Engineer's Tools");
    }

    #[test]
    fn zero_packages_or_users_count_as_one() {
        let people = People::new(&Settings { access_packages: 0, users: 0, ..Settings::default() });
        assert_eq!((people.package(7), people.user(7), people.packages()), (0, 0, 1));
    }
}
