//! Whether the service takes batches of this action at all. That it takes `{}` as the body of a part is assumed.

use crate::retry::Attempt;

/// So many batches refused as a whole, and none taken, before a plain request is tried.
const REFUSED_BATCHES: usize = 8;
/// So many parts answered 400, and none otherwise, before a plain request is tried.
const REJECTED_PARTS: usize = 100;

/// What has made a plain request worth trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Every batch was refused as a whole.
    WholeBatches,
    /// Every part was answered 400.
    EveryPart,
}

/// What is known of batches so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// Nothing, but for refusals.
    Unproven {
        /// Batches refused as a whole.
        batches: usize,
        /// Parts answered 400.
        parts: usize,
    },
    /// One item goes as a plain request, and all others wait for what becomes of it.
    Scouting(Doubt),
    /// They are taken.
    Proven,
    /// They are not, but plain requests are.
    Refused,
}

impl Default for Batching {
    fn default() -> Self {
        Self::Unproven { batches: 0, parts: 0 }
    }
}

impl Batching {
    /// A batch was answered so.
    pub fn answered<'a>(&mut self, attempts: impl Iterator<Item = &'a Attempt>) {
        if matches!(self, Self::Proven | Self::Refused) {
            return;
        }
        let (mut rejected, mut is_refused) = (0, false);
        for attempt in attempts {
            match attempt {
                Attempt::BatchRefused => is_refused = true,
                Attempt::Answered(answer) => match answer.status {
                    400 => rejected += 1,
                    // Said by what stands before the action, so it proves nothing.
                    401 | 408 | 429 | 500.. => {}
                    _ => {
                        *self = Self::Proven;
                        return;
                    }
                },
                Attempt::Failed(_) => {}
            }
        }
        if let Self::Unproven { batches, parts } = self {
            *batches += usize::from(is_refused);
            *parts += rejected;
        }
    }

    /// Whether it is time to send one item as a plain request, and why.
    pub const fn doubt(&self) -> Option<Doubt> {
        match self {
            Self::Unproven { parts, .. } if *parts >= REJECTED_PARTS => Some(Doubt::EveryPart),
            Self::Unproven { batches, .. } if *batches >= REFUSED_BATCHES => Some(Doubt::WholeBatches),
            _ => None,
        }
    }

    /// Whether no more should be sent while so many items are under way, since their answers may raise the doubt.
    pub const fn must_wait(&self, underway: usize) -> bool {
        match self {
            Self::Unproven { parts, .. } => *parts > 0 && *parts + underway >= REJECTED_PARTS,
            _ => false,
        }
    }

    /// Whether a 400 may yet turn out to be about the batch.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Unproven { .. } | Self::Scouting(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::ItemAnswer;

    fn told(batching: &mut Batching, statuses: &[u16]) {
        let attempts: Vec<_> = statuses
            .iter()
            .map(|status| match status {
                0 => Attempt::BatchRefused,
                _ => Attempt::Answered(ItemAnswer { status: *status, ..ItemAnswer::default() }),
            })
            .collect();
        batching.answered(attempts.iter());
    }

    #[test]
    fn one_answer_from_behind_the_batch_proves_it() {
        for status in [202, 403, 404, 409] {
            let mut batching = Batching::default();
            told(&mut batching, &[400, 400, status]);
            assert_eq!(batching, Batching::Proven);
        }
    }

    #[test]
    fn a_hundred_rejected_parts_raise_a_doubt() {
        let mut batching = Batching::default();
        for _ in 0..4 {
            told(&mut batching, &[400; 20]);
            told(&mut batching, &[429, 503]);
            assert_eq!(batching.doubt(), None);
        }
        assert!(!batching.must_wait(19));
        assert!(batching.must_wait(20));
        told(&mut batching, &[400; 20]);
        assert_eq!(batching.doubt(), Some(Doubt::EveryPart));
    }

    #[test]
    fn refused_batches_raise_a_doubt_unless_one_was_taken() {
        let mut batching = Batching::default();
        for count in 0..8 {
            assert_eq!(batching.doubt(), None, "{count}");
            told(&mut batching, &[0; 20]);
        }
        assert_eq!(batching.doubt(), Some(Doubt::WholeBatches));
        told(&mut batching, &[202]);
        assert_eq!((batching, batching.doubt()), (Batching::Proven, None));
    }
}
