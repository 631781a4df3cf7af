//! Where in a report an id stands. A report is asked for one id after the other, so the way there is built once.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Columns;
use crate::assignment::{AssignmentId, InvalidId};

/// What tells rows apart: an id, or the number of the text that was given in place of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Valid(AssignmentId),
    Invalid(u32),
}

/// The first place of each different id among some rows: 9 bytes or so for each.
#[derive(Debug, Default)]
pub struct Lookup {
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Lookup {
    /// For these rows of these columns.
    pub fn of(columns: &Columns, rows: &[u32]) -> Self {
        let hasher = DefaultHashBuilder::default();
        let key_at = |place: u32| rows.get(place as usize).and_then(|row| columns.key(*row));
        let hash = |place: &u32| hasher.hash_one(key_at(*place));
        let mut places = HashTable::with_capacity(rows.len());
        for place in 0..super::number(rows.len()) {
            let key = key_at(place);
            places.entry(hasher.hash_one(key), |known| key_at(*known) == key, hash).or_insert(place);
        }
        Self { places, hasher }
    }

    /// The first place of an id among the rows that this was made of.
    fn first(&self, columns: &Columns, rows: &[u32], key: Key) -> Option<usize> {
        let key_at = |place: &u32| rows.get(*place as usize).and_then(|row| columns.key(*row));
        let found = self.places.find(self.hasher.hash_one(Some(key)), |place| key_at(place) == Some(key));
        found.map(|place| *place as usize)
    }
}

impl Columns {
    fn key(&self, row: u32) -> Option<Key> {
        match self.invalid_ids.get(&row) {
            Some(text) => Some(Key::Invalid(*text)),
            None => self.ids.get(row as usize).copied().map(Key::Valid),
        }
    }

    /// The place of an id, or of what was given in place of one, in a part of these rows.
    pub fn place_of(
        &self,
        rows: &[u32],
        lookup: &Lookup,
        id: &Result<AssignmentId, InvalidId>,
        part: std::ops::Range<usize>,
    ) -> Option<usize> {
        let key = self.key_of(id)?;
        let first = lookup.first(self, rows, key)?;
        if first >= part.start {
            return Some(first).filter(|place| *place < part.end);
        }
        let rest = rows.get(part.clone())?;
        rest.iter().position(|row| self.key(*row) == Some(key)).map(|place| part.start + place)
    }

    /// How many of these rows are of an id.
    pub fn count_of(&self, rows: &[u32], id: &Result<AssignmentId, InvalidId>) -> usize {
        let Some(key) = self.key_of(id) else { return 0 };
        rows.iter().filter(|row| self.key(**row) == Some(key)).count()
    }

    fn key_of(&self, id: &Result<AssignmentId, InvalidId>) -> Option<Key> {
        match id {
            Ok(id) => Some(Key::Valid(*id)),
            Err(refused) => self.texts.find(&refused.shown).map(Key::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> AssignmentId {
        AssignmentId::from(Uuid::from_u128(n))
    }

    #[test]
    fn every_place_is_found_and_nothing_else() {
        let mut columns = Columns::default();
        for n in [7, 8, 7, 0, 9, 7] {
            columns.add(id(n));
        }
        columns.add_invalid(&"x".into());
        columns.add_invalid(&"y".into());
        columns.add_invalid(&"x".into());
        columns.freeze();
        let rows = columns.places();
        let lookup = Lookup::of(&columns, rows);
        let whole = 0..rows.len();
        let place = |id: &Result<_, _>, part| columns.place_of(rows, &lookup, id, part);
        let invalid = |text: &str| {
            AssignmentId::parse(text).inspect_err(|refused| {
                assert_eq!(refused.shown, text);
            })
        };
        for (wanted, first, count) in
            [(7, Some(0), 3), (8, Some(1), 1), (0, Some(3), 1), (9, Some(4), 1), (1, None, 0)]
        {
            assert_eq!(place(&Ok(id(wanted)), whole.clone()), first, "{wanted}");
            assert_eq!(columns.count_of(rows, &Ok(id(wanted))), count, "{wanted}");
        }
        for (wanted, first, count) in [("x", Some(6), 2), ("y", Some(7), 1), ("z", None, 0)] {
            assert_eq!(place(&invalid(wanted), whole.clone()), first, "{wanted}");
            assert_eq!(columns.count_of(rows, &invalid(wanted)), count, "{wanted}");
        }
        assert_eq!(place(&Ok(id(7)), 1..6), Some(2));
        assert_eq!(place(&Ok(id(7)), 3..5), None);
        assert_eq!(place(&Ok(id(7)), 3..6), Some(5));
        assert_eq!(place(&invalid("x"), 7..9), Some(8));
        assert_eq!(place(&Ok(id(9)), 0..4), None);

        let some = [rows[4], rows[0], rows[6]];
        let lookup = Lookup::of(&columns, &some);
        assert_eq!(columns.place_of(&some, &lookup, &Ok(id(7)), 0..3), Some(1));
        assert_eq!(columns.place_of(&some, &lookup, &Ok(id(8)), 0..3), None);
        assert_eq!(columns.place_of(&some, &lookup, &invalid("x"), 0..3), Some(2));
    }
}
