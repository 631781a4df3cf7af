//! Lists, counts and single entities, page by page.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    entity::{self, Assignment, Entity, Property, Shape},
    filter::{self, Filter},
    options::Options,
    people::People,
    reply::{Payload, Reply, Trace},
    route::{Collection, Version},
    seed::{self, Kind},
    service::{Call, Service},
    settings::Refusal,
};

/// What a list takes. `$top` and `$count` stem from generated descriptions; `$top` is taken as a page size.
const LIST: &[&str] = &["$filter", "$select", "$expand", "$top", "$count", "$skiptoken"];

impl Service {
    /// Answers one page of a collection.
    pub(super) fn list(&self, collection: Collection, call: Call<'_>, trace: &Trace) -> Reply {
        self.page(collection, call, trace).unwrap_or_else(|message| Reply::bad_request(&message, trace))
    }

    /// Answers the number of entities that a filter finds.
    pub(super) fn number(&self, collection: Collection, call: Call<'_>, trace: &Trace) -> Reply {
        let filter = Options::read(query(call), &["$filter"])
            .and_then(|options| condition(collection, call.version, &options));
        match filter {
            Ok(filter) if self.hides(collection, filter.as_ref()) => {
                Reply::refusal(&Refusal::forbidden(), trace)
            }
            Ok(filter) => {
                let number = self.from(0, collection, call, filter.as_ref()).count();
                Reply { payload: Payload::Text(number.to_string()), ..Reply::empty(200) }
            }
            Err(message) => Reply::bad_request(&message, trace),
        }
    }

    /// Whether the caller may not see what the filter could find: with catalog roles only, a list has to be filtered
    /// on one access package (documented: entitlementmanagement-list-assignments).
    fn hides(&self, collection: Collection, filter: Option<&Filter<Property>>) -> bool {
        self.settings.catalog_roles_only
            && collection == Collection::Assignments
            && !filter.is_some_and(|filter| filter.pins(&Property::PackageId))
    }

    /// Answers one entity.
    pub(super) fn single(&self, collection: Collection, id: &str, call: Call<'_>, trace: &Trace) -> Reply {
        let found = match collection {
            Collection::Assignments => self.place(id, |service, id| service.assignments.find(id)),
            Collection::Packages => self.place(id, |service, id| {
                (0..service.people.packages()).find(|n| service.people.id(Kind::Package, *n) == id)
            }),
        };
        let place = match found {
            Ok(place) => place,
            Err(refusal) => return Reply::refusal(refusal, trace),
        };
        let shape = Options::read(query(call), &["$select", "$expand"])
            .and_then(|options| Shape::new(collection, call.version, self.people, &options));
        let shape = match shape {
            Ok(shape) => shape,
            Err(message) => return Reply::bad_request(&message, trace),
        };
        let mut body = Map::new();
        body.insert("@odata.context".into(), format!("{}{}/$entity", call.base, shape.context()).into());
        if let Some(entity) = self.entity(collection, place, call) {
            body.extend(shape.render(entity));
        }
        Reply::json(body.into())
    }

    fn page(&self, collection: Collection, call: Call<'_>, trace: &Trace) -> Result<Reply, String> {
        let options = Options::read(query(call), LIST)?;
        let filter = condition(collection, call.version, &options)?;
        if self.hides(collection, filter.as_ref()) {
            return Ok(Reply::refusal(&Refusal::forbidden(), trace));
        }
        let shape = Shape::new(collection, call.version, self.people, &options)?;
        let start = options.skiptoken.as_deref().map(|token| self.unseal(token)).transpose()?;
        let most = self.settings.page_size.max(1);
        // Above the maximum an API may ignore, clamp or refuse $top (documented: concepts/paging); this one clamps.
        let size = match start {
            None if self.settings.empty_first_page => 0,
            _ => options.top.map_or(most, |top| top.min(most)),
        };
        let mut body = Map::new();
        body.insert("@odata.context".into(), format!("{}{}", call.base, shape.context()).into());
        if options.count && start.is_none() {
            let all = self.from(0, collection, call, filter.as_ref()).count();
            body.insert("@odata.count".into(), all.into());
        }
        let mut found = self.from(start.unwrap_or(0), collection, call, filter.as_ref());
        let value: Vec<Value> =
            found.by_ref().take(size).map(|(_, entity)| shape.render(entity).into()).collect();
        if let Some((next, _)) = found.next() {
            let base = self.settings.next_link_base.as_deref().unwrap_or(call.base);
            let path = call.target.split_once('?').map_or(call.target, |(path, _)| path);
            let (version, query) = (call.version.segment(), options.next(&self.seal(next)));
            let link = format!("{base}/{version}/{}?{query}", path.trim_start_matches('/'));
            body.insert("@odata.nextLink".into(), link.into());
        }
        body.insert("value".into(), value.into());
        Ok(Reply::json(body.into()))
    }

    /// The entities from a place on that a filter finds, with their places.
    fn from<'a>(
        &'a self,
        start: usize,
        collection: Collection,
        call: Call<'a>,
        filter: Option<&'a Filter<Property>>,
    ) -> impl Iterator<Item = (usize, Entity)> + 'a {
        let people: People = self.people;
        let end = match collection {
            Collection::Assignments => self.assignments.ids().len(),
            Collection::Packages => people.packages(),
        };
        (start..end).filter_map(move |place| {
            let entity = self.entity(collection, place, call)?;
            let value = |property| entity::value(entity, people, property);
            filter.is_none_or(|filter| filter.matches(&value)).then_some((place, entity))
        })
    }

    fn entity(&self, collection: Collection, place: usize, call: Call<'_>) -> Option<Entity> {
        Some(match collection {
            Collection::Assignments => {
                let id: Uuid = *self.assignments.ids().get(place)?;
                let state = self.assignments.state(place, call.now);
                Entity::Assignment(Assignment { place, id, state })
            }
            Collection::Packages => Entity::Package(place),
        })
    }

    /// A place as a token that says nothing to its reader.
    fn seal(&self, place: usize) -> String {
        format!("{:016x}", place as u64 ^ self.page_mask())
    }

    fn unseal(&self, token: &str) -> Result<usize, String> {
        let place = u64::from_str_radix(token, 16).ok().filter(|_| token.len() == 16);
        let place = place.and_then(|sealed| usize::try_from(sealed ^ self.page_mask()).ok());
        let end = self.assignments.ids().len().max(self.people.packages());
        place.filter(|place| *place < end).ok_or_else(|| "The $skiptoken is not valid.".into())
    }

    fn page_mask(&self) -> u64 {
        seed::random(self.settings.seed, Kind::Page, 0).u64(..)
    }
}

fn query(call: Call<'_>) -> &str {
    call.target.split_once('?').map_or("", |(_, query)| query)
}

fn condition(
    collection: Collection,
    version: Version,
    options: &Options,
) -> Result<Option<Filter<Property>>, String> {
    let property = |name: &str| entity::property(collection, version, name);
    options.filter.as_deref().map(|text| filter::parse(text, &property)).transpose()
}
