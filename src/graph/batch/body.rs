//! The body of a part, read before its status may be known.

use serde::de::{MapAccess, SeqAccess};

use crate::graph::content::{Content, ReadContent};
use crate::graph::error::{ErrorBody, Level};
use crate::graph::json::{Key, Read, Reader, Skip};
use crate::graph::listing::{State, States};

/// What the body of a part may say, whichever status it has; the status may come after it.
pub(super) struct Body {
    /// The error that it names.
    pub error: ErrorBody,
    /// The state that it names.
    pub state: Option<String>,
    /// What it holds.
    pub content: Content,
}

/// Of a part that has none.
impl Default for Body {
    fn default() -> Self {
        Self::of(Content::Nothing)
    }
}

impl Body {
    fn of(content: Content) -> Self {
        Self { error: ErrorBody::default(), state: None, content }
    }
}

/// Reads one.
pub(super) struct ReadBody;

impl<'de> Reader<'de> for ReadBody {
    type Out = Body;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Body, A::Error> {
        let (mut error, mut states) = (ErrorBody::default(), States::default());
        let mut content = Content::Nothing;
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            content = ReadContent::member(content, key.as_deref());
            match key.as_deref() {
                Some("error") => error = entries.next_value_seed(Read(Level { depth: 0 }))?,
                Some(key) if states.has(key) => states.take(key, entries.next_value_seed(Read(State))?),
                _ => entries.next_value_seed(Read(Skip))?,
            }
        }
        let state = states.name().filter(|_| content != Content::Error);
        Ok(Body { error, state, content })
    }

    fn list<A: SeqAccess<'de>>(self, entries: A) -> Result<Body, A::Error> {
        ReadContent.list(entries).map(Body::of)
    }

    fn text(self, text: &str) -> Body {
        Body::of(ReadContent.text(text))
    }

    fn number(self, _: serde_json::Number) -> Body {
        Body::of(Content::Something)
    }

    fn boolean(self) -> Body {
        Body::of(Content::Something)
    }
}
