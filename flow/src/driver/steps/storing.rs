//! Storing: a result is held for the cache until it is on the disk.

use crate::cache::file::Head;
use crate::cache::store::call_tag;
use crate::driver::parts::features::{Features, Lookup, StoreAs};
use crate::driver::parts::objects::Value;
use crate::driver::parts::results::{Job, StoreJob};
use crate::driver::parts::state::State;
use crate::driver::parts::tasks::Index;

/// A task is about to be complete with this value, which names other objects or none. What cannot
/// be stored is logged: the call has its value all the same.
#[cold]
pub(crate) fn store_result(state: &mut State, index: Index, value: &Value, names_others: bool) {
    let bytes = match value {
        Value::Inline(bytes) => bytes.len() as u64,
        Value::Placed { len, .. } => *len,
        Value::Pending | Value::Failed(_) => return,
    };
    let object = state.objects.id(index);
    let name = state.objects.name_of(index);
    let Some(Features { config, store: Some(store), .. }) = state.objects.take_features(index)
    else {
        return;
    };
    let Some(cache) = config.cache.clone() else { return };
    let StoreAs { tag, lookup } = store;
    let known = match lookup {
        Lookup::Missed(known) => Some(known),
        Lookup::Never | Lookup::Due { .. } => None,
    };
    let Some(tag) = tag.or_else(|| known.as_ref().map(|known| call_tag(&known.call))) else {
        return;
    };
    let (memory, ..) = state.store.figures();
    if names_others {
        tracing::warn!(
            tag,
            name,
            "cache: not stored, since it names refs, which mean nothing in another run"
        );
        return;
    }
    if !state.results.has_room(bytes, memory) {
        tracing::warn!(tag, name, bytes, "cache: not stored, since the disk does not keep up");
        return;
    }
    let (call, inputs) = known.map_or((None, Vec::new()), |known| (Some(known.call), known.inputs));
    state.objects.hold(index);
    cache.begin(&tag);
    let head = Head { tag, call: call.clone() };
    let job = StoreJob { cache: cache.clone(), object, bytes, head: head.clone(), inputs };
    if !state.results.send(Job::Store(job)) {
        state.objects.unhold(index, &mut state.store);
        cache.end(&head.tag);
        return;
    }
    if let Some(call) = call {
        let State { results, objects, .. } = state;
        results.note(call, object, |object| objects.find(object).is_some());
    }
}
