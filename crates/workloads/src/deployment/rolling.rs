//! Rolling update (N2): never more than `replicas + maxSurge` Pods, never fewer available than
//! `replicas - maxUnavailable`.

use super::{Work, available, bounds, replicas_of, size};

/// One step: the new set grows, or else old ones shrink.
pub(super) fn roll(work: &mut Work<'_>) {
    if work.decision.create.is_some() {
        return;
    }
    let Some(new) = &work.new else { return };
    let wanted = replicas_of(work.spec);
    let to = if size(new) > wanted { wanted } else { grown(work, size(new)) };
    if !work.resize_new(to) {
        shrink(work);
    }
}

fn grown(work: &Work<'_>, new: i32) -> i32 {
    let total = new + work.old.iter().map(size).sum::<i32>();
    let room = replicas_of(work.spec) + bounds(work.spec).0 - total;
    new + room.clamp(0, replicas_of(work.spec) - new)
}

fn shrink(work: &mut Work<'_>) {
    let old: i32 = work.old.iter().map(size).sum();
    let Some(new) = &work.new else { return };
    if old == 0 {
        return;
    }
    let least = replicas_of(work.spec) - bounds(work.spec).1;
    let mut spare = old + size(new) - least - (size(new) - available(new));
    // What does not work goes first: nobody misses it.
    for at in 0..work.old.len() {
        let set = &work.old[at];
        let broken = (size(set) - available(set)).min(spare);
        if broken > 0 {
            spare -= broken;
            work.resize_old(at, size(&work.old[at]) - broken);
        }
    }
    let all = work.old.iter().map(|set| available(set).min(size(set))).sum::<i32>();
    let mut spare = all + work.new.as_ref().map_or(0, available) - least;
    for at in 0..work.old.len() {
        let step = size(&work.old[at]).min(spare);
        if step > 0 {
            spare -= step;
            work.resize_old(at, size(&work.old[at]) - step);
        }
    }
}
