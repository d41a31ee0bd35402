//! How an agent learns that its action shall stop, in metadata that Tinkerbell's agents and servers ignore.
//!
//! A server that offers this says so with each acknowledged report (`OFFER`). While an action runs, the agent then asks for
//! an action with `WORKFLOW` in the metadata. Such a call is held and hands out nothing. It ends as ABORTED, with the
//! reason as its text, when the workflow is cancelled, over or deleted. It ends as NOT_FOUND after a quiet minute.

/// In the answer to a report.
pub const OFFER: &str = "thimble-watch";
/// In the question: the workflow's id. The metadata is binary, because a name may be any text.
pub const WORKFLOW: &str = "thimble-watch-bin";
