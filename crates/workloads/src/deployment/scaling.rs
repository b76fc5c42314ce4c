//! Scaling without a rollout step (N2): the only set gets it all; in the middle of a rollout each keeps its share.

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::{
    DESIRED, MAX, Work, actual, available, bounds, is_recreate, number, replicas_of, revision, size,
};

pub(super) fn scale(work: &mut Work<'_>) {
    let wanted = replicas_of(work.spec);
    let active: Vec<usize> = (0..work.old.len()).filter(|at| size(&work.old[*at]) > 0).collect();
    let new_is_active = work.new.as_ref().is_some_and(|set| size(set) > 0);
    match (active.as_slice(), new_is_active, work.new.is_some()) {
        ([], _, true) => {
            work.resize_new(wanted);
        }
        ([], _, false) => {
            // The latest old one stands for a set that is not there yet.
            if let Some(latest) = work.old.len().checked_sub(1) {
                work.resize_old(latest, wanted);
            }
        }
        ([only], false, _) => {
            work.resize_old(*only, wanted);
        }
        _ if is_saturated(work, wanted) => {
            for at in active {
                work.resize_old(at, 0);
            }
        }
        _ if !is_recreate(work.spec) => share(work, wanted),
        _ => {}
    }
    // Whoever has its size already still has to know the Deployment's.
    for set in work.new.iter_mut().chain(&mut work.old).filter(|set| size(set) > 0) {
        if number(set, DESIRED) != Some(wanted) {
            revision::note_size(set, work.spec);
        }
    }
}

/// The new set has everything already.
fn is_saturated(work: &Work<'_>, wanted: i32) -> bool {
    work.new.as_ref().is_some_and(|set| {
        size(set) == wanted && number(set, DESIRED) == Some(wanted) && available(set) == wanted
    })
}

/// Larger sets get more; what rounding leaves goes to the largest.
fn share(work: &mut Work<'_>, wanted: i32) {
    let max = if wanted > 0 { wanted + bounds(work.spec).0 } else { 0 };
    let mut order: Vec<Option<usize>> =
        (0..work.old.len()).map(Some).filter(|at| size(at_place(work, *at)) > 0).collect();
    if work.new.as_ref().is_some_and(|set| size(set) > 0) {
        order.push(None);
    }
    let total: i32 = order.iter().map(|at| size(at_place(work, *at))).sum();
    let missing = max - total;
    // Newer ones grow first, older ones shrink first; `order` is oldest first already.
    if missing > 0 {
        order.reverse();
    }
    order.sort_by_key(|at| std::cmp::Reverse(size(at_place(work, *at))));
    let mut sizes: Vec<i32> = Vec::new();
    let mut given = 0;
    for at in &order {
        let set = at_place(work, *at);
        let part = if missing == 0 { 0 } else { proportion(set, wanted, max, missing, given) };
        given += part;
        sizes.push(size(set) + part);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + missing - given).max(0);
    }
    for (at, to) in order.into_iter().zip(sizes) {
        match at {
            None => work.resize_new(to),
            Some(at) => work.resize_old(at, to),
        };
    }
}

fn at_place<'w>(work: &'w Work<'_>, at: Option<usize>) -> &'w ReplicaSet {
    match (at, &work.new) {
        (Some(at), _) => &work.old[at],
        (None, Some(new)) => new,
        // Only asked for when there is one; an empty set has no share.
        (None, None) => &work.old[0],
    }
}

fn proportion(set: &ReplicaSet, wanted: i32, max: i32, missing: i32, given: i32) -> i32 {
    if wanted == 0 {
        return -size(set);
    }
    let before = number(set, MAX).filter(|before| *before > 0).unwrap_or_else(|| actual(set).max(1));
    let exact = f64::from(size(set)) * f64::from(max) / f64::from(before);
    #[expect(clippy::cast_possible_truncation, reason = "a share of an i32 rounded to an i32")]
    let part = exact.round() as i32 - size(set);
    if missing > 0 { part.min(missing - given) } else { part.max(missing - given) }
}
