//! The network that a machine learned, as configuration files of the system that it installs.

#![forbid(unsafe_code)]
