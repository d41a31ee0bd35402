//! Everything about OCI images: names, digests, manifests, layouts, registries, layers, signatures.

#![forbid(unsafe_code)]
