//! What must hold of the installed families before their tables are used to read or write anything. A family that
//! breaks it stops the process at its start, not when something is signed.

use super::{ClaimSpec, ClassSpec, DutyClass, Family, FamilyId, Rule, WindowRule};
use crate::MAX_PARTS;
use std::{collections::BTreeSet, fmt};

/// Checks all of it.
///
/// # Panics
/// If something does not hold.
pub(super) fn check(families: &[&Family]) {
    unique("families", families.iter().map(|family| family.id.0));
    unique("families", families.iter().map(|family| family.name));
    for family in families {
        check_numbers(family);
        check_references(family);
        check_levels(family);
        family.classes.iter().for_each(|class| check_class(family, class));
    }
    unique("key types", families.iter().flat_map(|family| family.key_types).map(|spec| spec.name));
    unique("classes", families.iter().flat_map(|family| family.classes).map(|spec| spec.name));
    unique("kinds of payload", families.iter().flat_map(|family| family.kinds).map(|spec| spec.name));
    let methods = families.iter().flat_map(|family| family.methods);
    unique("methods", crate::rpc::METHODS.iter().chain(methods).map(|method| method.name));
    unique("schemes", families.iter().flat_map(|family| family.schemes).map(|spec| spec.name));
}

fn unique<T: Ord + fmt::Debug>(what: &str, all: impl Iterator<Item = T>) {
    let mut seen = BTreeSet::new();
    for one in all {
        let text = format!("two {what} {one:?}");
        assert!(seen.insert(one), "{text}");
    }
}

/// The number in each row is that row's position.
fn check_numbers(family: &Family) {
    let own = |codes: Vec<u16>| {
        for (row, code) in codes.into_iter().enumerate() {
            let expected = u8::try_from(row).map(|row| family.id.code(row));
            assert_eq!(Ok(code), expected, "a number of {family} is not its row's");
        }
    };
    own(family.schemes.iter().map(|spec| spec.id.code()).collect());
    own(family.key_types.iter().map(|spec| spec.id.code()).collect());
    own(family.classes.iter().map(|spec| spec.id.code()).collect());
    own(family.kinds.iter().map(|spec| spec.id.code()).collect());
}

/// Every reference in a row is to a row of the same family.
fn check_references(family: &Family) {
    let check = |what: &str, code: u16, rows: usize| {
        let [_, row] = code.to_be_bytes();
        let there = FamilyId::of(code) == family.id && usize::from(row) < rows;
        assert!(there, "{family} names a {what} {code:#06x} that it does not have");
    };
    for key_type in family.key_types {
        assert!(!key_type.schemes.is_empty(), "{} has no scheme", key_type.name);
        key_type.schemes.iter().for_each(|scheme| check("scheme", scheme.code(), family.schemes.len()));
    }
    for class in family.classes {
        class.key_types.iter().for_each(|of| check("key type", of.code(), family.key_types.len()));
        class.claim.iter().for_each(|claim| check("class", claim.mark.code(), family.classes.len()));
    }
    family.kinds.iter().for_each(|kind| check("class", kind.class.code(), family.classes.len()));
}

fn check_levels(family: &Family) {
    let levels = family.classes.iter().map(|spec| spec.level);
    let mut levels = levels.chain(family.key_types.iter().map(|spec| spec.level));
    assert!(levels.all(|level| level >= family.level), "something of {family} is older than the family");
}

fn check_class(family: &Family, class: &ClassSpec) {
    let (name, Some(claim)) = (class.name, &class.claim) else { return };
    assert!((1..=MAX_PARTS).contains(&claim.parts.len()), "{name} has no position, or one too long");
    if let Rule::Window(rule) = &claim.rule {
        check_window(name, claim, rule);
    } else {
        assert!(claim.slots.is_none(), "{name} has slots and a watermark of its own, which gets no counting");
    }
    if claim.mark != class.id {
        check_shared(family, class, claim);
    }
}

fn check_window(name: &str, claim: &ClaimSpec, rule: &WindowRule) {
    assert!(rule.keep > 0, "{name} keeps nothing of what it signs");
    let fits = rule.jumps.iter().all(|jump| jump.part < claim.parts.len());
    assert!(fits, "{name} limits a number that it does not have");
    let in_order = rule.jumps.is_sorted_by(|one, next| one.part < next.part);
    assert!(in_order, "{name} limits a number twice, or before one that it depends on");
    assert!(rule.jumps.is_empty() || claim.slots.is_none(), "{name} limits slots, which go by the clock");
}

/// Positions of one watermark must compare, and whoever has one of the classes must have the watermark.
fn check_shared(family: &Family, class: &ClassSpec, claim: &ClaimSpec) {
    let row = |class: DutyClass| family.classes.iter().find(|spec| spec.id == class);
    let shared = row(claim.mark).and_then(|spec| Some((spec, spec.claim.as_ref()?)));
    let (holder, held) = shared.unwrap_or_else(|| panic!("{} shares the watermark of free work", class.name));
    let same_rule = matches!(
        (&held.rule, &claim.rule),
        (Rule::Window(_), Rule::Window(_)) | (Rule::Own(_), Rule::Own(_))
    );
    let same_form = held.parts == claim.parts && held.slots == claim.slots && same_rule;
    let same_keys = class.key_types.iter().all(|of| holder.key_types.contains(of));
    let sound = held.mark == holder.id && same_form && same_keys && holder.level <= class.level;
    assert!(sound, "{} cannot share the watermark of {}", class.name, holder.name);
}
