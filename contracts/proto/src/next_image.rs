//! How a server names the image that an agent needs next, in metadata that Tinkerbell's agents ignore.
//!
//! With an action that it hands out, the server names the first image of the agent's later actions in the same workflow
//! that is not the action's own. The agent may pull it while the action runs. It is a hint: the next action alone says
//! which image runs.

/// In the answer to a question for an action. The metadata is binary, because an image's name comes from a template.
pub const NEXT_IMAGE: &str = "thimble-next-image-bin";
/// The limit in bytes. A longer name is neither sent nor used. Registries allow 255 for a repository.
pub const MAX_LENGTH: usize = 1024;
