//! How an agent hears that what it runs shall stop, in metadata that Tinkerbell's agents and servers never look at.
//!
//! A server that can tell says so with each acknowledged report (`OFFER`). While an action runs the agent then asks for an
//! action with `WORKFLOW` in the metadata. Such a call hands out nothing: it is held and ends as ABORTED, with the reason
//! as its text, as soon as the workflow is cancelled, over or deleted; as NOT_FOUND when nothing happened for a minute.

/// In the answer to a report.
pub const OFFER: &str = "thimble-watch";
/// In the question: the workflow's id, in binary metadata because names may be any text.
pub const WORKFLOW: &str = "thimble-watch-bin";
