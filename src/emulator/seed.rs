//! Values that follow from the seed alone: the same seed, kind and number give the same value, in any order.

use uuid::{Builder, Uuid};

/// What a value is for, so that equal numbers of different kinds differ.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Assignment = 1,
    Request,
    Package,
    Policy,
    Catalog,
    Subject,
    User,
    Call,
    Role,
    Page,
}

/// A random generator for the `number`th thing of a kind.
pub(super) fn random(seed: u64, kind: Kind, number: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(mix(mix(seed ^ (kind as u64) << 56) ^ number))
}

/// The id of the `number`th thing of a kind.
pub(super) fn id(seed: u64, kind: Kind, number: u64) -> Uuid {
    Builder::from_random_bytes(random(seed, kind, number).u128(..).to_be_bytes()).into_uuid()
}

/// The finaliser of SplitMix64: a bijection that spreads near-by numbers.
fn mix(of: u64) -> u64 {
    let of = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let of = (of ^ (of >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let of = (of ^ (of >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    of ^ (of >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_seed_kind_and_number() {
        let first = id(7, Kind::Assignment, 3);
        assert_eq!(first, id(7, Kind::Assignment, 3));
        assert_eq!(first.get_version_num(), 4);
        for other in [id(8, Kind::Assignment, 3), id(7, Kind::Request, 3), id(7, Kind::Assignment, 4)] {
            assert_ne!(first, other);
        }
    }
}
