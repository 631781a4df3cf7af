//! Texts that repeat, kept once; and request ids, which are nearly always GUIDs, kept as such.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Texts by number. Equal texts share one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Texts {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Texts {
    /// No text at all.
    pub const NONE: u32 = u32::MAX;

    /// The number of a text.
    pub fn number(&mut self, text: Option<&Arc<str>>) -> u32 {
        let Some(text) = text else { return Self::NONE };
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let Ok(number) = u32::try_from(self.texts.len()) else { return Self::NONE };
        self.texts.push(text.clone());
        self.numbers.insert(text.clone(), number);
        number
    }

    /// The number of a text that may be there.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// The text of a number.
    pub fn get(&self, number: u32) -> Option<&Arc<str>> {
        self.texts.get(number as usize)
    }
}

impl From<Vec<String>> for Texts {
    fn from(texts: Vec<String>) -> Self {
        let texts: Vec<Arc<str>> = texts.into_iter().map(Into::into).collect();
        let numbers = (0..).zip(&texts).map(|(number, text)| (text.clone(), number)).collect();
        Self { texts, numbers }
    }
}

impl From<Texts> for Vec<String> {
    fn from(texts: Texts) -> Self {
        texts.texts.iter().map(|text| text.to_string()).collect()
    }
}

/// A column of request ids, 16 bytes each; those that are not GUIDs stand beside it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RequestIds {
    guids: Vec<Uuid>,
    others: HashMap<u32, String>,
}

impl RequestIds {
    /// One more row, without an id yet.
    pub fn push(&mut self) {
        self.guids.push(Uuid::nil());
    }

    /// Set the id of a row. A GUID in any other spelling than the usual one is kept as it came.
    pub fn set(&mut self, row: u32, id: Option<&str>) {
        let Some(slot) = self.guids.get_mut(row as usize) else { return };
        let Some(text) = id else { return };
        match Uuid::try_parse(text) {
            Ok(guid) if !guid.is_nil() && guid.to_string() == text => *slot = guid,
            _ => {
                self.others.insert(row, text.to_owned());
            }
        }
    }

    /// The id of a row.
    pub fn get(&self, row: u32) -> Option<Arc<str>> {
        match self.guids.get(row as usize) {
            Some(guid) if !guid.is_nil() => Some(guid.to_string().into()),
            _ => self.others.get(&row).map(|text| text.as_str().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_number() {
        let mut texts = Texts::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "".into());
        assert_eq!([texts.number(Some(&a)), texts.number(Some(&b)), texts.number(Some(&a))], [0, 1, 0]);
        assert_eq!(texts.number(None), Texts::NONE);
        assert_eq!(texts.get(1).map(|text| &**text), Some(""));
        assert_eq!(texts.get(Texts::NONE), None);
        let mut copy = Texts::from(Vec::<String>::from(texts));
        assert_eq!(copy.number(Some(&a)), 0);
    }

    #[test]
    fn request_ids_come_back_as_they_were() {
        let ids = [
            None,
            Some("4a1b0f2e-0000-4000-8000-000000000001"),
            Some("4A1B0F2E-0000-4000-8000-000000000001"),
            Some("00000000-0000-0000-0000-000000000000"),
            Some("abc"),
            Some(""),
        ];
        let mut column = RequestIds::default();
        for (row, id) in (0..).zip(ids) {
            column.push();
            column.set(row, id);
        }
        for (row, id) in (0..).zip(ids) {
            assert_eq!(column.get(row).as_deref(), id);
        }
    }
}
