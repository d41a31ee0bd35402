//! Settings with a few possible values: the runtime of containers, and the source of actions.

use std::path::PathBuf;

use cmdline::EmbeddedImages;

const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const CONTAINERD_NAMESPACE: &str = "tinkerbell";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeChoice {
    Libcontainer,
    Containerd { socket: PathBuf, namespace: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The workflow service of either generation.
    Grpc,
    /// The actions of this file, once.
    File(PathBuf),
}

/// Tinkerbell's units start their agents with `docker`. This agent accepts that and needs no daemon.
pub fn runtime(name: Option<&str>, socket: Option<String>, namespace: Option<String>) -> Result<RuntimeChoice, String> {
    match name {
        None | Some("libcontainer" | "docker") => Ok(RuntimeChoice::Libcontainer),
        Some("containerd") => Ok(RuntimeChoice::Containerd {
            socket: socket.unwrap_or_else(|| CONTAINERD_SOCKET.to_owned()).into(),
            namespace: namespace.unwrap_or_else(|| CONTAINERD_NAMESPACE.to_owned()),
        }),
        Some(other) => Err(format!("-runtime is {other:?}: use libcontainer or containerd")),
    }
}

/// A workflow file alone selects the file transport.
pub fn source(name: Option<&str>, file: Option<String>) -> Result<Source, String> {
    match (name, file) {
        (None | Some("file"), Some(file)) => Ok(Source::File(file.into())),
        (None | Some("grpc"), None) => Ok(Source::Grpc),
        (Some("grpc"), Some(file)) => Err(format!("-transport grpc and the workflow file {file:?} cannot be combined")),
        (Some("file"), None) => Err("-transport file needs -workflow FILE".to_owned()),
        (Some(other), _) => Err(format!("-transport is {other:?}: use grpc or file")),
    }
}

/// The words of the kernel argument `thimble.embedded`.
pub fn embedded(word: Option<&str>) -> Result<EmbeddedImages, String> {
    let read = |word: &str| word.parse().map_err(|problem| format!("THIMBLE_EMBEDDED is {word:?}: {problem}"));
    word.map_or_else(|| Ok(EmbeddedImages::default()), read)
}
